"""What a sweep costs: its commands, and the runner beside bare papermill.

Everything is timed as processes of their own, in a run store of their own. Chapter *What a sweep
costs*.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import pandas as pd

from stocha.base.paths import project_root
from stocha.study.handoff import RUN_FOLDER
from stocha.study.sweeps.specification import read_sweep

NOTEBOOK = "notebooks/14_toy_run.py"
COMMANDS = ("plan", "status", "collect")
PROGRAM = Path(sys.executable).with_name("stocha")
BARE = """
import sys, papermill
for number, rate in enumerate(sys.argv[2:]):
    given = {"scale": "smoke", "lr": float(rate)}
    papermill.execute_notebook(sys.argv[1], f"{sys.argv[1]}.{number}.ipynb", given,
                               kernel_name="python3", progress_bar=False, cwd=".")
"""
"""The leanest bare papermill: its command line would load papermill anew for every point."""


def commands(points: int, repeats: int = 5) -> pd.DataFrame:
    """Time the commands of a sweep with `points` finished points; rows (command, points, seconds).

    One point is executed; its run folder is copied for every other one. Raises AssertionError if
    the sweep collects another number of points.
    """
    rates = [f"{1e-4 * (1 + step):.6f}" for step in range(points)]
    with _own_store() as store:
        sweep = _sweep(store, "thousand", rates)
        _seconds(PROGRAM, "run", NOTEBOOK, "-p", "scale=smoke", "-p", f"lr={rates[0]}")
        first, *others = (point.folder for point in read_sweep(sweep).runs)
        for other in others:
            shutil.copytree(first, other)
        table = store / "collected.csv"
        rows = [
            (name, points, _seconds(PROGRAM, "sweep", name, sweep, *more))
            for _ in range(repeats)
            for name, more in zip(COMMANDS, ((), (), ("--output", table)), strict=True)
        ]
        assert pd.read_csv(table)["run_id"].nunique() == points
    return pd.DataFrame(rows, columns=["command", "points", "seconds"])


def overhead(executed: int, blocks: int, progress: Callable[..., Any]) -> pd.DataFrame:
    """Time the same points by both programs; rows (block, program, seconds a point).

    Both execute one point after another. A block is one turn of each, on `executed` points of its
    own; whoever goes first in a block goes second in the next.
    """
    rows = []
    with _own_store() as store:
        source = store / "point.ipynb"
        jupytext.write(jupytext.read(project_root() / NOTEBOOK), source)
        for block in range(blocks):
            rates = [f"{0.5 + 0.001 * (block * executed + point):.4f}" for point in range(executed)]
            own = _sweep(store, f"block{block}", rates)
            calls = {
                "papermill": (sys.executable, "-c", BARE, source, *rates),
                "stocha": (PROGRAM, "sweep", "run", own, "--jobs", 1),
            }
            order = sorted(calls, reverse=bool(block % 2))
            rows += [(block, name, _seconds(*calls[name]) / executed) for name in order]
            progress(block + 1, blocks, "blocks")
    return pd.DataFrame(rows, columns=["block", "program", "seconds"])


@contextmanager
def _own_store() -> Iterator[Path]:
    before = os.environ.get("STOCHA_RUNS")
    with tempfile.TemporaryDirectory(prefix="stocha-sweep-") as folder:
        os.environ["STOCHA_RUNS"] = f"{folder}/runs"
        try:
            yield Path(folder)
        finally:
            del os.environ["STOCHA_RUNS"]
            if before is not None:
                os.environ["STOCHA_RUNS"] = before


def _sweep(store: Path, name: str, rates: Sequence[str]) -> Path:
    path = store / f"{name}.yml"
    grid = f"grid: {{lr: [{', '.join(rates)}]}}"
    path.write_text(
        f"notebook: {NOTEBOOK}\nfixed: {{scale: smoke}}\n{grid}\ncollect: {{table: final}}\n"
    )
    return path


def _seconds(*command: object) -> float:
    environment = {name: value for name, value in os.environ.items() if name != RUN_FOLDER}
    started = time.perf_counter()
    subprocess.run(
        [str(part) for part in command],
        check=True, capture_output=True, env=environment, cwd=project_root(),
    )  # fmt: skip
    return time.perf_counter() - started
