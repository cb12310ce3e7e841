"""Worker processes that execute notebooks: one dies, the others and the sweep go on.

`concurrent.futures` gives every waiting task up when one worker is killed, and cannot say how far a
running one is; this pool replaces the worker, fails the one point it was making, and polls
progress.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

from stocha.base.files import is_running
from stocha.study.execution import SOCKETS, Outcome, Request, execute
from stocha.study.handoff import read_progress

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_PREFIX, _PATH = "stocha-sockets-", 60


@dataclass(frozen=True)
class Event:
    """Something to show: a request started, waits for another process, advanced or ended."""

    kind: Literal["started", "waiting", "progress", "ended"]
    request: Request
    progress: tuple[int, int, str] | None = None
    outcome: Outcome | None = None


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()
        self.request: Request | None = None
        self.shown: tuple[int, int, str] | None = None
        self.since = 0.0

    @property
    def busy(self) -> bool:
        return self.request is not None

    def give(self, request: Request) -> None:
        self.request, self.shown, self.since = request, None, time.perf_counter()
        self.pipe.send(request)

    def advanced(self) -> tuple[int, int, str] | None:
        """The progress of its request where that changed since last asked."""
        assert self.request is not None
        progress = read_progress(self.request.run.partial)
        if progress == self.shown:
            return None
        self.shown = progress
        return progress

    def stop(self) -> None:
        """Let an idle worker end by itself; interrupt a busy one, then insist."""
        self.pipe.close()
        if self.busy:
            self.process.terminate()
        self.process.join(_GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def execute_all(
    requests: Iterable[Request], jobs: int, show: Callable[[Event], None]
) -> list[Outcome]:
    """Execute `requests` in order on `jobs` worker processes; outcomes in the order of ending.

    What another process makes at that time is left for the end.
    A failed or killed request is an outcome like any other. On KeyboardInterrupt the workers and
    their kernels are stopped, finished runs stay, and the exception goes on.
    """
    _clear_sockets()
    # A socket's path may have 107 characters.
    short = None if len(tempfile.gettempdir()) < _PATH else "/tmp"
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=short) as sockets:
        os.environ[SOCKETS] = sockets
        return _execute_all(requests, jobs, show)


def _clear_sockets() -> None:
    """Remove the folders of processes that were killed."""
    for path in {
        *Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"),
        *Path("/tmp").glob(f"{_PREFIX}*"),
    }:
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not is_running(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _execute_all(
    requests: Iterable[Request], jobs: int, show: Callable[[Event], None]
) -> list[Outcome]:
    waiting = deque(replace(request, patient=False) for request in requests)
    outcomes: list[Outcome] = []
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.busy for worker in workers):
            while waiting and len(workers) < jobs:
                workers.append(_Worker())
            for worker in workers:
                if waiting and not worker.busy:
                    request = waiting.popleft()
                    worker.give(request)
                    show(Event("started", request))
            for event in _poll(workers):
                if event.outcome is not None and event.outcome.status == "busy":
                    # Another process makes it: do the others first, then wait for it.
                    waiting.append(replace(event.request, patient=True))
                    continue
                if event.outcome is not None:
                    outcomes.append(event.outcome)
                show(event)
    finally:
        with _interrupts_held():
            for worker in workers:
                worker.stop()
    return outcomes


def _poll(workers: list[_Worker]) -> Iterator[Event]:
    """What happened within one polling period; a dead worker leaves the list."""
    busy = [worker for worker in workers if worker.busy]
    ready = wait([worker.pipe for worker in busy], timeout=_POLL_SECONDS)
    for worker in busy:
        request = worker.request
        assert request is not None
        if worker.pipe not in ready:
            progress = worker.advanced()
            if progress is not None:
                yield Event("progress", request, progress=progress)
            continue
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            workers.remove(worker)
            worker.process.join()
            seconds = time.perf_counter() - worker.since
            error = f"the worker process died ({_how(worker.process.exitcode)})"
            if request.run.salvage():
                error += f"\nkept for reading: {request.run.failed}"
            yield Event("ended", request, outcome=Outcome(request.run, "failed", seconds, error))
            continue
        if isinstance(message, Outcome):
            worker.request = None
            yield Event("ended", request, outcome=message)
        else:
            yield Event("waiting", request)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(pipe: Connection) -> None:
    """The worker's loop: execute what comes through the pipe until it closes."""
    # Ctrl-C reaches the whole process group; the parent decides what stops, and how.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            request: Request = pipe.recv()
            try:
                outcome = execute(request, when_waiting=lambda: pipe.send("waiting"))
            except Exception as error:  # whatever it is, the other points go on
                outcome = Outcome(request.run, "failed", 0.0, f"{type(error).__name__}: {error}")
            pipe.send(outcome)


def _leave_with_parent() -> None:
    """End with the parent, however it ends: a sweep that was killed must not go on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _leave()


def _leave() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(143)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A second Ctrl-C while the workers are being stopped must not leave one behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
