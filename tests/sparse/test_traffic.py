"""Bytes, limits and the memory kernels."""

import numpy as np
import pytest

from stocha.sparse import screening, storage, traffic
from stocha.sparse.workload import make_inputs, make_layer


@pytest.mark.parametrize(("sparsity", "expected"), [(0.0, 1.0), (0.5, 1.5), (0.9, 2.5), (1.0, 3.0)])
def test_sparse_limit_is_the_formula_of_the_sources(sparsity, expected):
    assert traffic.limit("sparse", 2048, 8192, sparsity) == pytest.approx(expected)


def test_limits_are_ordered():
    for sparsity in (0.7, 0.9, 0.99):
        dense, sparse, screened, oracle = (
            traffic.limit(method, 2048, 8192, sparsity) for method in traffic.METHODS
        )
        assert dense == 1 < sparse < screened < oracle


def test_screening_costs_more_than_it_saves_when_nothing_is_inactive():
    assert traffic.limit("screened", 2048, 8192, 0.0) < 1


@pytest.mark.parametrize(("width", "sparsity"), [(256, 0.9), (1024, 0.8), (1024, 0.95)])
def test_expected_candidates_are_those_of_the_workload(width, sparsity):
    layer = make_layer(width, 4000, sparsity, seed=0)
    x = make_inputs(width, 4, seed=0).astype(np.float64)
    screen = screening.build(layer.gate)
    bound = x @ layer.gate.T + screen.slack * np.linalg.norm(x, axis=1)[:, None]
    assert traffic.expected_candidates(sparsity, width) == pytest.approx(
        (bound > 0).mean(), rel=0.1
    )


@pytest.mark.parametrize("bits", [4, 5, 6, 7])
@pytest.mark.parametrize(("width", "sparsity"), [(256, 0.9), (1024, 0.98)])
def test_upper_bits_of_an_int8_gate_leave_the_candidates_that_are_predicted(bits, width, sparsity):
    layer = make_layer(width, 2000, sparsity, seed=0)
    x = make_inputs(width, 4, seed=0).astype(np.float64)
    stored = storage.grouped(layer.gate)
    numbers = stored[:, :width].view(np.int8).astype(int)
    rows = storage.widen(stored).astype(np.float64)
    scale = np.divide(rows, numbers, out=np.zeros_like(rows), where=numbers != 0)
    scale = scale.reshape(len(rows), -1, 32).max(axis=2).repeat(32, axis=1)
    steps = 2 ** (8 - bits)
    upper = scale * (numbers // steps * steps + (steps - 1) / 2)
    slack = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(rows - upper, axis=1))
    counted = (x @ upper.T + slack > 0).mean()
    margin = traffic.upper_bits_margin(width, bits)
    predicted = traffic.expected_candidates(sparsity, width, margin=margin)
    assert predicted == pytest.approx(counted, rel=0.1, abs=0.01)


def test_unknown_method():
    with pytest.raises(ValueError, match="method='magic': allowed: dense"):
        traffic.bytes_read("magic", 8, 8, 0.5)


@pytest.mark.parametrize("threads", [1, 2])
def test_memory_kernels_do_what_they_say(threads):
    b, c = (np.random.default_rng(i).standard_normal(100_003).astype(np.float32) for i in (0, 1))
    a = np.zeros_like(b)
    assert traffic.triad(a, b, c, threads) == 4 * a.nbytes
    np.testing.assert_allclose(a, b + 3 * c, rtol=1e-5, atol=1e-6)
    assert 0.8 * b.nbytes < traffic.read_only(b, threads) <= b.nbytes
