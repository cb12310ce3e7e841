"""One tidy table from the finished points of a sweep, those that are recorded already included."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stocha.base import machine
from stocha.base.errors import UserError
from stocha.base.files import digest, read_json, write_bytes
from stocha.base.paths import project_root, results_root
from stocha.base.recorded import read_provenance, require_recorded, write_provenance
from stocha.study.recorded import describe
from stocha.study.runs import Entry
from stocha.study.sweeps.specification import Point, Sweep
from stocha.study.sweeps.state import State

TABLE = "points.csv"


Row = dict[str, Any]


def table_path(sweep: Sweep) -> Path:
    """Where the sweep's table is recorded: `results/<sweep>/points.csv`."""
    return results_root() / sweep.name / TABLE


def write_collection(sweep: Sweep, state: State, output: Path | None = None) -> Path:
    """Write the table, `collect.tables` beside it and provenance; return the table's path.

    Everything is computed before anything is written. A point that is in `results/` and not in the
    store keeps the rows that it has there, cell by cell.

    Args:
        sweep: the sweep.
        state: where its points stand.
        output: the CSV to write; default `results/<sweep>/points.csv`.

    Raises:
        UserError: nothing to collect is named, or no point is done, or a point lacks what is named,
            or the place holds something else, or more points than are done.
    """
    path = output or table_path(sweep)
    finished = state.with_status("done", "recorded")
    before = _require_place(sweep, path, len(finished))
    if not finished:
        raise UserError(f"{sweep.path}: no point is done: stocha sweep run {sweep.path}")
    collection = _Collection(sweep, state)
    files = {path.name: _csv(list(collection.rows()))}
    for name in sweep.collect.tables:
        if f"{name}.csv" in files:
            raise UserError(f"{sweep.path}: collect.tables: {name}: is the main table's name")
        if rows := list(collection.table_rows(name)):
            files[f"{name}.csv"] = _csv(rows)
    for name, data in files.items():
        write_bytes(path.with_name(name), data)
    for name in before.keys() - files.keys():
        path.with_name(name).unlink(missing_ok=True)
    hashes = {name: digest(data) for name, data in files.items()}
    write_provenance(path.parent, _provenance(sweep, state) | {"files": hashes})
    return path


def _require_place(sweep: Sweep, path: Path, finished: int) -> dict[str, str]:
    """The files that an earlier collection of the sweep left where `path` is; UserError where
    something else is there."""
    if path.suffix != ".csv" or (path.exists() and not path.is_file()):
        raise UserError(f"--output={path}: allowed: a file whose name ends with .csv")
    about = read_provenance(path.parent) or {}
    if about and about.get("sweep") not in {_named(sweep), sweep.path.as_posix()}:
        whose = about.get("sweep") or about.get("notebook")
        raise UserError(f"{path.parent}: holds the tables of {whose}: give another --output")
    if path.is_file() and (held := int(about.get("finished", 0))) > finished:
        raise UserError(
            f"{path}: holds {held} points, more than the {finished} done here: give another "
            "--output, or delete it first"
        )
    files: dict[str, str] = about.get("files", {})
    return files


def _named(sweep: Sweep) -> str:
    path, root = sweep.path.resolve(), project_root()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


class _Collection:
    """The rows of a sweep's finished points."""

    def __init__(self, sweep: Sweep, state: State) -> None:
        self.sweep, self.state = sweep, state
        self.points = list(
            zip(sweep.points, sweep.runs, state.statuses, state.recorded, strict=True)
        )
        self._read: dict[Path, dict[str, list[Row]]] = {}

    def rows(self) -> Iterator[Row]:
        """Run id, swept parameters, metrics and the collected table of every point."""
        collect = self.sweep.collect
        if collect.table is None and not collect.metrics:
            raise UserError(f"{self.sweep.path}: collect: names neither a table nor metrics")
        for point, run, status, recorded in self.points:
            if status == "done":
                named = self._named(point, run.id)
                for name, value in self._metrics(run).items():
                    if name in named:
                        self._require_same("metrics", name, named[name], value)
                    named[name] = value
                yield from self._cells(named, run, collect.table) if collect.table else [named]
            elif recorded is not None:
                yield from self._recorded(point, recorded, TABLE)

    def table_rows(self, table: str) -> Iterator[Row]:
        """Run id, swept parameters and cells of one further table, which a point may lack: nothing
        is recorded of a switch where nothing switches."""
        found = False
        for point, run, status, recorded in self.points:
            if status == "done" and run.table(table).is_file():
                found = True
                yield from self._cells(self._named(point, run.id), run, table)
            elif status != "done" and recorded is not None:
                rows = list(self._recorded(point, recorded, f"{table}.csv"))
                found |= bool(rows)
                yield from rows
        if not found and all(status in ("done", "recorded") for _, _, status, _ in self.points):
            raise UserError(f"{self.sweep.path}: collect.tables: no run has a table {table!r}")

    def _named(self, point: Point, run_id: str) -> Row:
        return {"run_id": run_id} | {name: _flat(point[name]) for name in self.sweep.swept}

    def _metrics(self, run: Entry) -> Row:
        metrics = read_json(run.folder / "metrics.json") or {}
        for name in self.sweep.collect.metrics:
            if name not in metrics:
                raise UserError(f"{self.sweep.path}: collect.metrics: run {run.id} has no {name!r}")
        return {name: metrics[name] for name in self.sweep.collect.metrics}

    def _cells(self, named: Row, run: Entry, table: str) -> Iterator[Row]:
        """The rows of a run's table, each cell passed on as it is written: no digit changes."""
        try:
            with open(run.table(table), encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                shared = [name for name in reader.fieldnames or () if name in named]
                for cells in reader:
                    for name in shared:
                        self._require_same("table", name, named[name], cells[name])
                    yield named | cells
        except FileNotFoundError:
            raise UserError(
                f"{self.sweep.path}: collect: run {run.id} has no table {table!r}"
            ) from None

    def _require_same(self, what: str, name: str, ours: Any, theirs: Any) -> None:
        """A table may repeat a swept parameter, as it does `activation`: the same fact. Anything
        else of one name is two facts."""
        if name not in self.sweep.swept or _text(ours) != _text(theirs):
            raise UserError(
                f"{self.sweep.path}: collect.{what}: {name!r} is a parameter or a metric already, "
                f"with {ours!r} beside {theirs!r}"
            )

    def _recorded(self, point: Point, run_id: str, file: str) -> Iterator[Row]:
        assert self.state.record is not None
        path = self.state.record.folder / file
        if path.is_file():
            for cells in self._recorded_by_run(path).get(run_id, ()):
                yield self._named(point, run_id) | cells

    def _recorded_by_run(self, path: Path) -> dict[str, list[Row]]:
        if path not in self._read:
            data = path.read_bytes()
            require_recorded(path, data)
            by_run: dict[str, list[Row]] = {}
            for row in csv.DictReader(io.StringIO(data.decode(), newline="")):
                by_run.setdefault(row["run_id"], []).append(row)
            self._read[path] = by_run
        return self._read[path]


def _text(value: Any) -> str:
    """`value` so that a number reads the same from a parameter and from a table."""
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


def _flat(value: Any) -> Any:
    """A list as text, `4-4-4-4`, so that it can stand in one cell of a CSV."""
    return "-".join(map(str, value)) if isinstance(value, list) else value


def _csv(rows: Sequence[Row]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _provenance(sweep: Sweep, state: State) -> dict[str, Any]:
    done = state.with_status("done")
    records = [run.provenance() for _, run in done]
    ids = {run.id: point for point, run in done}
    before: dict[str, Any] = {}
    share = 0.0
    if kept := state.with_status("recorded"):
        assert state.record is not None
        before = read_provenance(state.record.folder) or {}
        share = len(kept) / max(1, before["finished"])
        recorded = zip(sweep.points, state.statuses, state.recorded, strict=True)
        ids |= {name: point for point, status, name in recorded if name and status == "recorded"}

    def both(key: str, ours: Any) -> list[Any]:
        return sorted({*before.get(key, ()), *ours})

    head = str(machine.commit()["commit"])
    fixed = {name: value for name, value in sweep.points[0].items() if name not in sweep.swept}
    experiments = [sweep.notebook.experiment] if sweep.notebook.experiment else []
    points = {name: [point[swept] for swept in sweep.swept] for name, point in ids.items()}
    return {
        "sweep": _named(sweep),
        "sha256": digest(sweep.path.read_bytes()),
        "points": len(sweep.points),
        "finished": len(ids),
        "seconds": round(
            sum(record["seconds"] for record in records) + share * before.get("seconds", 0), 1
        ),
        "commits": both("commits", (record.get("commit") or "not in git" for record in records)),
        "dirty": any(record.get("dirty") for record in (*records, before)),
        "hashes": sweep.notebook.hashes,
        "processors": both("processors", (record["cpu"] for record in records)),
        "threads": both("threads", (record["threads"] for record in records)),
        "versions": machine.versions(),
        "identity": describe(sweep.notebook, experiments, head, fixed, sweep.swept, points),
    }
