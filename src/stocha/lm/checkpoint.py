"""Checkpoints: complete, verified, replaced atomically; and the store that runs share them in."""

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from stocha.base.files import write_bytes
from stocha.lm.config import fingerprint


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`; a full disk or a kill leaves the previous file as it was.

    Raises ValueError, one line, if the file cannot be written.
    """
    try:
        content = io.BytesIO()
        torch.save(state, content)
        write_bytes(path, content.getvalue())
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint={path}: could not be written ({error}); the one before is intact"
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Return the state in `path`; ValueError, one line, if it is missing, cut short or altered.

    The checksums that `torch.save` writes are compared: torch itself loads a flipped bit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} has another checksum")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise ValueError(f"checkpoint={path}: no such file") from None
    except Exception as error:
        raise ValueError(f"checkpoint={path}: damaged or not a checkpoint; delete it") from error


class Store:
    """Checkpoints named by what was computed, so that runs with a common beginning share it.

    A key is the hash of everything that decides the bits up to a step. `claim` serialises the
    processes that want the same key: the first computes it, the others find it finished.

    Parameters: `folder`; `fresh`, whether to find only what this store itself has written, by
    default what $STOCHA_FRESH says (`stocha run --fresh`).
    """

    def __init__(self, folder: Path, fresh: bool | None = None) -> None:
        self.folder = folder
        self.fresh = bool(os.environ.get("STOCHA_FRESH")) if fresh is None else fresh
        self._written: set[Path] = set()

    def path(self, key: Any) -> Path:
        """Return where the checkpoint of `key`, a JSON-able value, is or will be."""
        return self.folder / f"{fingerprint(key)}.pt"

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return the state that `write` left at `path`, or None if there is none.

        Raises ValueError, one line, if it is damaged or was written to another path.
        """
        if not path.is_file() or (self.fresh and path not in self._written):
            return None
        state = load(path)
        if state.get("name") != path.name:
            raise ValueError(f"checkpoint={path}: is {state.get('name')}'s; delete it")
        return state

    def write(self, path: Path, state: dict[str, Any]) -> None:
        """Write `state` to `path` with its name: see `save`."""
        save(path, {**state, "name": path.name})
        self._written.add(path)

    @contextmanager
    def claim(self, key: Any) -> Iterator[Path]:
        """Hold `key` for this process alone; yields its path. Released if the process dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(key)
        with FileLock(path.with_suffix(".lock")):
            yield path
