"""Where the project's folders are."""

import os
from pathlib import Path

_MARKERS = ("_toc.yml", "pyproject.toml")


def project_root() -> Path:
    """The folder that holds `_toc.yml` and `pyproject.toml`.

    Looks upward from the working directory, then from this file (an editable install); falls back
    to the working directory, so that a notebook carried elsewhere still finds a place to write.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if all((folder / marker).is_file() for marker in _MARKERS):
                return folder
    return Path.cwd()


def runs_root() -> Path:
    """The run store: `$STOCHA_RUNS`, else `runs/` in the project."""
    named = os.environ.get("STOCHA_RUNS")
    return Path(named).expanduser().resolve() if named else project_root() / "runs"


def results_root() -> Path:
    """The recorded tables that are committed: `results/` in the project."""
    return project_root() / "results"
