"""Every matrix–vector format gives the dense product, for any pattern of zeros."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.sparse import matvec

FORMATS = [matvec.Dense, matvec.Columns, matvec.CSR, matvec.CSC]


def random_problem(m, n, weight_zeros, input_zeros, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((m, n), np.float32)
    matrix[rng.random((m, n)) < weight_zeros] = 0
    x = rng.standard_normal(n, np.float32)
    x[rng.random(n) < input_zeros] = 0
    return matrix, x


@settings(max_examples=40)
@given(
    m=st.integers(0, 40), n=st.integers(0, 150),
    weights=st.sampled_from([0.0, 0.5, 1.0]), inputs=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_formats_agree_with_float64(m, n, weights, inputs, seed):
    matrix, x = random_problem(m, n, weights, inputs, seed)
    truth = matrix.astype(float) @ x.astype(float)
    for form in FORMATS:
        np.testing.assert_allclose(form(matrix)(x), truth, rtol=1e-5, atol=1e-4)
    wanted = np.random.default_rng(seed).random(m) < 0.5
    np.testing.assert_allclose(
        matvec.Rows(matrix)(x, wanted), np.where(wanted, truth, 0), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("place", ["matrix", "x"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_those_of_the_dense_product(form, place, bad):
    matrix, x = random_problem(20, 70, 0.5, 0.5, 1)
    if place == "matrix":
        matrix[3, 5] = bad
    else:
        x[5] = bad
    with np.errstate(invalid="ignore"):
        truth = np.array([np.sum(row * x) for row in matrix])
    np.testing.assert_allclose(form(matrix)(x), truth, rtol=1e-4, atol=1e-4)


def test_a_transposed_matrix_and_strided_input_are_read_correctly():
    matrix, x = random_problem(33, 33, 0.3, 0.3, 2)
    strided = np.repeat(x, 2)[::2]
    for form in FORMATS:
        np.testing.assert_allclose(form(matrix.T)(strided), matrix.T @ x, rtol=1e-4, atol=1e-4)


def test_formats_store_what_they_say():
    matrix, _ = random_problem(64, 64, 0.75, 0, 3)
    nonzero = np.count_nonzero(matrix)
    assert matvec.Dense(matrix).nbytes == 64 * 64 * 4
    assert matvec.CSR(matrix).nbytes == nonzero * 8 + 65 * 4


@pytest.mark.parametrize("form", FORMATS)
def test_bad_input_is_one_clear_line(form):
    matrix, x = random_problem(4, 6, 0, 0, 4)
    with pytest.raises(ValueError, match=r"matrix=float64 \[4, 6\]: allowed"):
        form(matrix.astype(float))
    with pytest.raises(ValueError, match=r"x=float32 \[5\]: allowed: \[6\]"):
        form(matrix)(x[:5])
    with pytest.raises(ValueError, match="x=float64"):
        form(matrix)(x.astype(float))


def test_wanted_must_be_a_mask():
    matrix, x = random_problem(4, 6, 0, 0, 4)
    with pytest.raises(ValueError, match="wanted=int64"):
        matvec.Rows(matrix)(x, np.array([0, 1, 0, 1]))
