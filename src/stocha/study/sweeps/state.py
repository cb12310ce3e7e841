"""Where every point of a sweep stands, read from the run store alone."""

import functools
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from stocha.study.runs import Entry, Run
from stocha.study.sweeps.specification import Point, Sweep

Status = Literal["done", "running", "failed", "waiting"]
STATUSES: tuple[Status, ...] = ("done", "running", "failed", "waiting")


@dataclass(frozen=True)
class State:
    """A sweep and the status of each of its points."""

    sweep: Sweep
    statuses: tuple[Status, ...]

    def count(self, status: Status) -> int:
        """How many points have `status`."""
        return Counter(self.statuses)[status]

    def with_status(self, *statuses: Status) -> list[tuple[Point, Entry]]:
        """The points that have one of `statuses`, in the order of execution."""
        every = zip(self.sweep.points, self.sweep.runs, self.statuses, strict=True)
        return [(point, run) for point, run, status in every if status in statuses]

    @functools.cached_property
    def seconds_a_point(self) -> float | None:
        """Median wall time of the finished points; None where none is."""
        times = [run.provenance().get("seconds") for _, run in self.with_status("done")]
        known = [float(seconds) for seconds in times if seconds is not None]
        return statistics.median(known) if known else None

    def seconds_left(self, jobs: int) -> float | None:
        """Predicted time for what is not done, on `jobs` workers; None before any point is done."""
        each = self.seconds_a_point
        left = self.count("waiting") + self.count("running")
        return None if each is None else each * -(-left // jobs)


def read_state(sweep: Sweep) -> State:
    """Look every point up in the run store."""
    places = zip(sweep.runs, sweep.pages, strict=True)
    return State(sweep, tuple(_status(made, page) for made, page in places))


def _status(made: Entry, page: Run) -> Status:
    if made.is_done():
        return "done"
    if made.is_being_made() or page.is_being_made():
        return "running"
    return "failed" if page.failed.is_dir() else "waiting"
