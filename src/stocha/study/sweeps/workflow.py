"""A sweep as a workflow engine sees it: for each unfinished point, a file to make and a command."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocha.base.errors import UserError
from stocha.base.parameters import Value
from stocha.base.paths import runs_root
from stocha.study.notebooks import Notebook
from stocha.study.runs import DONE
from stocha.study.sweeps.specification import Point, read_sweep

_KEYS = ("sweep", "threads", "outside")
_PLAIN = re.compile(r"(?!(?i:none|null)$)[\w.+-]+")


@dataclass(frozen=True)
class Job:
    """One point."""

    command: str
    """The shell command that makes its run, numeric threads not yet said."""
    label: str
    """Its run and swept parameters in words."""
    rank: int
    """Its place in the sweep's order, from 0."""


@dataclass(frozen=True)
class Workflow:
    """A checked sweep, ready to be handed out point by point."""

    marker: str
    """Path of a run's DONE marker, `{run_id}` standing for the run's id."""
    jobs: Mapping[str, Job]
    """Every point by its run id, in the sweep's order."""
    targets: tuple[str, ...]
    """The markers that are wanted: those of the points not done now."""
    threads: int
    """Numeric threads a point."""

    def job(self, run_id: str) -> Job:
        """The point whose run is `run_id`; UserError where there is none any more."""
        try:
            return self.jobs[run_id]
        except KeyError:
            raise UserError(
                f"run {run_id}: the sweep, its notebook or the library has changed since it was "
                "handed out: start again"
            ) from None


def read_workflow(config: Mapping[str, Any]) -> Workflow:
    """Check what `--config` gave and the sweep it names.

    Args:
        config: `sweep`, the path of its YAML; optionally `threads`, numeric threads a point, and
            `outside`, its notebook may lie outside the project.

    Raises:
        UserError: a mistake in either, or a notebook that measures time.
    """
    for name in config:
        if name not in _KEYS:
            raise UserError(f"--config {name}: unknown key; known are {', '.join(_KEYS)}")
    path, threads = config.get("sweep"), config.get("threads", 1)
    if not isinstance(path, str):
        raise UserError("--config sweep=SWEEP.yml is wanted, e.g. --config sweep=sweeps/toy_p.yml")
    if type(threads) is not int or threads < 1:
        raise UserError(f"--config threads={threads}: must be an int, at least 1")
    sweep = read_sweep(path, outside=bool(config.get("outside")))
    if sweep.notebook.alone:
        raise UserError(
            f"{path}: {sweep.notebook.source} measures time, and here others may run beside it: "
            f"stocha sweep run {path}"
        )
    runs = sweep.runs
    marker = f"{runs_root()}/{sweep.notebook.group}/{{run_id}}/{DONE}"
    return Workflow(
        marker,
        {
            run.id: Job(command(sweep.notebook, point), f"{run.id}  {sweep.label(point)}", rank)
            for rank, (run, point) in enumerate(zip(runs, sweep.points, strict=True))
        },
        # A damaged run has its marker still, so the store is asked and not the file system.
        tuple(marker.format(run_id=run.id) for run in runs if not run.is_done()),
        threads,
    )


def command(notebook: Notebook, point: Point) -> str:
    """The `stocha run` of this environment that makes `point`, quoted for the shell.

    Raises:
        UserError: a value that cannot be typed on a command line, such as a comma in a list's text.
    """
    declaration = notebook.declaration
    defaults = declaration.resolve({"scale": point["scale"]} if "scale" in point else {})
    words = [str(Path(sys.executable).with_name("stocha")), "run", os.path.relpath(notebook.path)]
    for name, value in point.items():
        if name == "scale" or value != defaults[name]:
            text = _text(value)
            if declaration[name].parse(text) != value:
                raise UserError(f"{notebook.stem}: {name}={value!r}: cannot be said by -p {name}=…")
            words += ["-p", f"{name}={text}"]
    return shlex.join(words)


def _text(value: Value) -> str:
    """`value` as it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return f"'{value}'"
    return str(value)
