"""Where the project's folders are."""

import functools
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
    return _runs_root(os.environ.get("STOCHA_RUNS"), os.getcwd())


@functools.cache
def _runs_root(named: str | None, _: str) -> Path:
    # A sweep of a thousand points asks a thousand times; both answers depend on the folder too.
    return Path(named).expanduser().resolve() if named else project_root() / "runs"


def results_root() -> Path:
    """The recorded tables that are committed: `results/` in the project."""
    return project_root() / "results"


def cache_root() -> Path:
    """What can be made again but takes long: `$STOCHA_CACHE`, else `~/.cache/stocha`."""
    return Path(os.environ.get("STOCHA_CACHE") or Path.home() / ".cache" / "stocha")
