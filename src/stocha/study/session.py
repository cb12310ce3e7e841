"""What a notebook calls: fill its parameters, write its tables and metrics, show where it stands.

The same notebook runs under `stocha run`, under plain papermill and in JupyterLab. The runner
names the folder to write to in the environment; without it, tables go to
`runs/by-hand/<notebook>/`.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from stocha.base.files import read_json, write_json, write_text
from stocha.base.paths import results_root, runs_root
from stocha.base.recorded import read_table
from stocha.base.result import Result
from stocha.study import handoff
from stocha.study.recorded import restore
from stocha.study.results import load, obtain, plain, table_text

_GLUE = "application/papermill.record/"
_PROGRESS_EVERY = 0.2


@dataclass
class Session:
    """One execution of a notebook, seen from inside it."""

    name: str
    folder: Path
    scale: str
    reduced: Mapping[str, tuple[Any, Any]]
    """Parameters that differ from the full scale: name → (value here, value at full scale)."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The page's resolved parameters without `scale`."""
    _metrics: dict[str, Any] = field(default_factory=dict)
    _results: list[dict[str, Any]] = field(default_factory=list)
    _progress_written: float = 0.0

    def result(self, function: Callable[..., Result], config: Any, name: str = "") -> Result:
        """The result of `function(config)`, from the store or else computed, and stored for ever.

        Its tables and metrics also go to this page's run, with `name` before theirs where a page
        shows several results of one experiment. Tables are as read from their CSV.

        Args:
            function: an experiment, at the top level of a module of the package, called with
                `config` and `progress`.
            config: its configuration, a frozen dataclass of JSON-able values.
            name: what the page calls this result.
        """
        fresh = bool(os.environ.get(handoff.FRESH))
        expected = read_json(self.folder / handoff.CODE)
        entry = obtain(function, config, self.progress, fresh, expected, restore)
        found = load(entry.folder)
        prefix = f"{name}_" if name else ""
        for table in found.tables:
            write_text(
                self.folder / "tables" / f"{prefix}{table}.csv",
                entry.table(table).read_text(encoding="utf-8"),
            )
        self.metric(**{f"{prefix}{metric}": value for metric, value in found.metrics.items()})
        about = entry.provenance()
        self._results.append(
            {
                "name": name,
                "id": entry.id,
                "tables": list(found.tables),
                "metrics": list(found.metrics),
                "parameters": read_json(entry.folder / "parameters.json"),
                **{key: about[key] for key in ("experiment", "science", "code")},
            }
        )
        write_json(self.folder / handoff.RESULTS, self._results)
        return found

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Write `frame` (tidy, flat columns) to `tables/<name>.csv` and return it."""
        write_text(self.folder / "tables" / f"{name}.csv", table_text(frame))
        return frame

    def figure_data(self, *names: str) -> None:
        """Show links to the tables that the figure above was drawn from."""
        missing = [name for name in names if not self._table(name).is_file()]
        assert not missing, f"no table {missing}: write it with run.table first"
        links = ", ".join(f"[{name}.csv](tables/{name}.csv)" for name in names)
        display(Markdown(f"Data: {links}"))

    def metric(self, **values: Any) -> None:
        """Record single values in `metrics.json`, beside those recorded before."""
        self._metrics |= {name: plain(value) for name, value in values.items()}
        write_json(self.folder / "metrics.json", self._metrics)

    def at_full_scale(self, found: Result) -> tuple[Mapping[str, pd.DataFrame], str]:
        """What a chapter argues from, and what begins its tables' names: the recorded full scale.

        At full scale it is what this page `found` itself, which is what gets recorded.
        """
        if self.scale == "full":
            return found.tables, ""
        paths = {name: results_root() / self.name / f"{name}.csv" for name in found.tables}
        recorded = {name: read_table(path) for name, path in paths.items()}
        return {name: self.table(f"full_{name}", recorded[name]) for name in recorded}, "full_"

    def glue(self, name: str, value: Any, spec: str = "{}") -> None:
        """Make `value`, formatted by `spec`, available to prose as ``{glue:text}`name` ``, and
        record it; of a Series every value, its index put into `name`.

        myst-nb reads the same record from its own `glue`; writing it here keeps the book's packages
        out of an execution.
        """
        if isinstance(value, pd.Series):
            for index, each in value.items():
                self.glue(name.format(*index if isinstance(index, tuple) else (index,)), each, spec)
            return
        self.metric(**{name: value})
        text = spec.format(value)
        if not isinstance(value, str):
            text = text.replace("-", "−")  # a number in prose
        display(
            {f"{_GLUE}text/plain": repr(text)},
            raw=True,
            metadata={"scrapbook": {"name": name, "mime_prefix": _GLUE}},
        )

    def progress(self, done: int, total: int, unit: str = "epochs") -> None:
        """Tell whoever watches the run how far it is; cheap enough for an inner loop."""
        now = time.monotonic()
        if done < total and now - self._progress_written < _PROGRESS_EVERY:
            return
        self._progress_written = now
        if handoff.RUN_FOLDER in os.environ:
            state = {"done": done, "total": total, "unit": unit}
            partial = self.folder / f".{handoff.PROGRESS}"
            partial.write_text(json.dumps(state))
            partial.replace(self.folder / handoff.PROGRESS)

    def badge(self) -> None:
        """Show at which scale this page was made, and what is smaller than at the full scale."""
        display(Markdown(handoff.badge_text(self.scale, self.reduced)))

    def _table(self, name: str) -> Path:
        return self.folder / "tables" / f"{name}.csv"


def open_run(name: str, namespace: MutableMapping[str, Any]) -> Session:
    """Begin: fill the parameters left at None from `scales[scale]`, and return the session.

    Args:
        name: the notebook's file name without ending.
        namespace: the notebook's `globals()`, which holds `scale`, `scales` and the parameters.
    """
    scales: Mapping[str, Mapping[str, Any]] = namespace["scales"]
    scale = namespace["scale"]
    if scale not in scales:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(scales)}")
    for parameter, value in scales[scale].items():
        if namespace[parameter] is None:
            namespace[parameter] = value
    reduced = handoff.reduced_at(scales, namespace)
    given = os.environ.get(handoff.RUN_FOLDER)
    folder = Path(given) if given else runs_root() / "by-hand" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / handoff.RESULTS).unlink(missing_ok=True)
    return Session(name, folder, scale, reduced, _parameters(namespace))


def _parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The values of what was annotated in the parameters cell, `scale` left out."""
    declared = namespace.get("__annotations__", {})
    values = {name: namespace[name] for name in declared if name in namespace and name != "scale"}
    return {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
