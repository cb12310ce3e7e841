"""int8 weights: rounded once, within half a step; from there on every method is one to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stocha.sparse import SparseFFN
from stocha.sparse.storage import GROUP, TINY, grouped, widen
from stocha.sparse.workload import make_inputs, make_layer

EXACT = ["dense", "sparse"]


def layer(d, h, out, sparsity=0.8, seed=0, **options):
    made = make_layer(d, h, sparsity, seed=seed)
    down = np.random.default_rng(seed).standard_normal((out, h), np.float32)
    options = {"method": "dense", "threads": 1} | options
    return SparseFFN(made.gate, made.up, down, weights="int8", **options)


def oracle(ffn, x, activation="relu", threshold=0.0):
    """The definition in float64, on the rounded weights."""
    gate, up, down = (torch.from_numpy(widen(w)).double() for w in ffn.weights)
    x = torch.from_numpy(x).double()
    pre = x @ gate[:, : x.shape[1]].T
    act = torch.nn.functional.silu(pre) if activation == "silu" else torch.relu(pre)
    act = torch.where((act if activation != "silu" else act.abs()) <= threshold, 0.0, act)
    act = act**2 if activation == "relu2" else act
    return ((act * (x @ up[:, : x.shape[1]].T)) @ down).numpy()


@settings(max_examples=60)
@given(
    d=st.integers(1, 140), h=st.integers(1, 300), out=st.integers(1, 140),
    batch=st.integers(1, 4), activation=st.sampled_from(["relu", "relu2", "silu"]),
    sparsity=st.sampled_from([0.0, 0.5, 0.95]), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_method_and_thread_count_returns_the_bits_of_the_dense_kernel(
    d, h, out, batch, activation, sparsity, seed
):
    ffn = layer(d, h, out, sparsity, seed, activation=activation)
    x = make_inputs(d, batch, seed=seed)
    y = ffn(x)
    expected = oracle(ffn, x, activation)[:, :out]
    tolerance = 1e-5 * np.abs(expected).max(initial=0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=tolerance)
    for method, threads in [*((method, 1) for method in EXACT), ("dense", 2), ("sparse", 3)]:
        assert ffn.variant(method=method, threads=threads)(x).tobytes() == y.tobytes()


@settings(max_examples=200)
@given(
    weights=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(0, 70)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)  # fmt: skip
def test_a_weight_is_off_by_at_most_half_of_its_groups_step(weights):
    rows, columns = weights.shape
    stored = grouped(weights)
    groups = -(-columns // GROUP)
    assert stored.shape == (rows, 34 * groups)
    wide = widen(stored).astype(np.float64)
    assert not wide[:, columns:].any()
    padded = np.zeros((rows, groups, GROUP))
    padded.reshape(rows, -1)[:, :columns] = weights
    error = np.abs(wide.reshape(padded.shape) - padded).max(axis=2, initial=0)
    largest = np.abs(padded).max(axis=2, initial=0)
    # a bf16 scale is at most 2⁻⁷ above a 127th of the largest
    step = largest / 127 * (1 + 2.0**-7) * (1 + 1e-6)
    assert (error <= np.maximum(step / 2 * (1 + 1e-6), 127 * float(TINY))).all()


def test_rounding_is_as_fine_as_eight_bits_with_a_scale_for_32_can_be():
    weights = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    error = np.sqrt(np.mean((widen(grouped(weights)) - weights) ** 2))
    groups = np.abs(weights).reshape(64, -1, GROUP).max(axis=2)
    assert error == pytest.approx(np.sqrt(np.mean((groups / 127) ** 2) / 12), rel=0.02)


def test_the_layer_is_near_the_one_that_was_rounded():
    made, x = make_layer(256, 1024, 0.9, seed=0), make_inputs(256, 4, seed=0)
    exact, rounded = (
        SparseFFN(made.gate, made.up, made.down, weights=weights, method="sparse", threads=1)
        for weights in ("float32", "int8")
    )
    difference = np.linalg.norm(exact(x) - rounded(x)) / np.linalg.norm(exact(x))
    assert 1e-4 < difference < 0.02
    assert rounded.inactive == pytest.approx(exact.inactive, abs=0.01)
    assert sum(w.nbytes for w in rounded.weights) == 34 * 3 * 256 * 1024 // 32


def test_bf16_weights_can_be_rounded_further():
    made = make_layer(64, 96, 0.5, seed=0)
    halves = [torch.from_numpy(w).bfloat16() for w in (made.gate, made.up, made.down)]
    wide = [half.float() for half in halves]
    x = make_inputs(64, 1, seed=0)
    results = [
        SparseFFN(*given, weights="int8", method="sparse", threads=1)(x) for given in (halves, wide)
    ]
    assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", range(3))
def test_weights_that_int8_cannot_hold_are_refused(bad, where):
    matrices = [np.ones((8, 8), np.float32) for _ in range(3)]
    matrices[where][2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity: allowed: finite") as caught:
        SparseFFN(*matrices, weights="int8", method="sparse")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 2.0**119])
def test_an_input_that_could_overflow_takes_the_dense_kernel(value):
    ffn = layer(40, 60, 40)
    x = make_inputs(40, 1, seed=0)
    x[0, 3] = value
    results = [ffn.variant(method=method)(x) for method in EXACT]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_auto_chooses_between_dense_and_sparse():
    ffn = layer(64, 512, 64, 0.9, method="auto")
    assert ffn.break_even.screened > 1
    x = make_inputs(64, 1, seed=0)
    assert ffn(x).tobytes() == ffn.variant(method="dense")(x).tobytes()
    assert ffn.choose() in ("dense", "sparse")


def test_an_empty_layer_gives_zeros():
    empty = np.zeros((0, 5), np.float32)
    ffn = SparseFFN(empty, empty, empty.T, weights="int8", method="sparse")
    assert not ffn(np.ones(5, np.float32)).any()
