"""A sweep as a workflow engine sees it: for each unfinished point, a file to make and a command."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocha.base.errors import UserError
from stocha.base.paths import runs_root
from stocha.study.runs import DONE
from stocha.study.sweeps.specification import Sweep, read_sweep

_KEYS = ("sweep", "threads", "outside")


@dataclass(frozen=True)
class Workflow:
    """A checked sweep, ready to be handed out point by point."""

    sweep: Sweep
    command: str
    """The shell command that makes a point, its run and numeric threads not yet said."""
    marker: str
    """Path of a run's DONE marker, `{run_id}` standing for the run's id."""
    targets: tuple[str, ...]
    """The markers that are wanted: those of the points not done now."""
    threads: int
    """Numeric threads a point."""

    def label(self, run_id: str) -> str:
        """A run and the swept parameters of its point in words."""
        return f"{run_id}  {self.sweep.label(self.sweep.points[self.sweep.place(run_id)])}"


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
    outside = bool(config.get("outside"))
    sweep = read_sweep(path, outside)
    if sweep.notebook.alone:
        raise UserError(
            f"{path}: {sweep.notebook.source} measures time, and here others may run beside it: "
            f"stocha sweep run {path}"
        )
    words = [str(Path(sys.executable).with_name("stocha")), "sweep", "run", path]
    marker = f"{runs_root()}/{sweep.notebook.group}/{{run_id}}/{DONE}"
    # A damaged run has its marker still, so the store is asked and not the file system.
    targets = tuple(marker.format(run_id=run.id) for run in sweep.runs if not run.is_done())
    command = shlex.join([*words, *(["--outside"] if outside else [])])
    return Workflow(sweep, command, marker, targets, threads)
