"""Which activation is in force at step t of a run: pure functions of (t, total).

A schedule is a frozen value that can be printed, compared and stored; `schedule.at(t, total)` gives
the phase. Steps are counted from 0 to total − 1. Chapter *Gradual or sudden*.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from stocha.activations import names

SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class Phase:
    """What is in force: an activation's registry name and, for `stocha`, its p."""

    name: str
    p: float | None = None

    @property
    def options(self) -> dict[str, float]:
        """The options that `activations.make(phase.name, **phase.options)` takes."""
        return {} if self.p is None else {"p": self.p}


@dataclass(frozen=True)
class Schedule(ABC):
    """Base of the schedules below."""

    @abstractmethod
    def at(self, t: int, total: int) -> Phase:
        """Return the phase of step `t` of `total`; ValueError unless 0 ≤ t < total."""

    def phases(self, total: int) -> Iterator[tuple[int, int, Phase]]:
        """Yield (first step, steps, phase) of every stretch with one phase, in order."""
        start = 0
        for t in range(1, total + 1):
            if t == total or self.at(t, total) != self.at(start, total):
                yield start, t - start, self.at(start, total)
                start = t


@dataclass(frozen=True)
class Constant(Schedule):
    """One phase throughout."""

    phase: Phase

    def at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        return self.phase


@dataclass(frozen=True)
class SwiFT(Schedule):
    """Swi+FT(α): `before` for the first 1 − α of all steps, `after` for the rest."""

    alpha: float
    before: Phase
    after: Phase

    def at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        return self.before if t < switch_step(self.alpha, total) else self.after


@dataclass(frozen=True)
class Anneal(Schedule):
    """StochA whose p goes from `start` at the first step to `end` at the last."""

    shape: str
    start: float
    end: float

    def at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        done = t / (total - 1) if total > 1 else 1.0
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        # the weighted mean, unlike start + done·(end − start), meets both ends exactly
        return Phase("stocha", (1 - done) * self.start + done * self.end)


@dataclass(frozen=True)
class Alternate(Schedule):
    """The phases of `turn`, each for `every` steps, over and over; the last may be cut short."""

    every: int
    turn: tuple[Phase, ...]

    def at(self, t: int, total: int) -> Phase:
        _check_step(t, total)
        return self.turn[t // self.every % len(self.turn)]


def constant(activation: str, p: float = 0.5) -> Constant:
    """Return the schedule that never switches; `p` is StochA's probability of SiLU."""
    return Constant(_phase(activation, p))


def swi_ft(alpha: float, before: str = "silu", after: str = "relu", p: float = 0.5) -> SwiFT:
    """Return Swi+FT(α): train with `before`, then go on with `after` for the last α of all steps.

    Parameters: `alpha` in [0, 1]: 0 never switches, 1 is `after` from the first step; the step is
    `switch_step`. `p` is used where `before` or `after` is "stocha" (claims L4 and L5).
    SOURCES, definitions. Raises ValueError for another alpha, name or p.
    """
    return SwiFT(_unit("alpha", alpha), _phase(before, p), _phase(after, p))


def anneal(shape: str = "linear", start: float = 1.0, end: float = 0.0) -> Anneal:
    """Return the schedule that moves StochA's p gradually: by default from SiLU to ReLU.

    Parameters: `shape`, "linear" or "cosine" (slow at both ends, mean p the same); p is `start` at
    the first step and `end` at the last. A run of one step has `end`. Raises ValueError for another
    shape or a p outside [0, 1].
    """
    if shape not in SHAPES:
        raise ValueError(f"shape={shape!r}: allowed: {', '.join(SHAPES)}")
    return Anneal(shape, _unit("start", start), _unit("end", end))


def alternate(every: int, first: str = "silu", second: str = "relu", p: float = 0.5) -> Alternate:
    """Return the schedule that changes between two activations after every `every` steps (≥ 1).

    `p` is StochA's probability of SiLU, where one of the two is "stocha". Raises ValueError for an
    `every` below 1 or an unknown name.
    """
    if every < 1:
        raise ValueError(f"every={every}: allowed is a whole number >= 1")
    return Alternate(every, (_phase(first, p), _phase(second, p)))


def switch_step(alpha: float, total: int) -> int:
    """Return the first step after the switch of Swi+FT(`alpha`) in a run of `total` steps.

    The steps after the switch are round(alpha·total), a half rounded up, so that a tie gives the
    fine-tuning the step; the result is in [0, total] and is `total` where there is no switch.
    """
    _unit("alpha", alpha)
    if total < 1:
        raise ValueError(f"total={total}: allowed is a whole number >= 1")
    # 0.29·50 is 14.499999999999998 in binary: rounding to 9 digits first makes it the half it is
    return total - math.floor(round(alpha * total, 9) + 0.5)


def _phase(name: str, p: float) -> Phase:
    if name not in names():
        raise ValueError(f"activation={name!r}: allowed: {', '.join(names())}")
    return Phase(name, _unit("p", p) if name == "stocha" else None)


def _unit(parameter: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{parameter}={value}: allowed is a number in [0, 1]")
    return float(value)


def _check_step(t: int, total: int) -> None:
    if total < 1:
        raise ValueError(f"total={total}: allowed is a whole number >= 1")
    if not 0 <= t < total:
        raise ValueError(f"t={t}: allowed is a step from 0 to total - 1 = {total - 1}")
