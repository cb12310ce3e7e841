"""The run store: what is finished is a folder with a DONE marker that names every file in it.

Layout, below `paths.runs_root()`::

    11_toy_classification/
        3f2a…/                 a page: parameters.json  metrics.json  provenance.json  tables/*.csv
                               11_toy_classification.ipynb  DONE
        .3f2a….partial/        being made; a leftover of a killed run, cleared by the next one
        .3f2a….lock            held while the run is made
        failed/3f2a…/          a run whose cell raised: half-executed notebook, log
    results/stocha.toy.experiment.run/
        91bc…/                 an experiment's result: the same files without a notebook
"""

import contextlib
import functools
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocha.base.files import (
    aside,
    digest,
    is_running,
    read_json,
    replace_folder,
    restore_folder,
    try_lock,
    write_json,
)
from stocha.base.paths import runs_root

DONE = "DONE"
RESULTS = "results"
"""The folder of the store that experiments' results lie in."""
_BEGUN = ".begun"
"""Lies in a folder from its start and names who fills it: one that was removed and made again lacks
it."""
_OLD = 3600.0


@dataclass(frozen=True)
class Entry:
    """One place in the store, finished or not."""

    group: str
    """The folder that it lies in, relative to the store: a page's is its notebook's name."""
    id: str
    """The hash that names it."""

    @functools.cached_property
    def _home(self) -> Path:
        return runs_root() / self.group

    @functools.cached_property
    def folder(self) -> Path:
        """Where it lies when it is finished."""
        return self._home / self.id

    @property
    def partial(self) -> Path:
        """Where it is made."""
        return self._home / f".{self.id}.partial"

    @property
    def lock(self) -> Path:
        """The file that whoever makes it holds a lock on."""
        return self._home / f".{self.id}.lock"

    @property
    def failed(self) -> Path:
        """Where the remains of a failure are kept for reading."""
        return self._home / "failed" / self.id

    @property
    def notebook(self) -> Path:
        """The executed notebook, where this is a page."""
        return self.folder / f"{self.group}.ipynb"

    def table(self, name: str) -> Path:
        """The finished table `name`."""
        return self.folder / "tables" / f"{name}.csv"

    def is_done(self) -> bool:
        """Finished, and every file still has the bytes that it had: a damaged file undoes it."""
        folder = str(self.folder)
        marker = read_json(Path(folder, DONE))
        if marker is None:
            return self._is_restored() and self.is_done()
        try:
            files: dict[str, Any] = marker["files"]
            return bool(files) and all(
                # Plain strings: a sweep of a thousand points asks this ten thousand times.
                os.stat(f"{folder}/{name}").st_size == size and _digest(f"{folder}/{name}") == known
                for name, (size, known) in files.items()
            )
        except (OSError, LookupError, TypeError, ValueError, AttributeError):
            return False

    def _is_restored(self) -> bool:
        """Undo what a process left that was killed while it replaced this; True if there was it."""
        if not aside(self.folder).is_dir():
            return False
        try:
            with try_lock(self.lock) as held:
                return held and restore_folder(self.folder)
        except OSError:
            return False

    def recover(self) -> None:
        """Bring back what was finished, if a process was killed while it replaced this.

        The caller holds the lock.
        """
        restore_folder(self.folder)

    def start(self) -> Path:
        """Make the folder to work in, empty, and return it; the caller holds the lock."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        (self.partial / _BEGUN).write_text(_owner())
        return self.partial

    def finish(self) -> None:
        """Mark the worked-in folder done and put it in its place, replacing an older one.

        Raises:
            FileNotFoundError: the folder was removed meanwhile, and with it what lay in it.
        """
        (self.partial / _BEGUN).unlink()
        files = {
            path.relative_to(self.partial).as_posix(): path
            for path in sorted(self.partial.rglob("*"))
            if path.is_file()
        }
        marker: dict[str, Any] = {
            "files": {
                name: [path.stat().st_size, digest(path.read_bytes())]
                for name, path in files.items()
            }
        }
        write_json(self.partial / DONE, marker)
        replace_folder(self.partial, self.folder)
        shutil.rmtree(self.failed, ignore_errors=True)

    def set_aside(self) -> None:
        """Keep the worked-in folder of a failure for reading, in place of an earlier one."""
        self.failed.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(self.partial, self.failed)

    def salvage(self) -> bool:
        """Set aside what a killed process left, unless another has begun anew; True if it did."""
        with try_lock(self.lock) as held:
            found = held and self.partial.is_dir()
            if found:
                self.set_aside()
            return found

    def is_being_made(self) -> bool:
        """Somebody works on it now."""
        if not self.partial.is_dir():
            return False
        try:
            with try_lock(self.lock) as free:
                return not free
        except OSError:  # a store that cannot be written to: nobody makes anything there
            return False

    def provenance(self) -> dict[str, Any]:
        """The provenance of what is finished; empty where there is none."""
        return read_json(self.folder / "provenance.json") or {}


def clear_leftovers() -> None:
    """Remove from the store what killed processes of this machine left.

    A store may be shared by machines, whose locks and processes are not seen from here.
    """
    for pattern in ("*/.*.partial", f"{RESULTS}/*/.*.partial"):
        for path in filter(Path.is_dir, runs_root().glob(pattern)):
            entry = Entry(path.parent.relative_to(runs_root()).as_posix(), path.name[1:-8])
            with try_lock(entry.lock) as held:
                if held and _is_orphan(path):
                    entry.recover()
                    shutil.rmtree(path, ignore_errors=True)
    for path in runs_root().rglob(".*.partial"):
        owner = path.name.rsplit(".", 2)[-2]
        if owner.isdigit() and not is_running(int(owner)):
            with contextlib.suppress(OSError):
                if path.is_file() and time.time() - path.stat().st_mtime > _OLD:
                    path.unlink()


def _owner() -> str:
    return f"{platform.node()} {os.getpid()}"


def _is_orphan(partial: Path) -> bool:
    """A process of this machine began to fill the folder, and is gone."""
    try:
        node, pid = (partial / _BEGUN).read_text().split()
        return node == platform.node() and not is_running(int(pid))
    except (OSError, ValueError):
        return False


def _digest(path: str) -> str:
    with open(path, "rb") as stream:
        return digest(stream.read())
