"""Arms: what is in force at each step, and names that read back."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stocha import activations
from stocha.activations import defaults
from stocha.arms import (
    PARAMETERS,
    RELU,
    SILU,
    STOCHA,
    Alternate,
    Anneal,
    Arm,
    Constant,
    Phase,
    SwiFT,
    planned,
    switch_step,
)

TOTAL = st.integers(1, 400)
ALPHA = st.floats(0, 1)
SHAPE = st.sampled_from(["linear", "cosine"])


def fits(arm: Arm, total: int) -> bool:
    """Whether both phases of a switch get a step."""
    sudden = isinstance(arm, SwiFT) and 0 < arm.alpha < 1
    return not sudden or 0 < switch_step(arm.alpha, total) < total


def run(arm: Arm, total: int) -> list[Phase]:
    return [arm.phase_at(t, total) for t in range(total)]


@given(TOTAL)
def test_constant_never_switches(total: int) -> None:
    drawn = Phase("stocha", (("p", 0.3),))
    assert run(Constant(drawn), total) == [drawn] * total


@given(ALPHA, TOTAL)
def test_swi_ft_switches_once_at_the_step_it_names(alpha: float, total: int) -> None:
    step = switch_step(alpha, total)
    assume(fits(SwiFT(alpha), total))
    assert run(SwiFT(alpha), total) == [SILU] * step + [RELU] * (total - step)
    assert abs((total - step) - alpha * total) <= 0.5 + 1e-6


@given(TOTAL)
def test_swi_ft_at_its_ends_is_one_activation(total: int) -> None:
    assert run(SwiFT(0), total) == [SILU] * total
    assert run(SwiFT(1), total) == [RELU] * total


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
    drawn = Phase("stocha", (("p", 0.7), ("granularity", "token")))
    assert run(SwiFT(0.25, drawn, STOCHA), 8) == [drawn] * 6 + [STOCHA] * 2


@given(SHAPE, st.integers(2, 300), ALPHA, ALPHA)
def test_anneal_goes_from_start_to_end_without_turning(
    shape: str, total: int, start: float, end: float
) -> None:
    values = [float(phase["p"]) for phase in run(Anneal(shape, start, end), total)]
    assert all(0 <= p <= 1 for p in values)
    assert (values[0], values[-1]) == (start, end)
    steps = [b - a for a, b in pairwise(values)]
    assert all(step * (end - start) >= -1e-12 for step in steps)
    # equal budget: both shapes spend the same mean probability
    assert math.isclose(sum(values) / total, (start + end) / 2, abs_tol=1e-9)


def test_anneal_shapes_are_what_they_are_called() -> None:
    def values(shape: str) -> list[float]:
        return [round(float(Anneal(shape).phase_at(t, 5)["p"]), 9) for t in range(5)]

    assert values("linear") == [1, 0.75, 0.5, 0.25, 0]
    assert values("cosine") == [1, 0.853553391, 0.5, 0.146446609, 0]
    assert Anneal().phase_at(0, 1) == Phase("stocha", (("p", 0.0),))


@given(st.integers(1, 50), TOTAL)
def test_alternate_takes_turns_of_every_steps(every: int, total: int) -> None:
    phases = run(Alternate(every), total)
    assert all(phase == (SILU if t // every % 2 == 0 else RELU) for t, phase in enumerate(phases))


VALUES = {
    "positive": st.sampled_from(activations.POSITIVE),
    "granularity": st.sampled_from(activations.GRANULARITY),
    "input": st.sampled_from(activations.GATE_INPUT),
    "hidden": st.integers(1, 64),
    "start": st.sampled_from(activations.GATE_START),
    "temperature": st.floats(1e-6, 1e6),
    "p": ALPHA,
    "lower": st.floats(0.01, 0.2),
    "rate": st.floats(0, 0.99),
    "of": st.sampled_from(activations.DROPOUT_OF),
    "limit": st.floats(0.1, 100),
    "slope": st.floats(0, 2),
    "beta": st.floats(0.01, 0.79),
    "alpha": st.floats(0.01, 100),
    "upper": st.floats(0.2, 1),
}


@st.composite
def phases(draw: st.DrawFn, names: tuple[str, ...] = activations.names()) -> Phase:
    """Any registered activation with any of its options."""
    name = draw(st.sampled_from(names))
    special = {"gumbel_stoch": activations.GUMBEL_MODES, "dropout": activations.DROPOUT_MODES}
    modes = special.get(name, activations.MODES)
    values = VALUES | dict.fromkeys(("train", "test"), st.sampled_from(modes))
    if "input" in defaults(name):
        values["positive"] = st.sampled_from(activations.GATE_POSITIVE)
    options = {option: draw(values[option]) for option in defaults(name)}
    stated = draw(st.sets(st.sampled_from(sorted(options)))) if options else set()
    return Phase(name, tuple((option, options[option]) for option in stated))


ARMS = st.one_of(
    st.builds(Constant, phases()),
    st.builds(SwiFT, ALPHA, phases(), phases()),
    st.builds(SwiFT, ALPHA, phases()),
    st.builds(Anneal, SHAPE, ALPHA, ALPHA, phases(("stocha",))),
    st.builds(Alternate, st.integers(1, 99), st.lists(phases(), min_size=1).map(tuple)),
)
READINGS = st.fixed_dictionaries({}, optional={o: VALUES[o] for o in ("positive", "granularity")})


@given(ARMS, READINGS)
def test_a_name_reads_back_as_the_arm_it_names(arm: Arm, reading: dict[str, str]) -> None:
    assert Arm.parse(arm.name) == arm
    assert Arm.parse(arm.named(**reading), **reading) == arm
    assert arm.label == Arm.parse(arm.name).label


@given(st.lists(ARMS, min_size=2, max_size=5))
def test_arms_have_one_order(arms: list[Arm]) -> None:
    ordered = sorted(arms, key=lambda arm: arm.order)
    backwards = [arm.order for arm in arms[::-1]]
    assert sorted(backwards) == [arm.order for arm in ordered]
    assert all(a == b for a, b in pairwise(ordered) if a.order == b.order)


@given(ARMS, st.integers(1, 60))
def test_stretches_tile_the_run(arm: Arm, total: int) -> None:
    assume(fits(arm, total))
    stretches = list(arm.phases(total))
    assert [phase for _, steps, phase in stretches for _ in range(steps)] == run(arm, total)
    starts = [start for start, _, _ in stretches]
    assert starts == sorted(set(starts))
    assert arm.prefix(total, total) == [[n, p.activation, dict(p.options)] for _, n, p in stretches]


def test_a_prefix_holds_what_the_steps_so_far_used() -> None:
    flip, through = SwiFT(0.25), Constant(SILU)
    assert flip.prefix(6, 8) == through.prefix(6, 8) == [[6, "silu", {}]]
    assert flip.prefix(7, 8) == [[6, "silu", {}], [1, "relu", {}]]
    assert Constant(STOCHA).prefix(6, 8)[0][2]["positive"] == "identity"


@pytest.mark.parametrize(
    ("name", "label", "look"),
    [
        ("silu", "SiLU", "silu"),
        ("relu2", "ReLU²", "relu2"),
        ("silu+ft(0.05)", "Swi+FT(0.05)", "silu"),
        ("stocha(0.5)", "StochA(0.5)", "stocha"),
        ("stocha(0.5)+ft(0.1)", "StochA(0.5) + Swi+FT(0.1)", "stocha"),
        ("expected(0.5)+ft(0.1)", "expected StochA(0.5) + Swi+FT(0.1)", "expected"),
        ("relu+silu(0.1)", "ReLU → SiLU(0.1)", "relu"),
        ("relu+stocha(0.1,0.7)", "ReLU → StochA(0.7)(0.1)", "relu"),
        ("anneal", "anneal SiLU → ReLU", "anneal"),
        ("anneal(shape=cosine,end=0.2)", "anneal SiLU → StochA(0.2) (cosine)", "anneal"),
        ("alternate(4,silu,relu)", "SiLU ↔ ReLU, every 4 steps", "silu"),
        (
            "stocha(0.7,granularity=token,positive=mixed)",
            "StochA(0.7, granularity token, positive mixed)",
            "stocha",
        ),
        ("gumbel_stoch(temperature=0.1)", "Gumbel StochA(temperature 0.1)", "gumbel_stoch"),
        ("xielu(beta=0.4)", "xIELU(beta 0.4)", "xielu"),
        ("dropout(granularity=layer)", "dropout(granularity layer)", "dropout"),
    ],
)
def test_an_arm_has_a_name_a_label_and_a_look(name: str, label: str, look: str) -> None:
    arm = Arm.parse(name)
    assert (arm.name, arm.label, arm.look) == (name, label, look)


def test_a_reading_says_what_a_tables_names_are_silent_about() -> None:
    mixed = Arm.parse("stocha(0.5)+ft(0.1)", positive="mixed")
    assert mixed.name == "stocha(0.5,positive=mixed)+ft(0.1)"
    assert mixed.named(positive="mixed") == "stocha(0.5)+ft(0.1)"
    assert mixed.labelled(positive="mixed") == "StochA(0.5) + Swi+FT(0.1)"
    assert mixed.label == "StochA(0.5, positive mixed) + Swi+FT(0.1)"
    assert Arm.parse("silu", positive="mixed").name == "silu"


def test_the_parameters_of_a_page_spell_an_arm() -> None:
    assert planned("silu").name == "silu"
    assert planned("silu", "swi_ft").name == "silu+ft(0.1)"
    assert planned("relu", "swi_ft", "silu", 0.2).name == "relu+silu(0.2)"
    assert planned("dropout", granularity="layer").name == "dropout(granularity=layer)"
    assert planned("stocha", draw="expectation", p=0.3).name == "expected(0.3)"
    assert planned("stocha", "anneal", positive="mixed").name == "anneal(positive=mixed)"
    point = dict.fromkeys(PARAMETERS, 0.5) | {
        "activation": "stocha",
        "schedule": "constant",
        "after": "relu",
        "positive": "silu",
        "granularity": "layer",
        "draw": "sample",
    }
    assert planned(**point).name == "stocha(0.5,granularity=layer,positive=silu)"


def test_a_phase_makes_its_activation_and_shares_a_gate() -> None:
    assert "p=0.75" in repr(Anneal().activation_at(1, 5))
    assert RELU.make().stochastic is False
    cold, hot = (Phase("gumbel_stoch", (("temperature", t),)) for t in (0.1, 2.0))
    assert cold.learns == hot.learns != Phase("learnable_stoch").learns
    gate = cold.make().logit
    assert hot.make(learnt=gate).logit is gate
    assert RELU.learns == ""
    assert Phase.of("xielu", beta=0.4).learns != Phase("xielu").learns != ""


def test_arms_are_values() -> None:
    assert SwiFT(0.1) == SwiFT(0.1) != SwiFT(0.2)
    assert Phase("stocha") == Phase("stocha", (("positive", "identity"), ("p", 0.5)))
    assert len({SwiFT(0.1), SwiFT(0.1), Alternate(3)}) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SwiFT(1.2), r"alpha=1.2: allowed: a number in \[0, 1\]"),
        (lambda: SwiFT(math.nan), r"alpha=nan: allowed"),
        (lambda: Phase("rely"), r"activation='rely': allowed: relu, silu"),
        (lambda: Phase("stocha", (("p", 2),)), r"p=2: allowed: a probability in \[0, 1\]"),
        (lambda: Phase("relu", (("p", 1),)), r"p=1: relu has no such option; allowed: none"),
        (lambda: Anneal("step"), r"shape='step': allowed: linear, cosine"),
        (lambda: Anneal(start=-1), r"start=-1: allowed"),
        (lambda: Anneal(phase=SILU), r"activation='silu': allowed: stocha"),
        (lambda: Alternate(0), r"every=0: allowed: a whole number >= 1"),
        (lambda: Alternate(1, ()), r"turn=\(\): allowed"),
        (
            lambda: list(Arm.parse("silu+ft(0.01)").phases(5)),
            r"alpha=0.01: leaves none of 5 steps on one side .*; allowed: 0, 1, or from 0.1 to 0.9",
        ),
        (lambda: SwiFT(0.999).phase_at(0, 5), r"alpha=0.999: leaves none of 5 steps"),
        (lambda: SwiFT(0.1).phase_at(10, 10), r"t=10: allowed: a step from 0 to total - 1 = 9"),
        (lambda: Anneal().phase_at(-1, 10), r"t=-1: allowed"),
        (lambda: Alternate(2).phase_at(0, 0), r"total=0: allowed"),
        (lambda: switch_step(0.1, 0), r"total=0: allowed"),
        (lambda: planned("silu", "sometimes"), r"schedule='sometimes': allowed: constant, swi_ft"),
        (lambda: Arm.parse("every 4"), r"arm='every 4': 'every 4': allowed: a name"),
        (lambda: Arm.parse("swish"), r"arm='swish': activation='swish': allowed: relu"),
        (lambda: Arm.parse("silu+ft"), r"arm='silu\+ft': .*alpha"),
        (lambda: Arm.parse("silu+ft(0.1)+ft(0.1)"), r"allowed: one switch"),
        (lambda: Arm.parse("stocha(0.1,0.2)"), r"'0.2': allowed: option=value"),
        (lambda: Arm.parse("stocha(colour=1)"), r"colour='1': stocha has no such option"),
        (
            lambda: Arm.parse("alternate(silu,relu)"),
            r"arm='alternate\(silu,relu\)': every='silu': allowed: a nu",
        ),
        (lambda: Arm.parse("anneal(p=0.3)"), r"p=0.3: allowed: start and end"),
        (lambda: Arm.parse("stocha(p=x)"), r"p='x': allowed: a number"),
        (lambda: Arm.parse("stocha(0.5,p=0.6)"), r"p is given twice"),
        (lambda: Arm.parse(""), r"arm='': "),
        (lambda: Arm.parse("silu(0.1"), r"arm='silu\(0.1'"),
    ],
)
def test_a_mistake_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
