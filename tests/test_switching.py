"""Schedules are pure functions of (t, total): boundaries, counts and errors."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.activations import make
from stocha.switching import Phase, Schedule, alternate, anneal, constant, swi_ft, switch_step

TOTAL = st.integers(1, 400)
ALPHA = st.floats(0, 1)
SHAPE = st.sampled_from(["linear", "cosine"])
SILU, RELU = Phase("silu"), Phase("relu")


def run(schedule: Schedule, total: int) -> list[Phase]:
    return [schedule.at(t, total) for t in range(total)]


@given(TOTAL)
def test_constant_never_switches(total: int) -> None:
    assert run(constant("stocha", 0.3), total) == [Phase("stocha", 0.3)] * total
    assert run(constant("gelu"), total) == [Phase("gelu")] * total


@given(ALPHA, TOTAL)
def test_swi_ft_switches_once_at_the_step_it_names(alpha: float, total: int) -> None:
    step = switch_step(alpha, total)
    assert run(swi_ft(alpha), total) == [SILU] * step + [RELU] * (total - step)
    assert abs((total - step) - alpha * total) <= 0.5 + 1e-6


@given(TOTAL)
def test_swi_ft_at_its_ends_is_one_activation(total: int) -> None:
    assert run(swi_ft(0), total) == [SILU] * total
    assert run(swi_ft(1), total) == [RELU] * total


@given(TOTAL, st.lists(ALPHA, min_size=2, max_size=2).map(sorted))
def test_a_larger_alpha_never_switches_later(total: int, alphas: list[float]) -> None:
    assert switch_step(alphas[1], total) <= switch_step(alphas[0], total)


@pytest.mark.parametrize(
    ("alpha", "total", "after"),
    [
        (0.1, 1000, 100),
        (0.05, 30, 2),  # 1.5: a half goes to the fine-tuning
        (0.15, 10, 2),
        (0.29, 50, 15),  # 14.5, which binary makes 14.499999999999998
        (0.05, 9, 0),
        (0.5, 1, 1),
    ],
)
def test_the_steps_after_the_switch_are_alpha_rounded(alpha: float, total: int, after: int) -> None:
    assert total - switch_step(alpha, total) == after


def test_swi_ft_takes_other_activations() -> None:
    schedule = swi_ft(0.25, before="stocha", p=0.7)
    assert run(schedule, 8) == [Phase("stocha", 0.7)] * 6 + [RELU] * 2


@given(SHAPE, st.integers(2, 300), ALPHA, ALPHA)
def test_anneal_goes_from_start_to_end_without_turning(
    shape: str, total: int, start: float, end: float
) -> None:
    ps = [phase.p for phase in run(anneal(shape, start, end), total)]
    assert all(p is not None and 0 <= p <= 1 for p in ps)
    values = [p for p in ps if p is not None]
    assert (values[0], values[-1]) == (start, end)
    steps = [b - a for a, b in pairwise(values)]
    assert all(step * (end - start) >= -1e-12 for step in steps)
    # equal budget: both shapes spend the same mean probability
    assert math.isclose(sum(values) / total, (start + end) / 2, abs_tol=1e-9)


def test_anneal_shapes_are_what_they_are_called() -> None:
    def values(shape: str) -> list[float]:
        return [round(anneal(shape).at(t, 5).options["p"], 9) for t in range(5)]

    assert values("linear") == [1, 0.75, 0.5, 0.25, 0]
    assert values("cosine") == [1, 0.853553391, 0.5, 0.146446609, 0]
    assert anneal().at(0, 1) == Phase("stocha", 0.0)


@given(st.integers(1, 50), TOTAL)
def test_alternate_takes_turns_of_every_steps(every: int, total: int) -> None:
    phases = run(alternate(every), total)
    assert all(phase == (SILU if t // every % 2 == 0 else RELU) for t, phase in enumerate(phases))


@given(
    st.one_of(
        ALPHA.map(swi_ft),
        SHAPE.map(anneal),
        st.integers(1, 9).map(alternate),
        st.just(constant("relu")),
    ),
    st.integers(1, 60),
)
def test_stretches_tile_the_run(schedule: Schedule, total: int) -> None:
    tiled = [
        phase
        for start, steps, phase in schedule.phases(total)
        for phase in [phase] * steps
        if steps > 0 and start >= 0
    ]
    assert tiled == run(schedule, total)
    starts = [start for start, _, _ in schedule.phases(total)]
    assert starts == sorted(set(starts))


def test_a_phase_makes_its_activation() -> None:
    phase = anneal().at(1, 5)
    assert "p=0.75" in repr(make(phase.name, **phase.options))
    assert make(RELU.name, **RELU.options).stochastic is False


def test_schedules_are_values() -> None:
    assert swi_ft(0.1) == swi_ft(0.1) != swi_ft(0.2)
    assert len({swi_ft(0.1), swi_ft(0.1), alternate(3)}) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: swi_ft(1.2), r"alpha=1.2: allowed is a number in \[0, 1\]"),
        (lambda: swi_ft(math.nan), r"alpha=nan: allowed"),
        (lambda: swi_ft(0.1, after="rely"), r"activation='rely': allowed: relu, silu"),
        (lambda: constant("stocha", 2), r"p=2: allowed is a number in \[0, 1\]"),
        (lambda: anneal("step"), r"shape='step': allowed: linear, cosine"),
        (lambda: anneal(start=-1), r"start=-1: allowed"),
        (lambda: alternate(0), r"every=0: allowed is a whole number >= 1"),
        (lambda: swi_ft(0.1).at(10, 10), r"t=10: allowed is a step from 0 to total - 1 = 9"),
        (lambda: anneal().at(-1, 10), r"t=-1: allowed"),
        (lambda: alternate(2).at(0, 0), r"total=0: allowed"),
        (lambda: switch_step(0.1, 0), r"total=0: allowed"),
    ],
)
def test_a_mistake_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
