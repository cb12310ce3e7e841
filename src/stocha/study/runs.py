"""The run store: a finished run is a folder with a DONE marker that names every file in it.

Layout, below `paths.runs_root()`::

    11_toy_classification/
        3f2a…/                 parameters.json  metrics.json  provenance.json  tables/*.csv
                               11_toy_classification.ipynb  DONE
        .3f2a….partial/        being made; a leftover of a killed run, cleared by the next one
        .3f2a….lock            held while the run is made
        failed/3f2a…/          a run whose cell raised: half-executed notebook, log
"""

import functools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stocha.base.files import digest, read_json, replace_folder, try_lock, write_json
from stocha.base.paths import runs_root

DONE = "DONE"


@dataclass(frozen=True)
class Run:
    """One place in the store, finished or not."""

    stem: str
    run_id: str

    @functools.cached_property
    def _home(self) -> Path:
        return runs_root() / self.stem

    @functools.cached_property
    def folder(self) -> Path:
        """Where the finished run lies."""
        return self._home / self.run_id

    @property
    def partial(self) -> Path:
        """Where the run is made."""
        return self._home / f".{self.run_id}.partial"

    @property
    def lock(self) -> Path:
        """The file that whoever makes the run holds a lock on."""
        return self._home / f".{self.run_id}.lock"

    @property
    def failed(self) -> Path:
        """Where the remains of a failed run are kept for reading."""
        return self._home / "failed" / self.run_id

    @property
    def notebook(self) -> Path:
        """The executed notebook of the finished run."""
        return self.folder / f"{self.stem}.ipynb"

    def table(self, name: str) -> Path:
        """The table `name` of the finished run."""
        return self.folder / "tables" / f"{name}.csv"

    def is_done(self) -> bool:
        """Finished, and no file shorter or longer since: a cut file makes the run undone."""
        folder = str(self.folder)
        marker = read_json(self.folder / DONE)
        if not isinstance(marker, dict):
            return False
        try:
            # Plain strings: a sweep of a thousand points asks this ten thousand times.
            return all(
                os.stat(f"{folder}/{name}").st_size == size
                for name, (size, _) in marker["files"].items()
            )
        except (OSError, KeyError, TypeError, ValueError):
            return False

    def is_intact(self) -> bool:
        """`is_done`, and every file's bytes still have their hash."""
        if not self.is_done():
            return False
        marker = read_json(self.folder / DONE)
        return all(
            digest((self.folder / name).read_bytes()) == expected
            for name, (_, expected) in marker["files"].items()
        )

    def start(self) -> Path:
        """Make the folder to work in, empty, and return it; the caller holds the lock."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self.partial

    def finish(self) -> None:
        """Mark the worked-in folder done and put it in its place, replacing an older one."""
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
        """Keep the worked-in folder of a failed run for reading, in place of an earlier failure."""
        self.failed.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(self.partial, self.failed)

    def salvage(self) -> bool:
        """Set aside what a killed process left, unless another has begun anew; True if it did."""
        with try_lock(self.lock) as held:
            found = held and self.partial.is_dir()
            if found:
                self.set_aside()
            return found

    def provenance(self) -> dict[str, Any]:
        """The finished run's provenance; empty where there is none."""
        return read_json(self.folder / "provenance.json") or {}
