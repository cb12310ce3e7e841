"""Every kernel of a decoder step against torch in float64, and how it treats NaN and infinity."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from stocha.activations import Activation, make
from stocha.base.elementwise import GELU, MEAN, RELU, RELU2, SILU
from stocha.base.streams import generator
from stocha.lm.config import ModelConfig
from stocha.lm.fast import kernels
from stocha.lm.fast.operations import Fused
from stocha.lm.operations import shift

SIZES = st.sampled_from([1, 2, 3, 7, 16, 33, 70])
SCALES = st.sampled_from([1e-38, 1e-3, 1.0, 10.0, 80.0])
SEEDS = st.integers(0, 2**31)
GATES = [make(name) for name in ("relu", "silu", "gelu", "relu2", "stocha", "bernoulli_silu")]
few = settings(max_examples=40)


def floats(seed: int, scale: float, *shape: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * scale).astype(np.float32)
    x.flat[rng.integers(x.size)] = 0
    return x


def exact(x: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(x.copy()).double()


def close(
    found: NDArray[np.float32], wanted: Tensor, tolerance: float = 2e-6, floor: float = 1e-37
) -> None:
    wanted = wanted.detach()
    size = float(wanted.abs().max())
    torch.testing.assert_close(
        torch.from_numpy(found).double(), wanted, rtol=tolerance, atol=tolerance * size + floor
    )


def least(scale: float) -> float:
    """What gates of this scale may be wrong by: their sigmoid ends at e^-88 and not at zero."""
    return 1e-36 * max(1.0, scale) ** 2


def test_exp_is_right_to_two_units_in_the_last_place() -> None:
    x = np.linspace(-87.25, 88.25, 300_001).astype(np.float32)
    found = np.empty_like(x)
    kernels.exps(x, found)
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1).max() < 2.5e-7


def test_exp_at_the_ends() -> None:
    x = np.array([-np.inf, -1e30, -88, 0, 1e-40, 88.5, 1e30, np.inf, np.nan], np.float32)
    found = np.empty_like(x)
    kernels.exps(x, found)
    assert (found[:3] < 2e-38).all()
    assert (found[:3] >= 0).all()
    assert found[3] == found[4] == 1
    assert (found[5:8] > 2e38).all()
    assert np.isnan(found[8])


def activations(gate: Tensor, weight: Tensor) -> dict[int, Tensor]:
    """Every fixed kind's definition; MEAN's weight of SiLU is `weight`."""
    relu, silu = F.relu(gate), F.silu(gate)
    return {
        RELU: relu,
        SILU: silu,
        MEAN: weight * silu + (1 - weight) * relu,
        GELU: F.gelu(gate),
        RELU2: relu.square(),
    }


@pytest.mark.parametrize("kind", range(5))
@few
@given(rows=SIZES, ffn=SIZES, p=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
       above=st.sampled_from([0.0, 0.3, 1.0]), scale=SCALES, seed=SEEDS)  # fmt: skip
@example(rows=1, ffn=2, p=0.0, above=0.0, scale=80.0, seed=4818)
def test_gates_and_their_gradients(
    kind: int, rows: int, ffn: int, p: float, above: float, scale: float, seed: int
) -> None:
    gate_up, slope = floats(seed, scale, rows, 2, ffn), floats(seed + 1, 1.0, rows, ffn)
    inputs = exact(gate_up).requires_grad_()
    gate, up = inputs.unbind(1)
    wanted = activations(gate, torch.where(gate <= 0, p, above))[kind] * up
    torch.autograd.backward(wanted, exact(slope))

    # Φ is right to 1e-7 of 1, not of itself
    floor = least(scale) + (2e-7 * max(1, scale) ** 2 if kind == GELU else 0)
    how = kind, np.float32(p), np.float32(above)
    hidden, grads = np.empty((rows, ffn), np.float32), np.empty_like(gate_up)
    kernels.gate(gate_up, *how, hidden)
    close(hidden, wanted, floor=floor)
    work = slope.copy()
    kernels.gate_backward(work, gate_up, *how, grads)
    close(grads, inputs.grad, floor=floor)
    close(work, wanted, floor=floor)


@pytest.mark.parametrize("above", [kernels.NEVER, kernels.ALWAYS, kernels.DRAWN])
@few
@given(rows=SIZES, ffn=SIZES, p=st.sampled_from([0.0, 0.3, 0.5, 1.0]), scale=SCALES, seed=SEEDS)
def test_drawn_gates_and_their_gradients(
    above: int, rows: int, ffn: int, p: float, scale: float, seed: int
) -> None:
    gate_up, slope = floats(seed, scale, rows, 2, ffn), floats(seed + 1, 1.0, rows, ffn)
    draw = (np.random.default_rng(seed).random((rows, ffn)) < p).astype(np.uint8)
    inputs = exact(gate_up).requires_grad_()
    gate, up = inputs.unbind(1)
    drawn = exact(draw) > 0
    fixed = drawn if above == kernels.DRAWN else torch.full_like(drawn, above == kernels.ALWAYS)
    smooth = torch.where(gate <= 0, drawn, fixed)
    wanted = torch.where(smooth, F.silu(gate), F.relu(gate)) * up
    torch.autograd.backward(wanted, exact(slope))

    hidden, grads = np.empty((rows, ffn), np.float32), np.empty_like(gate_up)
    kernels.gate_drawn(gate_up, draw, above, hidden)
    close(hidden, wanted, floor=least(scale))
    work = slope.copy()
    kernels.gate_drawn_backward(work, gate_up, draw, above, grads)
    close(grads, inputs.grad, floor=least(scale))
    close(work, wanted, floor=least(scale))


@few
@given(rows=SIZES, ffn=SIZES, scale=SCALES, seed=SEEDS)
def test_gates_that_keep_or_drop_and_their_gradients(
    rows: int, ffn: int, scale: float, seed: int
) -> None:
    gate_up, slope = floats(seed, scale, rows, 2, ffn), floats(seed + 1, 1.0, rows, ffn)
    chance = np.random.default_rng(seed).random((rows, ffn), np.float32)
    inputs = exact(gate_up).requires_grad_()
    gate, up = inputs.unbind(1)
    share = torch.sigmoid(gate.detach())
    clear = ((exact(chance) - share).abs() > 1e-6).numpy()
    wanted = gate * (exact(chance) < share) * up
    torch.autograd.backward(wanted, exact(slope))

    hidden, grads = np.empty((rows, ffn), np.float32), np.empty_like(gate_up)
    kept = np.empty((rows, ffn), np.uint8)
    kernels.gate_kept(gate_up, chance, kept, hidden)
    assert set(np.unique(kept)) <= {0, 1}
    close(hidden[clear], wanted[clear], floor=least(scale))
    work = slope.copy()
    kernels.gate_kept_backward(work, gate_up, kept, grads)
    both = np.stack([clear, clear], 1)
    close(grads[both], inputs.grad[both], floor=least(scale))
    np.testing.assert_array_equal(work, hidden)


@few
@given(rows=SIZES, vocabulary=SIZES, scale=SCALES, seed=SEEDS)
@example(rows=3, vocabulary=70, scale=1e30, seed=0)
def test_cross_entropy_and_its_gradient(
    rows: int, vocabulary: int, scale: float, seed: int
) -> None:
    logits = floats(seed, scale, rows, vocabulary)
    targets = np.random.default_rng(seed).integers(0, vocabulary, rows)
    inputs = exact(logits).requires_grad_()
    wanted = F.cross_entropy(inputs, torch.from_numpy(targets), reduction="sum")
    torch.autograd.backward(wanted)
    work = logits.copy()
    loss = kernels.cross_entropy(work, targets)
    assert loss == pytest.approx(wanted.item(), rel=1e-5, abs=1e-5)
    torch.testing.assert_close(exact(work), inputs.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [-1, 5])
def test_a_target_outside_the_vocabulary_is_refused(target: int) -> None:
    with pytest.raises(IndexError, match="target"):
        Fused().head_loss(torch.zeros(1, 2), torch.zeros(5, 2), torch.tensor([target]))


@few
@given(slabs=st.integers(1, 3), group=st.integers(1, 3), rows=SIZES, start=SIZES,
       scale=SCALES, seed=SEEDS)  # fmt: skip
def test_causal_softmax_and_its_gradient(
    slabs: int, group: int, rows: int, start: int, scale: float, seed: int
) -> None:
    keys = start + rows
    scores = floats(seed, scale, slabs, group * rows, keys)
    slope = floats(seed + 1, 1.0, *scores.shape)
    inputs = exact(scores).requires_grad_()
    future = torch.ones(rows, keys).triu_(start + 1).bool().repeat(group, 1)
    wanted = torch.softmax(inputs.masked_fill(future, -math.inf), -1)
    torch.autograd.backward(wanted, exact(slope))

    weights, grads = scores.copy(), slope.copy()
    kernels.causal_softmax(weights, start, rows)
    close(weights, wanted, 1e-5)
    kernels.causal_softmax_backward(grads, weights, start, rows)
    # differences of probabilities: rounding is of the size of 1, however small the difference
    torch.testing.assert_close(exact(grads), inputs.grad, rtol=1e-4, atol=1e-5)
    assert not weights[:, future.numpy()].any()
    assert not grads[:, future.numpy()].any()


@few
@given(rows=SIZES, width=SIZES, scale=SCALES, seed=SEEDS)
def test_norm_and_its_gradient(rows: int, width: int, scale: float, seed: int) -> None:
    x, slope = (floats(seed + i, scale, rows, width) for i in range(2))
    weight, eps = floats(seed + 4, 1.0, width), np.float32(1e-5)
    inputs, factor = exact(x).requires_grad_(), exact(weight).requires_grad_()
    wanted = F.rms_norm(inputs, (width,), factor, float(eps))
    torch.autograd.backward(wanted, exact(slope))

    out, unit = np.empty_like(x), np.empty(rows, np.float32)
    kernels.norm(x, weight, eps, unit, out)
    close(out, wanted)
    grads, dweight = np.empty_like(x), np.zeros(width, np.float32)
    kernels.norm_backward(slope, x, unit, weight, grads, dweight)
    # the two terms of the gradient nearly cancel: rounding is of the size of the terms
    size = float((exact(slope) * exact(weight)).abs().max()) * float(unit.max())
    torch.testing.assert_close(exact(grads), inputs.grad, rtol=1e-5, atol=1e-5 * size + 1e-37)
    bound = (exact(slope) * exact(x)).abs().sum(0) * float(unit.max())
    torch.testing.assert_close(
        exact(dweight), factor.grad, rtol=1e-5, atol=1e-5 * float(bound.max()) + 1e-37
    )


@few
@given(batch=st.integers(1, 3), length=SIZES, kv_heads=st.integers(1, 2), group=st.integers(1, 3),
       half=st.integers(1, 9), block=st.sampled_from([1, 5, 16, 64]), shifted=st.booleans(),
       seed=SEEDS)  # fmt: skip
def test_heads_are_split_rotated_and_joined(
    batch: int, length: int, kv_heads: int, group: int, half: int, block: int, shifted: bool,
    seed: int,
) -> None:  # fmt: skip
    half += half % 2 if shifted else 0  # whole pairs, as a ModelConfig demands
    width, heads, slabs = 2 * half, group * kv_heads, batch * kv_heads
    qkv = floats(seed, 1.0, batch, length, heads + 2 * kv_heads, width)
    angle = torch.rand(length, half, generator=torch.Generator().manual_seed(seed)) * 7
    turn = torch.polar(torch.ones(length, half), angle)
    waves = torch.view_as_real(turn).reshape(length, width).numpy()
    q = np.full((slabs * group * length, width), np.nan, np.float32)
    k, v = (np.full((slabs, length, width), np.nan, np.float32) for _ in range(2))
    kernels.split_heads(qkv, waves, group, block, shifted, q, k, v)

    def rotated(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turn.unsqueeze(1)).flatten(-2)

    wanted_q, keys, wanted_v = torch.from_numpy(qkv).split([heads, kv_heads, kv_heads], 2)
    wanted_k = shift(keys.transpose(1, 2), None).transpose(1, 2) if shifted else keys
    y = np.empty((batch, length, heads, width), np.float32)
    kernels.gather_rows(q, group, block, False, y)
    torch.testing.assert_close(torch.from_numpy(y), rotated(wanted_q) * width**-0.5)
    laid = (batch, kv_heads, length, width)
    torch.testing.assert_close(
        torch.from_numpy(k).view(laid).transpose(1, 2), rotated(wanted_k), atol=1e-6, rtol=1e-5
    )
    assert torch.equal(torch.from_numpy(v).view(laid).transpose(1, 2), wanted_v)

    placed = np.full_like(q, np.nan)
    kernels.gather_rows(placed, group, block, True, y)
    np.testing.assert_array_equal(placed, q)

    # turning back and scaling again is the transpose, which of a rotation is the inverse
    joined = np.full_like(qkv, np.nan)
    kernels.join_heads(q, k, v, waves, group, block, shifted, joined)
    joined[:, :, :heads] *= width
    if shifted:  # a half that two positions have is returned by both, one that none has by none
        qkv[:, :1, heads : heads + kv_heads, half:] *= min(length, 2)
        qkv[:, max(length - 1, 1) :, heads : heads + kv_heads, half:] = 0
    np.testing.assert_allclose(joined, qkv, atol=1e-5)


def heads(heads: int, kv_heads: int, stacked: int) -> ModelConfig:
    """A shape whose queries, keys and values are `stacked` numbers."""
    width = heads * stacked // (heads + 2 * kv_heads)
    return ModelConfig(width=width, heads=heads, kv_heads=kv_heads)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("activation", GATES, ids=str)
def test_a_value_that_is_not_finite_is_seen(bad: float, activation: Activation) -> None:
    """An activation that is NaN or infinite reaches the loss, wherever it enters."""
    fused = Fused()
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    both, down = torch.randn(12, 5), torch.randn(5, 6)
    x[3, 2] = bad
    noise = generator(0, "activation")
    assert not fused.gated_ffn(x, both, down, activation, noise).isfinite().all()
    assert not fused.rms_norm(x, torch.ones(5), 1e-5).isfinite().all()
    assert not fused.head_loss(x, torch.randn(9, 5), torch.zeros(7, dtype=torch.long)).isfinite()
    qkv = torch.randn(1, 9, 12)
    qkv[0, 4, 1] = bad
    turn = torch.tensor([1.0, 0.0]).repeat(9, 2)
    attended = fused.attention(qkv, turn, heads(1, 1, 12))[0]
    assert attended[:4].isfinite().all()
    assert not attended[4].isfinite().all()


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    """Kernels write in place, but never into what the first pass saved."""
    source = torch.Generator().manual_seed(0)
    x, both, down = (
        torch.randn(*shape, generator=source, requires_grad=True)
        for shape in ((300, 6), (10, 6), (6, 5))
    )
    y = Fused().gated_ffn(x, both, down, make("silu"))
    first = torch.autograd.grad(y, (x, both, down), torch.ones_like(y), retain_graph=True)
    again = torch.autograd.grad(y, (x, both, down), torch.ones(1, 1).expand_as(y))
    assert all(map(torch.equal, first, again))


def test_a_result_depends_on_its_own_rows_only() -> None:
    source = torch.Generator().manual_seed(0)
    qkv = torch.randn(5, 70, 16, generator=source)
    turn = torch.rand(70, 4, generator=source)
    whole = Fused().attention(qkv, turn, heads(2, 1, 16))
    changed = qkv.clone()
    changed[2] = 0
    other = Fused().attention(changed, turn, heads(2, 1, 16))
    kept = [0, 1, 3, 4]
    assert torch.equal(whole[kept], other[kept])
    assert not torch.equal(whole[2], other[2])
