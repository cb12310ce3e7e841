"""Where every point of a sweep stands, read from the run store alone."""

import functools
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from stocha.base.paths import results_root
from stocha.study.recorded import Record, read_record
from stocha.study.runs import Entry
from stocha.study.sweeps.specification import Point, Sweep

Status = Literal["done", "recorded", "running", "failed", "waiting"]
"""`recorded`: in `results/`, made by code that gives the same numbers, and not in the store."""
STATUSES: tuple[Status, ...] = ("done", "recorded", "running", "failed", "waiting")


@dataclass(frozen=True)
class State:
    """A sweep and the status of each of its points."""

    sweep: Sweep
    statuses: tuple[Status, ...]
    record: Record | None
    """What is recorded of the sweep."""
    recorded: tuple[str | None, ...]
    """The run id under which each point is recorded by code that gives today's numbers."""

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
    """Look every point up in the run store and in what is recorded of the sweep."""
    record = read_record(results_root() / sweep.name)
    recorded: list[str | None] = [None] * len(sweep.points)
    if record is not None and record.is_current(sweep.notebook):
        recorded = record.run_ids(sweep.points)
    places = zip(sweep.runs, sweep.pages, recorded, strict=True)
    return State(sweep, tuple(_status(*place) for place in places), record, tuple(recorded))


def _status(made: Entry, page: Entry, recorded: str | None) -> Status:
    if made.is_done():
        return "done"
    if recorded is not None:
        return "recorded"
    if made.is_being_made() or page.is_being_made():
        return "running"
    return "failed" if page.failed.is_dir() else "waiting"
