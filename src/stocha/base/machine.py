"""What a run was made with: versions, machine, threads, commit."""

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from stocha.base.paths import project_root

_PACKAGES = (
    "stocha",
    "torch",
    "numpy",
    "numba",
    "scikit-learn",
    "scipy",
    "pandas",
    "matplotlib",
    "seaborn",
    "papermill",
    "jupytext",
    "ipykernel",
)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, str | bool | None]:
    """The project's git commit, and whether the working tree differs from it; None outside git."""
    head = git("rev-parse", "HEAD")
    status = git("status", "--porcelain")
    return {"commit": head, "dirty": None if status is None else bool(status)}


def circumstances(began: datetime.datetime, seconds: float, threads: int) -> dict[str, Any]:
    """What a provenance says of when, how long and on what something was made."""
    return {
        "started": began.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "threads": threads,
        "cpu": cpu_model(),
        "cores": cores(),
        "system": platform.platform(),
        "versions": versions(),
    }


def git(*arguments: str) -> str | None:
    """What git says in the project; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=project_root(),
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
