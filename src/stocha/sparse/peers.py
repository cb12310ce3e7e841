"""Other ways to compute the layer for one input: dense and sparse libraries, C, an oracle.

Each peer is a factory: given a `Layer`, it returns a function from x [d] to y [d].  What a peer may
prepare once for a layer (a stacked matrix, a transpose) it prepares there; what depends on the
input is inside the function, and is timed.  Chapter: The sparse FFN, explained.
"""

import ctypes
import functools
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch.nn import functional

from stocha.sparse.kernels import SECTIONS
from stocha.sparse.workload import Layer

Floats = NDArray[np.float32]
Forward = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Peer:
    """A way to compute the layer: `make(layer, threads)` returns the function that is timed."""

    name: str
    kind: str  # "dense" reads every weight, "sparse" and "screened" skip, "oracle" knows the mask
    make: Callable[[Layer, int], Forward]


def _torch_mv(layer: Layer, threads: int, by_columns: bool = False) -> Forward:
    stacked = torch.from_numpy(layer.stacked)
    down = torch.from_numpy(layer.down_rows).T if by_columns else torch.from_numpy(layer.down)

    def forward(x: Floats) -> Floats:
        gate, up = torch.mv(stacked, torch.from_numpy(x)).chunk(2)
        return np.asarray(torch.mv(down, torch.relu(gate) * up).numpy())

    return forward


_torch_mv_rows = functools.partial(_torch_mv, by_columns=True)


def _torch_linear(layer: Layer, threads: int) -> Forward:
    gate, up, down = (torch.from_numpy(w) for w in (layer.gate, layer.up, layer.down))

    def forward(x: Floats) -> Floats:
        row = torch.from_numpy(x)[None]
        hidden = torch.relu(functional.linear(row, gate)) * functional.linear(row, up)
        return np.asarray(functional.linear(hidden, down)[0].numpy())

    return forward


def _numpy(layer: Layer, threads: int) -> Forward:
    neurons = len(layer.gate)

    def forward(x: Floats) -> Floats:
        hidden = layer.stacked @ x
        return np.asarray(layer.down @ (np.maximum(hidden[:neurons], 0) * hidden[neurons:]))

    return forward


def _gather(down: Callable[..., torch.Tensor]) -> Callable[[Layer, int], Forward]:
    """Copies of the active rows, multiplied by the library; `down` does the down projection."""

    def make(layer: Layer, threads: int) -> Forward:
        gate, up, rows = (torch.from_numpy(w) for w in (layer.gate, layer.up, layer.down_rows))

        def forward(x: Floats) -> Floats:
            value = torch.from_numpy(x)
            opened = torch.mv(gate, value)
            active = torch.nonzero(opened > 0)[:, 0]
            hidden = opened[active] * torch.mv(up.index_select(0, active), value)
            return np.asarray(down(rows, active, hidden).numpy())

        return forward

    return make


def _by_blas(rows: torch.Tensor, active: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return torch.mv(rows.index_select(0, active).T, hidden)


def _by_bag(rows: torch.Tensor, active: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    weights = hidden[None]
    return functional.embedding_bag(active[None], rows, mode="sum", per_sample_weights=weights)[0]


def _active_row(opened: torch.Tensor) -> torch.Tensor:
    """A 1 × h CSR matrix holding the positive pre-activations."""
    active = torch.nonzero(opened > 0)[:, 0]
    ends = torch.tensor([0, len(active)])
    return torch.sparse_csr_tensor(
        ends, active, opened[active], (1, len(opened)), check_invariants=False
    )


def _sampled(layer: Layer, threads: int) -> Forward:
    with warnings.catch_warnings():  # torch says once in a process that CSR is in beta
        warnings.simplefilter("ignore")
        _active_row(torch.ones(1))
    gate, up, rows = (torch.from_numpy(w) for w in (layer.gate, layer.up, layer.down_rows))

    def forward(x: Floats) -> Floats:
        value = torch.from_numpy(x)
        mask = _active_row(torch.mv(gate, value))
        sampled = torch.sparse.sampled_addmm(mask, value[None], up.T, beta=0.0)
        hidden = torch.sparse_csr_tensor(
            mask.crow_indices(), mask.col_indices(), mask.values() * sampled.values(), mask.shape,
            check_invariants=False,
        )  # fmt: skip
        return np.asarray((hidden @ rows)[0].numpy())

    return forward


def _scipy_csr(layer: Layer, threads: int) -> Forward:
    def forward(x: Floats) -> Floats:
        opened = layer.gate @ x
        active = np.flatnonzero(opened > 0)
        hidden = opened[active] * (layer.up[active] @ x)
        row = scipy.sparse.csr_array((hidden, active, [0, len(active)]), shape=(1, len(opened)))
        return np.asarray((row @ layer.down_rows)[0])

    return forward


def _numba(method: str) -> Callable[[Layer, int], Forward]:
    def make(layer: Layer, threads: int) -> Forward:
        return layer.ffn.variant(method=method, threads=threads)

    return make


def _fused_c(layer: Layer, threads: int) -> Forward:
    function = fused_library().sparse_ffn
    neurons, width = layer.gate.shape
    gate, rows = np.empty(neurons, np.float32), np.empty(neurons, np.int32)
    sums = np.empty((SECTIONS, width), np.float32)
    fixed = [w.ctypes.data_as(ctypes.c_void_p) for w in (layer.gate, layer.up, layer.down_rows)]
    space = [w.ctypes.data_as(ctypes.c_void_p) for w in (gate, rows, sums)]
    sizes = [ctypes.c_long(width), ctypes.c_long(neurons)]

    def forward(x: Floats) -> Floats:
        assert gate.size == neurons  # keeps the scratch arrays alive as long as the function
        y = np.empty(width, np.float32)
        ends = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, y)]
        function(*fixed, ends[0], *sizes, *space, ctypes.c_int(threads), ends[1])
        return y

    forward.scratch = (gate, rows, sums)  # type: ignore[attr-defined]
    return forward


@functools.cache
def fused_library() -> Any:
    """Compile fused.c with cc for this machine and load it; raises FileNotFoundError without cc."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler named cc")
    folder = tempfile.mkdtemp(prefix="stocha-")
    library = Path(folder) / "fused.so"
    source = Path(__file__).with_name("fused.c")
    # Not -ffast-math: gcc would link code that makes the whole process flush denormals when it
    # loads.
    flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    shutil.rmtree(folder)  # the library stays mapped
    return loaded


class Oracle:
    """A dense layer of the active neurons alone: what knowing the mask beforehand would be worth.

    `prepare` copies the active rows together outside the timing; no real method can have them so.
    """

    def __init__(self, layer: Layer, threads: int) -> None:
        self.layer = layer
        self.prepared: dict[bytes, Forward] = {}

    def prepare(self, x: Floats) -> None:
        """Collect the neurons that this input activates."""
        active = np.flatnonzero(self.layer.gate @ x > 0)
        stacked = np.concatenate([self.layer.gate[active], self.layer.up[active]])
        rows = self.layer.down_rows[active]
        dense = Layer(stacked, np.empty((len(rows), 0), np.float32), rows)
        self.prepared[x.tobytes()] = _torch_mv_rows(dense, 1)

    def __call__(self, x: Floats) -> Floats:
        """Apply the active part to a prepared input."""
        return self.prepared[x.tobytes()](x)


PEERS = (
    Peer("torch.mv, stacked", "dense", _torch_mv),
    Peer("torch.mv, W2 by columns", "dense", _torch_mv_rows),
    Peer("F.linear", "dense", _torch_linear),
    Peer("numpy", "dense", _numpy),
    Peer("numba dense", "dense", _numba("dense")),
    Peer("gather + BLAS", "sparse", _gather(_by_blas)),
    Peer("embedding_bag", "sparse", _gather(_by_bag)),
    Peer("sampled_addmm + torch CSR", "sparse", _sampled),
    Peer("scipy CSR", "sparse", _scipy_csr),
    Peer("C fused", "sparse", _fused_c),
    Peer("numba sparse", "sparse", _numba("sparse")),
    Peer("numba screened", "screened", _numba("screened")),
    Peer("oracle", "oracle", Oracle),
)


def available() -> tuple[Peer, ...]:
    """The peers this machine can run: without cc there is no C kernel."""
    return tuple(peer for peer in PEERS if peer.name != "C fused" or shutil.which("cc"))
