"""An experiment's result: what names it, and how it is had, from the store or by computing it.

Its identity is the experiment's dotted name, the values of its configuration and the code that its
numbers come from (`base.identity`). A page that shows it can change without it.
"""

import datetime
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocha.base import identity, machine
from stocha.base.files import digest, locked, read_json, write_json, write_text
from stocha.study.runs import RESULTS, Entry

if TYPE_CHECKING:
    import pandas as pd

    from stocha.base.result import Progress, Result

_ID_LENGTH = 12


def result_entry(experiment: str, values: Mapping[str, Any], science: str) -> Entry:
    """The place in the store of the result of `experiment` with a configuration's `values`.

    Args:
        experiment: dotted name of the function, "stocha.toy.experiment.run".
        values: the configuration, by field.
        science: `identity.science` of the function's module.
    """
    text = json.dumps(canonical(values), sort_keys=True)
    name = digest(f"{experiment}\n{text}\n{science}".encode())[:_ID_LENGTH]
    return Entry(f"{RESULTS}/{experiment}", name)


def canonical(value: Any) -> Any:
    """`value` so that equal ones are written alike: 1.0 as 1, -0.0 as 0, a tuple as a list."""
    if isinstance(value, Mapping):
        return {str(name): canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def obtain(
    function: Callable[..., "Result"],
    config: Any,
    progress: "Progress | None" = None,
    fresh: bool = False,
    expected: Mapping[str, str] | None = None,
    restore: Callable[[Entry, str, Any, str], bool] | None = None,
) -> Entry:
    """The finished result of `function(config)`: from the store, or computed and stored now.

    While another process computes it, this one waits.

    Args:
        function: an experiment, at the top level of a module of the package.
        config: its configuration, a dataclass of JSON-able values.
        progress: told how far it is.
        fresh: compute it even where it is in the store.
        expected: file → hash of the code when the process that runs this was asked to
            (`identity.code`); default: the code now.
        restore: puts it into the store from elsewhere where it can, given its place, experiment,
            values and code's hash; says whether it did.

    Raises:
        RuntimeError: the code has been edited meanwhile; nothing is stored.
    """
    experiment = f"{function.__module__}.{function.__qualname__}"
    code = identity.code([function.__module__])
    _require_unchanged(code, expected or {})
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    science = identity.combined(code)
    entry = result_entry(experiment, values, science)

    def waiting() -> None:
        if progress is not None:
            progress(0, 1, "waiting for another process that computes this")

    with locked(entry.lock, waiting):
        entry.recover()
        if entry.is_done() and not fresh:
            return entry
        if restore is not None and not fresh and restore(entry, experiment, values, science):
            return entry
        folder = entry.start()
        began, started = datetime.datetime.now(datetime.UTC), time.perf_counter()
        try:
            found = function(config, progress=progress)
            _require_unchanged(identity.code([function.__module__]), code)
            seconds = time.perf_counter() - started
            for name, frame in found.tables.items():
                write_text(folder / "tables" / f"{name}.csv", table_text(frame))
            write_json(folder / "metrics.json", {k: plain(v) for k, v in found.metrics.items()})
            write_json(folder / "parameters.json", canonical(values))
            threads = int(os.environ.get(machine.THREAD_VARIABLES[0]) or machine.cores())
            about = {"experiment": experiment, "science": science, "code": dict(code)}
            about |= machine.commit() | machine.circumstances(began, seconds, threads)
            write_json(folder / "provenance.json", about)
            entry.finish()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return entry


def load(folder: Path) -> "Result":
    """The result whose files lie in `folder`.

    What was computed just now is read back as well: both ways give the same values and types.
    """
    import pandas as pd

    from stocha.base.result import Result

    # Words such as `None` stay words; only an empty cell is a missing value.
    tables = {
        path.stem: pd.read_csv(
            path, float_precision="round_trip", keep_default_na=False, na_values=[""]
        )
        for path in sorted((folder / "tables").glob("*.csv"))
    }
    return Result(tables, read_json(folder / "metrics.json") or {})


def table_text(frame: "pd.DataFrame") -> str:
    """`frame` as CSV.

    Floats keep eight significant digits: more than any figure here can resolve, and few enough that
    a table diffs clean.
    """
    return frame.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def plain(value: Any) -> Any:
    """A JSON value for a numpy or torch scalar."""
    return value.item() if hasattr(value, "item") else value


def _require_unchanged(now: Mapping[str, str], before: Mapping[str, str]) -> None:
    changed = [name for name, value in now.items() if before.get(name, value) != value]
    if changed:
        raise RuntimeError(f"{', '.join(changed)}: edited while this ran: run it again")
