"""Every activation against its definition, its limits, its expectation and its own generator."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stocha import activations as A
from stocha.base.streams import generator

INF, NAN = math.inf, math.nan
SEEDS = st.integers(0, 2**20)
P = st.floats(0, 1)
POSITIVE = st.sampled_from(A.POSITIVE)
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
NAMES = A.names()
GATED = ("learnable_stoch", "gumbel_stoch")


def normal(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 3.0
) -> Tensor:
    return (scale * torch.randn(shape, generator=generator(seed, "x"), dtype=torch.float64)).to(
        dtype
    )


def defined(x: Tensor, draw: Tensor, positive: str) -> Tensor:
    """StochA as the definition reads: a choice, element by element."""
    drawn = torch.where(draw, x * torch.sigmoid(x), x.clamp(min=0))
    at_or_above = {"identity": x, "silu": x * torch.sigmoid(x), "mixed": drawn}[positive]
    return torch.where(x < 0, drawn, at_or_above)


# StochA


@settings(max_examples=40)
@given(SEEDS, POSITIVE, st.sampled_from(A.GRANULARITY))
def test_stocha_with_a_given_draw_is_its_definition(
    seed: int, positive: str, granularity: str
) -> None:
    x = normal(4, 5, 6, seed=seed, dtype=torch.float64)
    shape = {"element": (4, 5, 6), "token": (4, 5, 1), "layer": (1, 1, 1)}[granularity]
    draw = torch.rand(shape, generator=generator(seed, "d")) < 0.5
    torch.testing.assert_close(
        A.stocha(x, draw=draw, positive=positive), defined(x, draw.expand_as(x), positive)
    )


@settings(max_examples=40)
@given(SEEDS, POSITIVE)
def test_the_gradient_is_that_of_the_branch_drawn(seed: int, positive: str) -> None:
    x = normal(64, seed=seed, dtype=torch.float64).requires_grad_()
    draw = torch.rand(64, generator=generator(seed, "d")) < 0.5
    (found,) = torch.autograd.grad(A.stocha(x, draw=draw, positive=positive).sum(), x)
    (wanted,) = torch.autograd.grad(defined(x, draw, positive).sum(), x)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("positive", A.POSITIVE)
def test_end_points(positive: str) -> None:
    x = normal(1000)
    below, above = x < 0, x >= 0
    zero, one = (A.stocha(x, p, positive=positive) for p in (0.0, 1.0))
    assert torch.equal(zero[below], torch.zeros_like(zero[below]))
    torch.testing.assert_close(one[below], F.silu(x)[below])
    expected = {"identity": (x, x), "silu": (F.silu(x),) * 2, "mixed": (x, F.silu(x))}[positive]
    torch.testing.assert_close(zero[above], expected[0][above])
    torch.testing.assert_close(one[above], expected[1][above])


def test_mixed_end_points_are_relu_and_silu_to_the_bit() -> None:
    x = normal(1000)
    assert torch.equal(A.stocha(x, 0.0, positive="mixed"), F.relu(x))
    assert torch.equal(A.stocha(x, 1.0, positive="mixed"), F.silu(x))
    # and so is every element in between: sparsity counts exact zeros
    y = A.stocha(x, 0.5, generator=generator(0))
    assert bool(((y == F.relu(x)) | (y == F.silu(x))).all())


@settings(max_examples=30)
@given(P, SEEDS)
def test_p_is_the_probability_of_silu(p: float, seed: int) -> None:
    n = 10_000
    drawn = int((A.stocha(torch.full((n,), -1.0), p, generator=generator(seed)) != 0).sum())
    assert abs(drawn - n * p) <= 6 * math.sqrt(n * p * (1 - p)) + 1


@settings(max_examples=15)
@given(st.floats(0.05, 0.95), POSITIVE, SEEDS)
def test_the_mean_of_draws_is_the_expectation(p: float, positive: str, seed: int) -> None:
    x = torch.linspace(-6, 6, 25, dtype=torch.float64)
    n = 4000
    samples = A.stocha(x.expand(n, -1), p, positive=positive, generator=generator(seed))
    error = samples.std(0) / math.sqrt(n)
    off = (samples.mean(0) - A.stocha_expectation(x, p, positive)).abs()
    # 1e-6: where the two branches all but agree, the sample deviation may be that of one draw
    assert bool((off <= 6 * error + 1e-6).all())


@settings(max_examples=40)
@given(P, POSITIVE, SEEDS)
def test_the_expectation_is_the_weighted_mean_of_the_end_points(
    p: float, positive: str, seed: int
) -> None:
    x = normal(50, seed=seed, dtype=torch.float64)
    zero, one = (defined(x, torch.full((50,), b), positive) for b in (False, True))
    torch.testing.assert_close(A.stocha_expectation(x, p, positive), p * one + (1 - p) * zero)


@pytest.mark.parametrize("granularity", A.GRANULARITY)
def test_granularity_is_what_shares_a_draw(granularity: str) -> None:
    drawn = A.stocha(
        torch.full((4, 50, 16), -1.0), granularity=granularity, generator=generator(4)
    ).bool()
    of_row = drawn.float().mean(-1)
    divided = int(((of_row > 0) & (of_row < 1)).sum())
    if granularity == "element":
        assert divided > 190
    else:
        assert divided == 0
        assert (0 < float(of_row.mean()) < 1) == (granularity == "token")


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("setting", A.MODES)
def test_training_and_testing_are_set_apart(mode: str, setting: str) -> None:
    other = "test" if mode == "train" else "train"
    act = A.make("stocha", p=0.4, **{mode: setting, other: "relu"})
    act.train(mode == "train")
    x = normal(200)
    wanted = {
        "sample": lambda: A.stocha(x, 0.4, generator=generator(1)),
        "expectation": lambda: A.stocha_expectation(x, 0.4),
        "silu": lambda: A.silu(x),
        "relu": lambda: A.relu(x),
    }[setting]()
    assert act.stochastic == (setting == "sample")
    assert torch.equal(act(x, generator(1) if act.stochastic else None), wanted)
    act.train(mode != "train")
    assert not act.stochastic
    assert torch.equal(act(x), F.relu(x))


# Bernoulli SiLU, RReLU


def test_bernoulli_silu_is_identity_or_zero_and_silu_in_the_mean() -> None:
    x = torch.linspace(-5, 5, 21, dtype=torch.float64)
    n = 40_000
    samples = A.bernoulli_silu(x.expand(n, -1), generator=generator(2))
    assert bool(((samples == 0) | (samples == x)).all())
    error = samples.std(0) / math.sqrt(n)
    assert bool(((samples.mean(0) - A.silu(x)).abs() <= 5 * error + 1e-12).all())


def test_bernoulli_silu_differentiates_its_draw_only() -> None:
    x = normal(500).requires_grad_()
    y = A.bernoulli_silu(x, generator=generator(3))
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, (y != 0).float())


@settings(max_examples=40)
@given(st.floats(0.01, 0.5), st.floats(0, 0.5), SEEDS)
def test_rrelu_slopes_lie_between_their_bounds(lower: float, spread: float, seed: int) -> None:
    x = -torch.rand(100, dtype=torch.float64, generator=generator(seed, "x")) - 0.5
    slope = A.rrelu(x, lower, lower + spread, True, generator(seed)) / x
    assert bool(((slope >= lower - 1e-12) & (slope <= lower + spread + 1e-12)).all())
    torch.testing.assert_close(A.rrelu(-x, lower, lower + spread, True, generator(seed)), -x)
    torch.testing.assert_close(A.rrelu(x, lower, lower + spread), x * (lower + spread / 2))


# Gates


def elementwise_gate(act: A.Activation, x: Tensor, run: int | None = None) -> Tensor:
    """α by the definition: one small MLP applied to every element by itself."""
    w_in, b_in, w_out, b_out = (
        (q if run is None else q[run]).detach() for q in act.logit.parameters()
    )
    rows = [
        torch.sigmoid(w_out @ torch.tanh(w_in * value + b_in) + b_out).reshape(())
        for value in x.flatten()
    ]
    return torch.stack(rows).view(x.shape)


@pytest.mark.parametrize("name", GATED)
def test_the_gate_is_a_small_network_of_each_element(name: str) -> None:
    act, x = A.make(name, hidden=5), normal(3, 4)
    torch.testing.assert_close(act.gate(x), elementwise_gate(act, x))
    stacked, xs = A.make(name, runs=3, hidden=5), normal(3, 7, 4)
    gates = stacked.gate(xs)
    for run in range(3):
        torch.testing.assert_close(gates[run], elementwise_gate(stacked, xs[run], run))


def test_a_layer_gate_sees_its_own_row_only() -> None:
    act, x = A.make("learnable_stoch", input="layer", width=6), normal(5, 6)
    gates = act.gate(x)
    changed = x.clone()
    changed[2, 0] += 1
    moved = (act.gate(changed) - gates).abs() > 1e-7
    assert moved[2].sum() > 1
    assert not moved[[0, 1, 3, 4]].any()
    w_in, b_in, w_out, b_out = (q.detach() for q in act.logit.parameters())
    by_hand = torch.sigmoid(w_out @ torch.tanh(w_in @ x.T + b_in) + b_out).T
    torch.testing.assert_close(gates, by_hand)


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("source", A.GATE_INPUT)
def test_a_member_of_a_stack_is_a_gate_of_its_own(name: str, source: str) -> None:
    options: dict[str, Any] = {"input": source, "width": 4}
    stack = A.make(name, runs=3, **options)
    stack.reset_parameters([generator(5, "init", run) for run in range(3)])
    x = normal(3, 8, 4)
    for run in range(3):
        single = A.make(name, **options)
        single.reset_parameters(generator(5, "init", run))
        for whole, part in zip(stack.parameters(), single.parameters(), strict=True):
            assert torch.equal(whole[run], part)
        torch.testing.assert_close(stack.gate(x)[run], single.gate(x[run]))


def test_the_learnable_mixture_is_its_definition() -> None:
    act, x = A.make("learnable_stoch").double(), normal(40, dtype=torch.float64)
    alpha = act.gate(x)
    torch.testing.assert_close(act(x), alpha * F.relu(x) + (1 - alpha) * F.silu(x))


def test_gumbel_chooses_relu_with_the_gates_probability() -> None:
    act = A.make("gumbel_stoch").eval()
    x = torch.linspace(-3, -0.2, 15)
    n = 20_000
    y = act(x.expand(n, -1), generator(6))
    assert bool(((y == 0) | (y == F.silu(x))).all())
    alpha = act.gate(x)
    relu_rate = (y == 0).float().mean(0)
    assert bool(((relu_rate - alpha).abs() < 5 * (alpha * (1 - alpha) / n).sqrt()).all())


def test_gumbel_agrees_with_torchs_two_class_gumbel_softmax() -> None:
    # independent oracle: the distribution of the soft weight, by its quantiles
    n, temperature, logit = 40_000, 0.7, 0.4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        two = F.gumbel_softmax(torch.tensor([logit, 0.0]).expand(n, 2), tau=temperature)[:, 0]
    act = A.make("gumbel_stoch", temperature=temperature, train="soft")
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.zero_()
        act.logit.bias_out.fill_(logit)
    x = torch.full((n,), -1.0)
    ours = 1 - act(x, generator(7)) / F.silu(x)
    levels = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(
        ours.detach().quantile(levels), two.quantile(levels), atol=0.015, rtol=0
    )


def test_straight_through_has_the_choice_as_value_and_the_relaxation_as_gradient() -> None:
    x = normal(300, dtype=torch.float64)
    grads = {}
    for mode in ("hard", "soft"):
        act = A.make("gumbel_stoch", train=mode).double()
        y = act(x, generator(8))
        if mode == "hard":
            assert bool(((y == F.relu(x)) | (y == F.silu(x))).all())
        grads[mode] = torch.autograd.grad(y.sum(), act.logit.bias_out)[0]
    torch.testing.assert_close(grads["hard"], grads["soft"])
    assert float(grads["soft"].abs()) > 0


def test_a_cold_relaxation_is_nearly_a_choice_and_the_expectation_draws_nothing() -> None:
    x = normal(400)
    cold = A.make("gumbel_stoch", temperature=1e-4, train="soft")(x, generator(9))
    nearest = torch.minimum((cold - F.relu(x)).abs(), (cold - F.silu(x)).abs())
    assert float((nearest < 1e-3).float().mean()) > 0.99
    calm = A.make("gumbel_stoch", test="expectation").eval()
    assert not calm.stochastic
    alpha = calm.gate(x)
    torch.testing.assert_close(calm(x), alpha * F.relu(x) + (1 - alpha) * F.silu(x))


# The comparison's: squares, dropout, the trained


def test_the_squares_are_their_definitions() -> None:
    x = normal(400, dtype=torch.float64)
    torch.testing.assert_close(A.gelu2(x), F.gelu(x) ** 2)
    torch.testing.assert_close(A.clipped_relu2(x, 2.0), F.hardtanh(x, 0, 2) ** 2)
    torch.testing.assert_close(A.leaky_relu2(x), torch.where(x > 0, x, x / 2) ** 2)
    assert torch.equal(A.make("drelu")(x), F.relu(x))
    assert A.make("drelu").both


@pytest.mark.parametrize("granularity", A.GRANULARITY)
def test_dropout_is_torchs_but_for_its_stream(granularity: str) -> None:
    act = A.make("dropout", rate=0.25, of="relu", granularity=granularity)
    x = torch.full((400, 64), 3.0)
    y = act(x, generator(3))
    assert set(y.unique().tolist()) <= {0.0, 4.0}
    dropped = (y == 0).float()
    if granularity != "layer":
        assert abs(float(dropped.mean()) - 0.25) < (0.015 if granularity == "element" else 0.1)
    assert (granularity == "element") == bool(((dropped.mean(1) > 0) & (dropped.mean(1) < 1)).any())
    assert torch.equal(act.eval()(x), x)
    assert not act.stochastic
    bayesian = A.make("dropout", rate=0.25, test="sample").eval()
    assert not torch.equal(bayesian(x, generator(1)), bayesian(x, generator(2)))


def test_xielu_is_that_of_transformers() -> None:
    theirs = pytest.importorskip("transformers.activations").XIELUActivation(dtype=torch.float64)
    ours = A.make("xielu").double()
    x = normal(500, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    found = torch.autograd.grad(ours(x).sum(), [x, ours.coefficients.values])
    wanted = torch.autograd.grad(theirs(x).sum(), [x, theirs.alpha_p, theirs.alpha_n])
    torch.testing.assert_close(found[0], wanted[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[1], torch.cat(wanted[1:]), atol=1e-5, rtol=1e-5)


def test_polynorm_sums_normed_powers() -> None:
    act, x = A.make("polynorm").double(), normal(6, 16, dtype=torch.float64)
    weights = torch.tensor([0.2, -0.3, 0.7, 0.1], dtype=torch.float64)
    act.coefficients.values.data.copy_(weights)
    wanted = weights[3] + sum(
        weights[3 - power] * F.rms_norm(x**power, (16,), eps=1e-6) for power in (1, 2, 3)
    )
    torch.testing.assert_close(act(x), wanted)


def test_ash_opens_where_a_value_exceeds_its_rows_mean_by_z_deviations() -> None:
    act, x = A.make("ash", alpha=1e4).double(), normal(200, 64, dtype=torch.float64)
    act.coefficients.values.data.fill_(1.0)
    bound = x.mean(1, keepdim=True) + x.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(act(x), torch.where(x > bound, x, 0), atol=0.02, rtol=0)
    calm = A.make("ash").double()
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(calm(centred), F.silu(centred))


@pytest.mark.parametrize("name", ["xielu", "polynorm", "ash"])
def test_a_stack_of_trained_activations_has_a_runs_numbers_each(name: str) -> None:
    stack, x = A.make(name, runs=3), normal(3, 5, 8)
    with torch.no_grad():
        stack.coefficients.values += normal(*stack.coefficients.values.shape, seed=1, scale=0.2)
    for run in range(3):
        single = A.make(name)
        single.coefficients.values.data.copy_(stack.coefficients.values[run])
        torch.testing.assert_close(stack(x)[run], single(x[run]))
    stack.reset_parameters([generator(0)] * 3)
    torch.testing.assert_close(stack(x)[1], A.make(name)(x[1]))


@pytest.mark.parametrize("name", ["xielu", "polynorm", "ash"])
def test_gradcheck_of_what_is_trained(name: str) -> None:
    act, x = A.make(name).double(), normal(4, 5, dtype=torch.float64)
    values = act.coefficients.values.detach().clone().requires_grad_()

    def of(values: Tensor) -> Tensor:
        return torch.func.functional_call(act, {"coefficients.values": values}, (x,))

    assert torch.autograd.gradcheck(of, values)


# Laws of all of them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(name: str, training: bool) -> None:
    act = A.make(name).double().train(training)
    x = normal(4, 5, dtype=torch.float64).requires_grad_()
    if name == "gumbel_stoch":
        # a straight-through gradient is not the derivative of its value: the relaxation's is
        act.train_mode = act.test_mode = "soft"
    # a fresh generator for every evaluation: the same draw
    assert torch.autograd.gradcheck(lambda x: act(x, generator(1)), x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_dtype_device_and_shape_are_kept(name: str, dtype: torch.dtype, training: bool) -> None:
    act = A.make(name).to(dtype).train(training)
    for shape in ((3, 4, 5), (7,), (), (0, 4), (2, 0)):
        x = normal(*shape, dtype=dtype).requires_grad_()
        y = act(x, generator(1))
        assert (y.dtype, y.device, y.shape) == (x.dtype, x.device, x.shape)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == dtype


ROWS = ("polynorm", "ash")
"""They look at a whole row, which an infinity spoils."""
LIMITS = dict.fromkeys(NAMES, (0.0, INF)) | {
    "rrelu": (-INF, INF),
    "leaky_relu2": (INF, INF),
    "xielu": (INF, INF),
    "clipped_relu2": (0.0, 36.0),
}
SLOPES = dict.fromkeys(NAMES, (0.0, 1.0)) | {
    "relu2": (0.0, INF),
    "gelu2": (0.0, INF),
    "clipped_relu2": (0.0, 0.0),
    "leaky_relu2": (-INF, INF),
    "xielu": (-0.3, INF),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ROWS])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
def test_infinities_have_their_limits_and_nan_stays(
    name: str, dtype: torch.dtype, training: bool
) -> None:
    act = A.make(name).to(dtype).train(training)
    # long enough for torch's vector loop, whose ends behave differently from its scalar one
    x = torch.tensor([-INF, INF, NAN, -1.0, 2.0] * 40, dtype=dtype, requires_grad=True)
    y = act(x, generator(2))
    low, high, nan, minus, two = (y.detach()[at::5] for at in range(5))
    assert bool((low == LIMITS[name][0]).all())
    assert bool((high == LIMITS[name][1]).all())
    assert bool(nan.isnan().all())
    assert bool(minus.isfinite().all() & two.isfinite().all())
    (grad,) = torch.autograd.grad(y.sum(), x)
    shallow, steep = SLOPES[name]
    assert bool((grad[1::5] == steep).all())
    if name != "rrelu":
        atol = {torch.bfloat16: 0.01, torch.float16: 0.001}.get(dtype, 1e-6)
        wanted = torch.full_like(grad[0::5], shallow)
        torch.testing.assert_close(grad[0::5], wanted, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_is_its_own_and_large_values_do_not_overflow(name: str, dtype: torch.dtype) -> None:
    act, x = A.make(name).to(dtype), normal(5, 8, dtype=dtype)
    alone = act(x)
    x = torch.cat([x, 3_000 * x[:1], torch.full((1, 8), INF, dtype=dtype)])
    x[1, 2] = NAN
    y = act(x)
    assert torch.equal(y[[0, 2, 3, 4]], alone[[0, 2, 3, 4]])
    assert bool(y[5].isfinite().all())
    assert bool(y[1].isnan().all() & y[6].isnan().all())


@pytest.mark.parametrize("positive", A.POSITIVE)
def test_every_reading_of_stocha_has_the_limits(positive: str) -> None:
    x = torch.tensor([-INF, INF, NAN] * 30)
    for y in (
        A.stocha(x, 0.5, positive=positive, generator=generator(0)),
        A.stocha_expectation(x, 0.3, positive),
    ):
        assert bool((y[0::3] == 0).all())
        assert bool((y[1::3] == INF).all())
        assert bool(y[2::3].isnan().all())


@pytest.mark.parametrize("name", ["silu", "gelu", "stocha"])
def test_an_infinity_elsewhere_does_not_change_a_value(name: str) -> None:
    act, x = A.make(name), normal(200, dtype=torch.float64)
    alone = act(x, generator(1))
    y = act(torch.cat([x, torch.tensor([-INF, INF], dtype=torch.float64)]), generator(1))
    torch.testing.assert_close(y[:200], alone)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_same_seed_same_bits_and_the_global_generator_unmoved(name: str, training: bool) -> None:
    before = torch.get_rng_state()
    x = normal(50, 6)
    act = A.make(name).train(training)
    first, again, other = (act(x, generator(seed, "a")) for seed in (1, 1, 2))
    first.sum().backward() if first.requires_grad else None
    assert torch.equal(first, again)
    assert torch.equal(first, other) != act.stochastic
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_one_generator_per_slice_is_each_slice_by_itself(name: str) -> None:
    runs = 3
    x = normal(runs, 11, 5)
    act, single = A.make(name, runs=runs), A.make(name)
    act.reset_parameters([generator(4, run) for run in range(runs)])
    y = act(x, [generator(3, run) for run in range(runs)])
    for run in range(runs):
        single.reset_parameters(generator(4, run))
        torch.testing.assert_close(y[run], single(x[run], generator(3, run)))


@pytest.mark.parametrize("granularity", A.GRANULARITY)
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_slices_of_stocha_have_their_own_noise(granularity: str, p: float) -> None:
    x = torch.full((3, 11, 5), -1.0)
    y = A.stocha(x, p, granularity=granularity, generator=[generator(3, run) for run in range(3)])
    for run in range(3):
        alone = A.stocha(x[run], p, granularity=granularity, generator=generator(3, run))
        assert torch.equal(y[run] != 0, alone != 0)


@pytest.mark.parametrize("name", ["silu", "gelu", "stocha", "bernoulli_silu", "learnable_stoch"])
def test_the_path_a_compiler_takes_gives_the_same_values(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, x = A.make(name), normal(300, dtype=torch.float32)
    plain = act(x, generator(1))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(act(x, generator(1)), plain)


# The registry and its errors


def test_make_knows_every_name_and_only_gates_have_gates() -> None:
    x = normal(4, 3)
    for name in NAMES:
        act = A.make(name, runs=None, width=3)
        gate = act.gate(x)
        assert (gate is not None) == (name in GATED)
        assert (A.shapes(name) is None) == (act.learnt is None) == (not list(act.parameters()))
        if gate is not None:
            assert gate.shape == x.shape
            assert bool(((gate > 0) & (gate < 1)).all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: A.make("swish"), r"activation='swish': allowed: relu, silu, .*gumbel_stoch"),
        (lambda: A.make("relu", p=0.5), r"p=0.5: relu has no such option; allowed: none"),
        (lambda: A.make("stocha", q=1), r"q=1: stocha has no such option; allowed: p, positive"),
        (lambda: A.make("stocha", p=1.5), r"p=1.5: allowed: a probability in \[0, 1\]"),
        (lambda: A.make("stocha", p=NAN), r"p=nan: allowed: a probability in \[0, 1\]"),
        (lambda: A.make("stocha", positive="up"), r"positive='up': allowed: identity, silu, mixed"),
        (lambda: A.make("stocha", granularity="row"), r"granularity='row': allowed: element"),
        (lambda: A.make("stocha", test="mean"), r"test='mean': allowed: sample, expectation"),
        (lambda: A.make("gumbel_stoch", temperature=0), r"temperature=0: allowed: a finite"),
        (lambda: A.make("gumbel_stoch", train="st"), r"train='st': allowed: hard, soft"),
        (lambda: A.make("gumbel_stoch", hidden=0), r"hidden=0: allowed: a whole number >= 1"),
        (lambda: A.make("learnable_stoch", input="row"), r"input='row': allowed: element, layer"),
        (
            lambda: A.make("learnable_stoch", input="layer"),
            r"width=None: .*needs the layer's width",
        ),
        (lambda: A.make("learnable_stoch", runs=0), r"runs=0: allowed: a whole number >= 1"),
        (lambda: A.make("clipped_relu2", limit=0), r"limit=0: allowed: a finite number > 0"),
        (lambda: A.make("leaky_relu2", slope=NAN), r"slope=nan: allowed: a finite number >= 0"),
        (lambda: A.make("dropout", rate=1), r"rate=1: allowed: a number in \[0, 1\)"),
        (lambda: A.make("dropout", of="gelu"), r"of='gelu': allowed: silu, relu"),
        (lambda: A.make("xielu", beta=0.8), r"beta=0.8: allowed: a number in \(0, 0.8\)"),
        (lambda: A.make("ash", alpha=0), r"alpha=0: allowed: a finite number > 0"),
        (lambda: A.make("polynorm", order=2), r"order=2: polynorm has no such option; .*: none"),
        (lambda: A.make("dropout")(torch.zeros(3)), r"generator=None: dropout draws here"),
        (lambda: A.make("rrelu", lower=0.5, upper=0.1), r"lower=0.5, upper=0.1: allowed:"),
        (lambda: A.make("rrelu", upper=float("inf")), r"upper=inf: allowed: .* < inf"),
        (
            lambda: A.make("learnable_stoch", input="layer", width=4)(torch.zeros(3, 8)),
            r"x: shape \(3, 8\): allowed: that of runs=None, width=4",
        ),
        (
            lambda: A.make("learnable_stoch", runs=2)(torch.zeros(3, 4)),
            r"x: shape \(3, 4\): allowed: that of runs=2",
        ),
        (lambda: A.stocha(torch.zeros(3), 0.5), r"generator=None: stocha draws here"),
        (lambda: A.make("rrelu")(torch.zeros(3)), r"generator=None: rrelu draws here"),
        (lambda: A.make("gumbel_stoch")(torch.zeros(3)), r"generator=None: gumbel_stoch draws"),
        (lambda: A.make("bernoulli_silu")(torch.zeros(3)), r"generator=None: bernoulli_silu draws"),
        (
            lambda: A.make("learnable_stoch", runs=2).reset_parameters(generator(0)),
            r"generator: a gate with runs=2 needs one generator per run",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
