"""Fixtures for tests of the machinery: a run store and notebooks of their own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Time decides nothing: not that of an example, nor that of making one.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

STOCHA = Path(sys.executable).with_name("stocha")

_HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small notebook

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
epochs: "Optional[int]" = None  # passes over the data [1, inf)
p: float = 0.5  # probability of SiLU [0, 1]
widths: list[int] = [4, 4]  # hidden widths [1, inf)
label: "Optional[str]" = None  # a word for the table

# %% tags=["scales"]
scales = {"smoke": {"epochs": 2}, "book": {"epochs": 3}, "full": {"epochs": 4}}

# %%
import pandas as pd
from stocha.study.session import open_run

run = open_run("NAME", globals())
"""

BODY = """
# %%
loss = [p / (t + 1) for t in range(epochs)]
run.table("curve", pd.DataFrame({"epoch": range(epochs), "loss": loss}))
run.metric(final=p / epochs)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty run store that library and command line use during the test."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("STOCHA_RUNS", str(folder))
    return folder


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a small text notebook with `body` as its last cells."""

    def make(body: str = BODY, name: str = "50_small") -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(_HEADER.replace("NAME", name) + body)
        return path

    return make


@pytest.fixture
def stocha(store: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the installed `stocha` command on the test's run store."""

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(STOCHA), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "STOCHA_RUNS": str(store), **environment},
            check=False,
        )

    return call


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Wait until a condition holds; return what it gave."""

    def wait(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        return value

    return wait


@pytest.fixture
def descendants() -> Callable[..., list[psutil.Process]]:
    """Find what a process has started, itself or through others, by words of the command line."""

    def find(pid: int, words: str = "") -> list[psutil.Process]:
        found = []
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended since it was listed
                if words in " ".join(process.cmdline()):
                    found.append(process)
        return found

    return find


@pytest.fixture
def ended() -> Callable[[psutil.Process], bool]:
    """Whether a process is over, waited for by its parent or not."""

    def is_over(process: psutil.Process) -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return is_over
