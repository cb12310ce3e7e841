"""What zeros among weights, inputs and outputs are worth to a matrix–vector product.

Chapter: Sparse matrix–vector products.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.sparse import benchmark, matvec
from stocha.sparse.ffn import crossing

Floats = NDArray[np.float32]
Product = Callable[..., Any]

DENSE = ("numpy", "torch.mv", "numba dense")
FORMATS = (matvec.Dense, matvec.Columns, matvec.CSR, matvec.CSC)
INPUTS = 8


@dataclass(frozen=True)
class Config:
    """The size of the matrices, and how thoroughly they are measured."""

    rows: int = parameter(8192, "rows of the matrix, outputs", "[8, inf)", smoke=256, book=4096)
    columns: int = parameter(2048, "columns of the matrix, inputs", "[8, inf)", smoke=128)
    sparsities: tuple[float, ...] = parameter(
        (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98), "fractions of zeros", "[0, 1)",
        smoke=(0.5, 0.9), book=(0.0, 0.5, 0.8, 0.9, 0.95),
    )  # fmt: skip
    caches: float = parameter(
        10.0, "last-level caches that all weights fill", "(0, inf)",
        smoke=0.001, book=2.0,
    )  # fmt: skip
    repeats: int = parameter(
        15, "rounds in which every method is timed once", "[1, inf)", smoke=3, book=9
    )
    seed: int = parameter(0, "seed of matrices, inputs and zeros", "[0, inf)")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Case:
    """Products of some matrices, taken in turn: all give `truth` for the first arguments."""

    problem: str
    sparsity: float
    products: list[dict[str, Product]]
    arguments: list[tuple[Any, ...]]
    truth: NDArray[np.float64]


def run(config: Config, progress: Progress | None = None) -> Result:
    """Measure all three problems, on one thread.

    Returns tables `formats` (bytes and error on a small matrix), `speed` (problem, sparsity,
    method, quartiles of the ratio to the fastest dense product) and `break_even`, and metrics
    `count` and `megabytes` of the matrices and `cache` in MiB.  Raises AssertionError if a product
    is wrong.
    """
    rng = np.random.default_rng(config.seed)
    shape = (config.rows, config.columns)
    cache = benchmark.last_level_cache()
    count = max(2, math.ceil(config.caches * cache / (4 * math.prod(shape))))
    matrices = [rng.standard_normal(shape, np.float32) for _ in range(count)]
    inputs = rng.standard_normal((INPUTS, config.columns), np.float32)
    formats = _formats(matrices[0][:64, :48].copy(), inputs[0][:48].copy(), rng)
    found = []
    steps = [s for s in config.sparsities if s >= 0.5], config.sparsities, config.sparsities
    makers = (_zero_weights, _zero_inputs, _unwanted_outputs)
    with benchmark.library_threads(1):
        for sparsities, make in zip(steps, makers, strict=True):
            for case in make(matrices, inputs, sparsities, rng):
                found.append(_measured(case, config.repeats))
                if progress:
                    progress(len(found), sum(map(len, steps)), "sparsities")
    speed = pd.concat(found, ignore_index=True)
    sparse = speed[~speed["method"].isin(DENSE)].groupby(["problem", "method"], sort=False)
    points = [
        (*way, crossing(list(one["sparsity"]), list(one["ratio_median"]), [1.0] * len(one)))
        for way, one in sparse
    ]
    break_even = pd.DataFrame(points, columns=["problem", "method", "break_even"])
    tables = {"formats": formats, "speed": speed, "break_even": break_even}
    megabytes = count * math.prod(shape) * 4 / 1e6
    return Result(tables, {"count": count, "megabytes": megabytes, "cache": cache / 2**20})


def _formats(matrix: Floats, x: Floats, rng: np.random.Generator) -> pd.DataFrame:
    matrix[rng.random(matrix.shape) < 0.7] = 0
    x[::2] = 0
    truth = matrix.astype(np.float64) @ x
    built = [form(matrix) for form in FORMATS]
    rows = [(type(one).__name__, one.nbytes, np.abs(one(x) - truth).max()) for one in built]
    return pd.DataFrame(rows, columns=["format", "bytes", "largest error"])


def _measured(case: _Case, repeats: int) -> pd.DataFrame:
    for name, product in case.products[0].items():
        y = np.asarray(product(*case.arguments[0]))
        assert np.abs(y - case.truth).max() <= 1e-5 * max(np.abs(case.truth).max(), 1), name

    def call_of(name: str) -> benchmark.Call:
        products = [each[name] for each in case.products]
        return lambda number, turn: products[number % len(products)](*case.arguments[turn % INPUTS])

    times = benchmark.interleave(
        {name: call_of(name) for name in case.products[0]}, repeats=repeats
    )
    about = pd.DataFrame({"problem": [case.problem], "sparsity": [case.sparsity]})
    return about.merge(benchmark.ratios(times, DENSE), how="cross")


def _zero_weights(
    matrices: list[Floats], inputs: Floats, sparsities: Sequence[float], rng: np.random.Generator
) -> Iterator[_Case]:
    for sparsity in sparsities:
        products: list[dict[str, Product]] = []
        for matrix in matrices[: max(2, len(matrices) // 2)]:  # the formats need room as well
            pruned = matrix.copy()
            pruned[rng.random(matrix.shape, np.float32) < sparsity] = 0
            csr, csc = matvec.CSR(pruned), matvec.CSC(pruned)
            sparse: dict[str, Product] = {
                "numba CSR": csr, "numba CSC": csc, "scipy CSR": csr.stored.__matmul__,
                "scipy CSC": csc.stored.__matmul__, "torch CSR": _torch_csr(csr.stored),
            }  # fmt: skip
            products.insert(0, _dense(pruned) | sparse)
        truth = pruned.astype(np.float64) @ inputs[0]
        yield _Case("weights", sparsity, products, [(x,) for x in inputs], truth)


def _zero_inputs(
    matrices: list[Floats], inputs: Floats, sparsities: Sequence[float], rng: np.random.Generator
) -> Iterator[_Case]:
    products: list[dict[str, Product]] = []
    for matrix in matrices:
        columns = matvec.Columns(matrix)
        skipping: dict[str, Product] = {
            "numba columns": columns,
            "gather + BLAS": _gathered(columns.transposed),
        }
        products.append(_dense(matrix) | skipping)
    for sparsity in sparsities:
        zeroed = inputs * (rng.random(inputs.shape, np.float32) >= sparsity)
        truth = matrices[0].astype(np.float64) @ zeroed[0]
        yield _Case("inputs", sparsity, products, [(x,) for x in zeroed], truth)


def _unwanted_outputs(
    matrices: list[Floats], inputs: Floats, sparsities: Sequence[float], rng: np.random.Generator
) -> Iterator[_Case]:
    products: list[dict[str, Product]] = [
        {name: _masked(product) for name, product in _dense(matrix).items()}
        | {"numba rows": matvec.Rows(matrix), "gather + BLAS": _rows_of_blas(matrix)}
        for matrix in matrices
    ]
    for sparsity in sparsities:
        masks = rng.random((INPUTS, len(matrices[0]))) >= sparsity
        truth = (matrices[0].astype(np.float64) @ inputs[0]) * masks[0]
        yield _Case("outputs", sparsity, products, list(zip(inputs, masks, strict=True)), truth)


def _dense(matrix: Floats) -> dict[str, Product]:
    tensor = torch.from_numpy(matrix)
    ways = (
        lambda x: matrix @ x,
        lambda x: torch.mv(tensor, torch.from_numpy(x)).numpy(),
        matvec.Dense(matrix),
    )
    return dict(zip(DENSE, ways, strict=True))


def _masked(product: Product) -> Product:
    return lambda x, wanted: product(x) * wanted


def _torch_csr(stored: Any) -> Product:
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    ends, places = (
        torch.from_numpy(part.astype(np.int64)) for part in (stored.indptr, stored.indices)
    )
    data = torch.from_numpy(stored.data)
    matrix = torch.sparse_csr_tensor(ends, places, data, stored.shape, check_invariants=False)
    return lambda x: (matrix @ torch.from_numpy(x)[:, None])[:, 0].numpy()


def _gathered(columns: Floats) -> Product:
    tensor = torch.from_numpy(columns)

    def multiply(x: Floats) -> Any:
        value = torch.from_numpy(x)
        places = torch.nonzero(value)[:, 0]
        return torch.mv(tensor.index_select(0, places).T, value[places]).numpy()

    return multiply


def _rows_of_blas(matrix: Floats) -> Product:
    tensor = torch.from_numpy(matrix)

    def multiply(x: Floats, wanted: NDArray[np.bool_]) -> Any:
        y = torch.zeros(len(wanted))
        places = torch.nonzero(torch.from_numpy(wanted))[:, 0]
        y[places] = torch.mv(tensor.index_select(0, places), torch.from_numpy(x))
        return y.numpy()

    return multiply
