"""One tidy table from the finished points of a sweep."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stocha.base import machine
from stocha.base.errors import UserError
from stocha.base.files import digest, read_json, write_json, write_text
from stocha.base.paths import results_root
from stocha.study.runs import Entry
from stocha.study.sweeps.specification import Point, Sweep
from stocha.study.sweeps.state import State

TABLE = "points.csv"


Row = dict[str, Any]


def collect(sweep: Sweep, state: State) -> list[Row]:
    """The rows of every finished point: run id, swept parameters, metrics, the collected table.

    The cells of the runs' tables are passed on as they are written, so no digit changes.

    Raises:
        UserError: nothing to collect is named, or no point is done, or a run lacks what is named.
    """
    if sweep.collect.table is None and not sweep.collect.metrics:
        raise UserError(f"{sweep.path}: collect: names neither a table nor metrics")
    return [row for point, run in _finished(state) for row in _rows(sweep, point, run)]


def collect_table(sweep: Sweep, state: State, table: str) -> list[Row]:
    """The rows of one further table of every finished point: run id, swept parameters, its cells.

    A run may lack it: nothing is recorded of a switch where nothing switches. Empty while no
    finished run has it.

    Raises:
        UserError: every point is done, and none has the table.
    """
    finished = _finished(state)
    having = [(point, run) for point, run in finished if run.table(table).is_file()]
    if not having and len(finished) == len(sweep.points):
        raise UserError(f"{sweep.path}: collect.tables: no run has a table {table!r}")
    return [
        row
        for point, run in having
        for row in _table_rows(sweep, _identity(sweep, point, run), run, table)
    ]


def _finished(state: State) -> list[tuple[Point, Entry]]:
    finished = state.with_status("done")
    if not finished:
        path = state.sweep.path
        raise UserError(f"{path}: no point is done: stocha sweep run {path}")
    return finished


def _identity(sweep: Sweep, point: Point, run: Entry) -> Row:
    return {"run_id": run.id} | {name: _flat(point[name]) for name in sweep.swept}


def _rows(sweep: Sweep, point: Point, run: Entry) -> Iterator[Row]:
    named = _identity(sweep, point, run)
    if sweep.collect.metrics:
        metrics = read_json(run.folder / "metrics.json") or {}
        for name in sweep.collect.metrics:
            if name not in metrics:
                raise UserError(f"{sweep.path}: collect.metrics: run {run.id} has no {name!r}")
            named[name] = metrics[name]
    if sweep.collect.table is None:
        yield named
        return
    yield from _table_rows(sweep, named, run, sweep.collect.table)


def _table_rows(sweep: Sweep, named: Row, run: Entry, table: str) -> Iterator[Row]:
    try:
        with open(run.table(table), encoding="utf-8", newline="") as stream:
            # Where a table repeats a parameter, as `activation` does, it is the same fact.
            yield from (named | row for row in csv.DictReader(stream))
    except FileNotFoundError:
        raise UserError(f"{sweep.path}: collect: run {run.id} has no table {table!r}") from None


def _flat(value: Any) -> Any:
    """A list as text, `4-4-4-4`, so that it can stand in one cell of a CSV."""
    return "-".join(map(str, value)) if isinstance(value, list) else value


def _csv(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def table_path(sweep: Sweep) -> Path:
    """Where the sweep's table is recorded: `results/<sweep>/points.csv`."""
    return results_root() / sweep.name / TABLE


def recorded_points(sweep: Sweep, table: Path) -> int:
    """How many points of the sweep the table holds that was collected there before."""
    about = read_json(table.with_name("provenance.json")) or {}
    # by name: the path is as the command line gave it
    same = Path(about.get("sweep", "")).name == sweep.path.name and table.is_file()
    return int(about["finished"]) if same else 0


def write_collection(sweep: Sweep, state: State, output: Path | None) -> Path:
    """Collect and write the table, provenance and `collect.tables` beside it; return its path.

    Args:
        sweep: the sweep.
        state: where its points stand.
        output: the CSV to write; default `results/<sweep>/points.csv`.
    """
    path = output or table_path(sweep)
    write_text(path, _csv(collect(sweep, state)))
    for name in sweep.collect.tables:
        if rows := collect_table(sweep, state, name):
            write_text(path.with_name(f"{name}.csv"), _csv(rows))
    records = [run.provenance() for _, run in state.with_status("done")]
    write_json(
        path.with_name("provenance.json"),
        {
            "sweep": sweep.path.as_posix(),
            "sha256": digest(sweep.path.read_bytes()),
            "points": len(sweep.points),
            "finished": len(records),
            "seconds": round(sum(record["seconds"] for record in records), 1),
            "commits": sorted({record.get("commit") or "not in git" for record in records}),
            "dirty": any(record.get("dirty") for record in records),
            "hashes": sweep.notebook.hashes,
            "processors": sorted({record["cpu"] for record in records}),
            "threads": sorted({record["threads"] for record in records}),
            "versions": machine.versions(),
        },
    )
    return path
