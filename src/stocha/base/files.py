"""Files that are either whole or absent, and locks that a dead process lets go of."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a power cut, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` atomically: see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`, or None where the file is absent or not whole."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def is_running(pid: int) -> bool:
    """Whether a process has this id, so that its temporary files have an owner."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def digest(data: bytes) -> str:
    """SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def replace_folder(source: Path, target: Path) -> None:
    """Put the finished folder `source` in the place of `target`, of which a copy always exists.

    A folder that holds files cannot be replaced in one system call, so the old one steps aside
    first; `restore_folder` brings it back where a process was killed in between.
    """
    shutil.rmtree(aside(target), ignore_errors=True)
    if target.exists():
        os.rename(target, aside(target))
    os.rename(source, target)
    _sync_folder(target.parent)
    shutil.rmtree(aside(target), ignore_errors=True)


def restore_folder(target: Path) -> bool:
    """Put back what stepped aside for a `replace_folder` that was killed; True if there was it."""
    if target.exists() or not aside(target).is_dir():
        return False
    os.rename(aside(target), target)
    return True


def aside(target: Path) -> Path:
    """Where the folder `target` stands while another takes its place."""
    return target.with_name(f".{target.name}.old")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on `path` for the block if nobody else does; yields whether it is.

    The operating system frees the lock when its holder dies, however it dies.
    """
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def locked(path: Path, when_waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Like `try_lock`, but wait for one's turn, calling `when_waiting` before a wait."""
    with try_lock(path) as held:
        if held:
            yield True
            return
    if when_waiting is not None:
        when_waiting()
    with _lock(path):
        yield True


def _lock(path: Path) -> filelock.BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path)
