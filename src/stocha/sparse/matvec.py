"""Matrix–vector products that skip zeros: of the weights or of the activations, two problems.

Zeros among the weights are known beforehand: `CSR` and `CSC` store the rest with their places.
Zeros among the activations change with every input, so the matrix stays dense and the product skips
what they make unnecessary: whole rows whose output is not wanted (`Rows`), or whole columns whose
input is zero (`Columns`, which keeps the transpose, because a column must lie in one piece to be
skipped). Each format is built once from a matrix [m, n] and then called with x [n]; all run on one
thread and give what the dense product gives, NaN and infinity included. `Dense` and `Rows` read the
matrix where it lies, as it is at the call; the others keep what they made of it.  Chapter: Sparse
matrix–vector products.
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from stocha.base.jit import FAST, kernel
from stocha.sparse import kernels, storage
from stocha.sparse.vector import BLOCK, axpy_block, axpy_single

Floats = NDArray[np.float32]


class Dense:
    """y = A x, reading everything."""

    def __init__(self, matrix: Floats) -> None:
        self.matrix = checked(matrix)
        self.nbytes = self.matrix.nbytes
        self._rows = listed(np.arange(len(self.matrix)))

    def __call__(self, x: Floats) -> Floats:
        """Multiply x [n]; returns [m]."""
        x = checked_input(x, self.matrix.shape[1])
        y = np.zeros(len(self.matrix), np.float32)
        kernels.dots(self.matrix, x[None], self._rows, len(self.matrix), y[None], self.matrix)
        return y


class Rows(Dense):
    """y_i = (A x)_i where it is wanted, 0 elsewhere, reading only the wanted rows."""

    def __call__(self, x: Floats, wanted: NDArray[np.bool_]) -> Floats:  # type: ignore[override]
        """Multiply x [n] by the rows where wanted [m] is set; returns [m]."""
        x = checked_input(x, self.matrix.shape[1])
        if storage.checked("wanted", wanted, ("bool",)).shape != self.matrix.shape[:1]:
            raise ValueError(f"wanted={list(wanted.shape)}: allowed: [{len(self.matrix)}]")
        y = np.zeros(len(self.matrix), np.float32)
        rows = np.flatnonzero(wanted)
        kernels.dots(self.matrix, x[None], listed(rows), len(rows), y[None], self.matrix)
        return y


class Columns:
    """y = A x as a sum of columns, reading only those whose x_j is not zero; keeps Aᵀ."""

    def __init__(self, matrix: Floats) -> None:
        self.transposed = np.array(checked(matrix).T, order="C")  # never a view: _finite is kept
        self.nbytes = self.transposed.nbytes
        self._finite = bool(np.isfinite(storage.largest(self.transposed)))

    def __call__(self, x: Floats) -> Floats:
        """Multiply x [n]; returns [m]."""
        x = checked_input(x, len(self.transposed))
        y = np.zeros(self.transposed.shape[1], np.float32)
        rows = np.flatnonzero(x) if self._finite else np.arange(len(x))  # 0 · inf is not 0
        _add_columns(self.transposed, x[None], rows, len(rows), y[None])
        return y


def listed(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A list of rows with the room at its end that `kernels.dots` asks for."""
    return np.concatenate([rows, np.zeros(BLOCK, np.int64)])


def checked(matrix: Any) -> Floats:
    """The matrix, C-contiguous; raises ValueError unless it is a float32 matrix."""
    return np.ascontiguousarray(storage.checked("matrix", matrix, dimensions=2))


def checked_input(x: Any, columns: int) -> Floats:
    """The vector, contiguous; raises ValueError unless it is float32 of this length."""
    x = storage.checked("x", x)
    if x.shape != (columns,):
        raise ValueError(f"x=float32 {list(x.shape)}: allowed: [{columns}]")
    return np.ascontiguousarray(x)


@kernel(FAST)
def _add_columns(columns: Floats, x: Floats, rows: NDArray[Any], count: int, y: Floats) -> None:
    whole = count - count % BLOCK
    for k in range(0, whole, BLOCK):
        axpy_block(y, 0, x, columns, rows, k, columns, min(k + BLOCK, whole - BLOCK))
    for k in range(whole, count):
        axpy_single(y, 0, x, columns, rows, k, columns, k)


@kernel(FAST)
def _csr(ends: NDArray[Any], places: NDArray[Any], data: Floats, x: Floats, y: Floats) -> None:
    for i in range(y.size):
        total = np.float32(0)
        for p in range(ends[i], ends[i + 1]):
            total += data[p] * x[places[p]]
        y[i] = total


@kernel(FAST)
def _csc(ends: NDArray[Any], places: NDArray[Any], data: Floats, x: Floats, y: Floats) -> None:
    for j in range(x.size):
        if x[j] != 0:
            for p in range(ends[j], ends[j + 1]):
                y[places[p]] += data[p] * x[j]


class _Compressed:
    """y = A x with only the nonzero weights stored, each with its place."""

    form: Any
    product: Any

    def __init__(self, matrix: Floats) -> None:
        self.stored = self.form(checked(matrix))
        # Unsigned places spare the kernel a test for negative ones, which would keep it scalar.
        self._places = self.stored.indices.astype(np.uint32)
        self._finite = bool(np.isfinite(self.stored.data).all())
        self.nbytes = self.stored.data.nbytes + self._places.nbytes + self.stored.indptr.nbytes

    def __call__(self, x: Floats) -> Floats:
        """Multiply x [n]; returns [m]."""
        x = checked_input(x, self.stored.shape[1])
        if not (self._finite and np.isfinite(x).all()):
            return Dense(self.stored.toarray())(x)
        y = np.zeros(self.stored.shape[0], np.float32)
        self.product(self.stored.indptr, self._places, self.stored.data, x, y)
        return y


class CSR(_Compressed):
    """Stored row by row."""

    form, product = scipy.sparse.csr_array, staticmethod(_csr)


class CSC(_Compressed):
    """Stored column by column; skips zeros of x too."""

    form, product = scipy.sparse.csc_array, staticmethod(_csc)
