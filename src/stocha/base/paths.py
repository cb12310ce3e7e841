"""Where the project's folders are."""

import functools
import os
from pathlib import Path

from stocha.base.errors import UserError

_MARKERS = ("_toc.yml", "pyproject.toml")


def project_root() -> Path:
    """The folder that holds `_toc.yml` and `pyproject.toml`.

    Looks upward from the working directory, then from this file (an editable install); falls back
    to the working directory, so that a notebook carried elsewhere still finds a place to write.
    """
    here = _here()
    for start in (here, Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if all((folder / marker).is_file() for marker in _MARKERS):
                return folder
    return here


def runs_root() -> Path:
    """The run store: `$STOCHA_RUNS`, else `runs/` in the project."""
    return _runs_root(os.environ.get("STOCHA_RUNS"), _here())


@functools.cache
def _runs_root(named: str | None, _: Path) -> Path:
    # A sweep of a thousand points asks a thousand times; both answers depend on the folder too.
    try:
        return Path(named).expanduser().resolve() if named else project_root() / "runs"
    except (RuntimeError, ValueError, OSError):  # no such user's home, or not a path
        raise UserError(f"STOCHA_RUNS={named}: allowed: a folder") from None


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UserError("the working directory is gone: cd into one that exists") from None


def results_root() -> Path:
    """The recorded tables that are committed: `results/` in the project."""
    return project_root() / "results"


def cache_root() -> Path:
    """What can be made again but takes long: `$STOCHA_CACHE`, else `~/.cache/stocha`."""
    return Path(os.environ.get("STOCHA_CACHE") or Path.home() / ".cache" / "stocha")
