"""What the terminal shows while notebooks run: live lines, or one plain line an event elsewhere."""

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from stocha.study.execution import Outcome
from stocha.study.pool import Event


class Progress:
    """Shows events; use as a context manager around `pool.execute_all`."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.total = total
        self.started = time.perf_counter()
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self._running: dict[str, tuple[float, str]] = {}
        self._live = Live(console=self.console, transient=True, refresh_per_second=4)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take in one event and show it."""
        label = event.request.label
        if event.outcome is not None:
            self._running.pop(label, None)
            self._ended(label, event.outcome)
        elif event.kind == "started":
            self._running[label] = (time.perf_counter(), "starting")
            if not self.console.is_terminal and self.total > 1:
                self._line(f"{label} started")
        elif event.kind == "waiting":
            self._state(label, "waiting: another process makes this run")
            if not self.console.is_terminal:
                self._line(f"{label} waits for another process that makes this run")
        elif event.progress is not None:
            done, total, unit = event.progress
            self._state(label, f"{unit} {done}/{total}")
        if self.console.is_terminal:
            self._live.update(self._table())

    def _state(self, label: str, text: str) -> None:
        since, _ = self._running.get(label, (time.perf_counter(), ""))
        self._running[label] = (since, text)

    def _ended(self, label: str, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        words = {
            "done": f"done in {outcome.seconds:.1f} s",
            "skipped": "done before, nothing recomputed",
            "failed": f"failed after {outcome.seconds:.1f} s",
        }
        if outcome.refused:
            self._line(f"{label} refused: {outcome.error}")
            return
        self._line(f"{label} {words[outcome.status]}")
        for line in outcome.error.splitlines():
            self.console.print(f"    {line}", markup=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        ended = sum(self.counts.values())
        counter = f"[{ended}/{self.total}] " if self.total > 1 else ""
        self.console.print(f"{counter}{text}", markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for label, (since, text) in self._running.items():
            table.add_row(label, text, f"{time.perf_counter() - since:.0f} s")
        table.add_row(self.summary())
        return table

    def summary(self) -> str:
        """Finished, running, failed and the time left at the pace so far."""
        done, skipped, failed = (self.counts[key] for key in ("done", "skipped", "failed"))
        text = f"{done + skipped} of {self.total} finished, {len(self._running)} running"
        text += f", {failed} failed" if failed else ""
        left = self.total - done - skipped - failed
        if done and left:
            pace = (time.perf_counter() - self.started) / (done + failed)
            text += f", about {duration(pace * left)} left"
        return text


def duration(seconds: float) -> str:
    """`seconds` for reading: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
