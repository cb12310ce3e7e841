"""The bound attacked: no row that the float32 kernel would find active may ever be certified."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stocha.sparse import SparseFFN, kernels, screening
from stocha.sparse.storage import narrow, widen
from stocha.sparse.vector import BLOCK

ANY = st.floats(-(2.0**60), 2.0**60, width=32)
MAGNITUDES = st.sampled_from([1e-45, 1e-40, 1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e17])


def certified(gate, x, threshold=0.0):
    """Which rows [h] the screen proves inactive for x [d], and what the float32 kernel computes."""
    screen = screening.build(gate)
    rows = np.arange(len(gate) + BLOCK)
    estimate = np.zeros((1, len(gate)), np.float32)
    exact = np.zeros((1, len(gate)), np.float32)
    kernels.dots(screen.int8, x[None], rows, len(gate), estimate, screen.int8)
    kernels.dots(gate, x[None], rows, len(gate), exact, gate)
    squares = np.empty(1)
    screening.magnitudes(x[None], squares)
    norm = screening.norm_bounds(squares)
    rows = np.arange(len(gate))
    count = kernels.keep_uncertain(
        estimate, screen.scale, screen.slack, norm, screen.constant, threshold, rows, len(gate)
    )
    mask = np.ones(len(gate), bool)
    mask[rows[:count]] = False
    return mask, exact[0]


def assert_sound(gate, x, threshold=0.0):
    mask, exact = certified(gate, x, threshold)
    assert (exact[mask] <= threshold).all()
    return mask


@settings(max_examples=150)
@given(
    gate=hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 70)), elements=ANY),
    data=st.data(),
)
def test_arbitrary_rows_and_inputs(gate, data):
    x = data.draw(hnp.arrays(np.float32, gate.shape[1], elements=ANY))
    assert_sound(gate, x, threshold=data.draw(st.sampled_from([0.0, 1.0, 1e10])))


@settings(max_examples=100)
@given(
    d=st.integers(1, 300), seed=st.integers(0, 2**31), weight=MAGNITUDES, value=MAGNITUDES,
    shift=st.floats(-3, 0),
)  # fmt: skip
def test_every_scale_down_to_denormals(d, seed, weight, value, shift):
    rng = np.random.default_rng(seed)
    gate = ((rng.standard_normal((30, d)) + shift * d**-0.5) * weight).astype(np.float32)
    assert_sound(gate, (np.abs(rng.standard_normal(d)) * value).astype(np.float32))


@settings(max_examples=100)
@given(d=st.integers(2, 200), seed=st.integers(0, 2**31), exponent=st.integers(-30, 0))
def test_rows_whose_quantisation_error_points_along_the_input(d, seed, exponent):
    """The worst case of Cauchy and Schwarz: x parallel to w - s·q, and w·x just above zero."""
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(d).astype(np.float32)
    step = np.float32(np.abs(row).max() / 127)
    x = row - step * np.rint(row / step)
    x = (x / max(np.linalg.norm(x), 1e-20)).astype(np.float32)
    push = -float(row @ x) + 2.0**exponent
    gate = np.stack([row + np.float32(sign * push) * x for sign in (1, 1.001, 0.999, -1)])
    assert_sound(gate.astype(np.float32), x)


@settings(max_examples=100)
@given(d=st.integers(2, 200), seed=st.integers(0, 2**31))
def test_sums_that_cancel_to_almost_nothing(d, seed):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((20, d)).astype(np.float32)
    tilt = (rng.standard_normal((20, 1)) * 1e-6).astype(np.float32)
    assert_sound(np.hstack([half, -half + tilt]), np.tile(np.abs(half[0]), 2))


def test_flushing_denormals_keeps_the_bound():
    rng = np.random.default_rng(0)
    gate = (rng.standard_normal((64, 96)) * 1e-38).astype(np.float32)
    x = (np.abs(rng.standard_normal(96)) * 1e-3).astype(np.float32)
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush denormals")
    try:
        assert_sound(gate, x)
    finally:
        torch.set_flush_denormal(False)


def test_the_bound_certifies_what_is_clearly_closed():
    rng = np.random.default_rng(0)
    gate = rng.standard_normal((500, 400)).astype(np.float32)
    x = rng.standard_normal(400).astype(np.float32)
    mask = assert_sound(gate, x)
    closed = (gate.astype(float) @ x) / np.linalg.norm(x) < -0.5
    assert mask[closed].all()


def test_rows_of_zeros_and_zero_inputs_are_sound():
    gate = np.zeros((3, 5), np.float32)
    gate[1] = -1
    assert assert_sound(gate, np.ones(5, np.float32))[1]
    assert_sound(gate, np.zeros(5, np.float32))


def test_an_input_whose_int8_sums_overflow_is_not_screened():
    """-inf from an overflowing partial sum must not count as proof."""
    gate = np.full((4, 64), 1e-30, np.float32)
    gate[:, ::2] *= -1
    gate[2] *= -1
    x = np.full(64, 3e37, np.float32)
    x[::2] *= 0.9
    layers = [
        SparseFFN(gate, gate, gate.T.copy(), method=method, threads=1)(x)
        for method in ("dense", "screened")
    ]
    assert layers[0].any()
    assert layers[0].tobytes() == layers[1].tobytes()


@settings(max_examples=40)
@given(
    gate=hnp.arrays(np.float32, (9, 33), elements=st.floats(width=32)),
    x=hnp.arrays(np.float32, 33, elements=st.floats(width=32)),
)
def test_whatever_the_bits_the_screened_layer_is_the_unscreened_one(gate, x):
    up, down = np.ones((9, 33), np.float32), np.ones((3, 9), np.float32)
    results = [
        SparseFFN(gate, up, down, method=method, threads=1)(x)
        for method in ("dense", "sparse", "screened")
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])  # NaN equals NaN


def test_bf16_rows_are_screened_as_the_numbers_they_hold():
    gate = narrow(np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32))
    x = np.random.default_rng(1).standard_normal(50).astype(np.float32)
    assert_sound(gate, x)
    wide = screening.build(widen(gate))
    assert (screening.build(gate).int8 == wide.int8).all()


def test_screen_is_a_quarter_of_float32():
    screen = screening.build(np.ones((16, 1024), np.float32))
    assert screen.nbytes == 16 * 1024 + 16 * 8
