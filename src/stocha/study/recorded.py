"""What is recorded under `results/`, and whether it is what the code of today would give.

A record's provenance names the code that made its numbers, file by file. They are found again while
that code is the same.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocha.base import identity, machine
from stocha.base.errors import UserError
from stocha.base.files import digest, read_json, write_bytes, write_json
from stocha.base.paths import project_root, results_root
from stocha.base.recorded import PROVENANCE, read_provenance, require_recorded
from stocha.study.notebooks import Notebook
from stocha.study.results import canonical
from stocha.study.runs import Entry

_SHOWN = 4


@dataclass(frozen=True)
class Record:
    """The identity of what a folder of `results/` holds."""

    folder: Path
    notebook: str
    """Path of the notebook that made them, in the project."""
    experiments: tuple[str, ...]
    """Dotted names of the functions that made the numbers; none where the page did itself."""
    code: Mapping[str, str]
    """File → hash of the code that the numbers come from."""
    fixed: dict[str, Any]
    """Parameters that all points share, by name."""
    swept: tuple[str, ...]
    points: Mapping[str, Sequence[Any]]
    """Run id → values of the swept parameters."""

    def is_current(self, notebook: Notebook) -> bool:
        """The notebook would give these numbers today, as far as its code is concerned."""
        return _code(notebook, self.experiments) == self.code

    def run_ids(self, points: Iterable[Mapping[str, Any]]) -> list[str | None]:
        """The run id under which each of `points` is recorded here; None where it is not."""
        known = {
            _key(self.fixed | dict(zip(self.swept, values, strict=True))): name
            for name, values in self.points.items()
        }
        return [known.get(_key(point)) for point in points]

    def changes(self, notebook: Notebook) -> str:
        """Which files changed since it was recorded, each with the last commit that did."""
        now = _code(notebook, self.experiments)
        changed = [name for name, value in now.items() if self.code.get(name) != value]
        gone = [name for name in self.code if name not in now]
        named = [f"{name} ({_last_commit(name)})" for name in (changed or gone)[:_SHOWN]]
        more = len(changed or gone) - len(named)
        return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def read_record(folder: Path) -> Record | None:
    """What `folder` of `results/` holds; None where nothing is recorded there.

    Raises:
        UserError: its provenance is damaged.
    """
    about = read_provenance(folder)
    if about is None:
        return None
    try:
        own = about["identity"]
        record = Record(
            folder,
            str(own["notebook"]),
            tuple(own["experiments"]),
            dict(own["code"]),
            dict(own["fixed"]),
            tuple(own["swept"]),
            dict(own["points"]),
        )
        assert all(len(values) == len(record.swept) for values in record.points.values())
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError):
        raise UserError(f"{folder / PROVENANCE}: damaged: identity: not as recorded") from None
    return record


def all_records() -> list[Record]:
    """Everything that is recorded, by name of the folder."""
    folders = sorted(path.parent for path in results_root().glob(f"*/{PROVENANCE}"))
    return [record for record in map(read_record, folders) if record is not None]


def restore(entry: Entry, experiment: str, values: Any, science: str) -> bool:
    """Put a result into the store from the recorded page that shows it; True if there is one.

    The caller holds the lock on `entry`.
    """
    for record in all_records():
        about = read_provenance(record.folder) or {}
        for result in about.get("results", ()):
            if (
                result["experiment"] == experiment
                and result["parameters"] == canonical(values)
                and result["science"] == science
            ):
                _copy(entry, record.folder, result, about)
                return True
    return False


def _copy(entry: Entry, folder: Path, result: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    prefix = f"{result['name']}_" if result["name"] else ""
    target = entry.start()
    for name in result["tables"]:
        path = folder / f"{prefix}{name}.csv"
        require_recorded(path, data := path.read_bytes())
        write_bytes(target / "tables" / f"{name}.csv", data)
    metrics = read_json(folder / "metrics.json") or {}
    write_json(
        target / "metrics.json", {name: metrics[prefix + name] for name in result["metrics"]}
    )
    write_json(target / "parameters.json", result["parameters"])
    kept = {name: value for name, value in about.items() if name not in ("results", "files")}
    own = {name: result[name] for name in ("experiment", "science", "code")}
    write_json(target / PROVENANCE, kept | own | {"recorded": folder.name})
    entry.finish()


def describe(
    notebook: Notebook,
    experiments: Iterable[str],
    commit: str | None,
    fixed: Mapping[str, Any],
    swept: Sequence[str],
    points: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """The `identity` of a record's provenance, of the code as it is now."""
    code = _code(notebook, tuple(experiments))
    return {
        "notebook": notebook.source,
        "experiments": list(experiments),
        "science": identity.combined(code),
        "code": code,
        "commit": commit,
        "fixed": {name: value for name, value in fixed.items() if name != "scale"},
        "swept": list(swept),
        "points": {name: list(values) for name, values in points.items()},
    }


def file_hashes(folder: Path) -> dict[str, str]:
    """Name → SHA-256 of every file of a record but its provenance."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != PROVENANCE)
    return {path.name: digest(path.read_bytes()) for path in files}


def _key(point: Mapping[str, Any]) -> str:
    """A point as one text, the same for equal values; its scale only says where they are from."""
    values = {name: value for name, value in point.items() if name != "scale"}
    return json.dumps(canonical(values), sort_keys=True)


def _code(notebook: Notebook, experiments: Sequence[str]) -> dict[str, str]:
    if experiments:
        return identity.code([name.rpartition(".")[0] for name in experiments])
    return notebook.code


def _last_commit(name: str) -> str:
    """The last commit that changed a file of the code, short; `not committed` without one."""
    beside = Path("notebooks") / name
    path = (
        beside if (project_root() / beside).is_file() else Path("src", identity.PACKAGE.name, name)
    )
    said = machine.git("log", "-1", "--format=%h", "--", path.as_posix())
    return "no git" if said is None else said or "not committed"
