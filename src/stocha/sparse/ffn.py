"""A gated feed-forward layer that reads only the weights its active neurons need."""

import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from stocha.base.elementwise import RELU, RELU2, SILU
from stocha.sparse import kernels, screening, storage
from stocha.sparse.vector import BLOCK

ACTIVATIONS = {"relu": RELU, "relu2": RELU2, "silu": SILU}
METHODS = ("auto", "dense", "sparse", "three_phase", "screened")
BATCH = 16  # inputs that share one pass over the weights; more are taken in turns
SAFE = 2.0**126  # no partial sum bounded by this overflows, however it is ordered
SAFE_INPUT = 2.0**118  # the same for sums of an input times int8 numbers

_PROCESS = os.getpid()
_LAUNCH = threading.Lock()  # numba's fallback thread pool does not survive concurrent launches


@dataclass(frozen=True)
class BreakEven:
    """Fraction of inactive neurons from which sparse beats dense, and screened beats sparse."""

    sparse: float
    screened: float


class SparseFFN:
    """y = W2 (act(W1 x) ⊙ (W3 x)), reading rows of W3 and W2ᵀ for active neurons only.

    ReLU and ReLU² are exact: every method returns the same bits, at every number of threads.  SiLU
    with a threshold is CATS-like, an approximation unless the threshold is 0.  Source: SOURCES part
    3. Chapter: The sparse FFN, explained.
    """

    def __init__(
        self,
        gate: NDArray[Any],
        up: NDArray[Any],
        down_rows: NDArray[Any],
        *,
        activation: str = "relu",
        threshold: float = 0.0,
        method: str = "auto",
        threads: int | None = None,
        break_even: BreakEven | None = None,
    ) -> None:
        """Keep stored weights: gate, up [h, d], down_rows [h, d_out], C-contiguous."""
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; allowed: {', '.join(ACTIVATIONS)}")
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; allowed: {', '.join(METHODS)}")
        if not 0 <= threshold < float("inf"):
            raise ValueError(f"threshold is {threshold}; allowed: [0, inf)")
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; allowed: [1, inf)")
        if method == "screened" and activation == "silu":
            raise ValueError("method is 'screened' with activation 'silu'; allowed: relu, relu2")
        self.gate, self.up, self.down_rows = gate, up, down_rows
        self.activation, self.threshold, self.method = activation, float(threshold), method
        self.threads = numba.get_num_threads() if threads is None else threads
        self._kind = ACTIVATIONS[activation]
        self._largest = float(np.maximum(storage.largest(gate), storage.largest(up)))
        finite = np.isfinite(self._largest) and np.isfinite(storage.largest(down_rows))
        self._limit = SAFE if finite else -1.0
        screens = method in ("auto", "screened") and activation != "silu" and finite
        self.screen = screening.build(gate) if screens and gate.size else None
        self._spare: list[_Workspace] = []
        self.inactive: float | None = None  # fraction of neurons skipped in the last call
        self.candidates: float | None = (
            None  # fraction of gate rows read in float32 in the last call
        )
        self.break_even = break_even
        if method == "auto" and break_even is None:
            self.break_even = self.measure()

    @classmethod
    def from_linear(
        cls,
        gate: Any,
        up: Any,
        down: Any,
        *,
        activation: str = "relu",
        threshold: float = 0.0,
        method: str = "auto",
        threads: int | None = None,
        storage: str | None = None,
        break_even: BreakEven | None = None,
    ) -> "SparseFFN":
        """Build the layer from three linear maps without bias: torch modules, tensors or arrays.

        gate, up [h, d], down [d_out, h], float32 or bfloat16 on the CPU.  gate and up are used
        where they lie if they are C-contiguous; down is transposed into a copy, because its columns
        are needed one by one.  storage="bfloat16" rounds float32 weights.  threshold: neurons with
        act ≤ threshold (|act| for silu) count as inactive.  method "auto" measures its break-even
        points here (some fifty passes) unless they are given.  Raises ValueError.  Chapter:
        The sparse FFN, explained.
        """
        matrices = {
            name: stored_matrix(name, given)
            for name, given in (("gate", gate), ("up", up), ("down", down))
        }
        w1, w3, w2 = matrices.values()
        if w1.shape != w3.shape or w2.shape[1] != w1.shape[0]:
            shapes = ", ".join(f"{name} {matrix.shape}" for name, matrix in matrices.items())
            raise ValueError(
                f"weights are {shapes}; allowed: gate [h, d], up [h, d], down [d_out, h]"
            )
        if storage not in (None, "float32", "bfloat16"):
            raise ValueError(f"storage is {storage!r}; allowed: float32, bfloat16")
        w2 = np.ascontiguousarray(w2.T)
        if storage is not None:
            w1, w3, w2 = (_restored(matrix, storage) for matrix in (w1, w3, w2))
        if len({matrix.dtype for matrix in (w1, w3, w2)}) > 1:
            raise ValueError("weights mix float32 and bfloat16; allowed: one of them, or storage=…")
        return cls(
            w1, w3, w2, activation=activation, threshold=threshold, method=method,
            threads=threads, break_even=break_even,
        )  # fmt: skip

    def __call__(self, x: Any) -> Any:
        """Apply the layer to x [d] or [..., d], float32; returns [..., d_out] of x's kind.

        NaN and infinity give what the dense layer gives: where they could matter, it is what runs.
        Raises ValueError for another dtype, shape or device.
        """
        array, torch = input_array(x, self.gate.shape[1])
        inputs = math.prod(array.shape[:-1])
        flat = np.require(array.reshape(inputs, self.gate.shape[1]), requirements=("C", "W"))
        y = np.empty((inputs, self.down_rows.shape[1]), np.float32)
        if flat.size and self.gate.size:
            for start in range(0, inputs, BATCH):
                part = slice(start, start + BATCH)
                self._apply(flat[part], y[part], self.choose(), self.threshold)
        else:
            y[:] = 0
        y = y.reshape(*array.shape[:-1], y.shape[1])
        return torch.from_numpy(y) if torch is not None else y

    def choose(self) -> str:
        """The method the next call will use, given what the last one observed."""
        if self.method != "auto":
            return self.method
        if self.inactive is None or self.break_even is None:
            return "sparse"
        if self.inactive >= self.break_even.screened:
            return "screened"
        return "sparse" if self.inactive >= self.break_even.sparse else "dense"

    def measure(
        self, sparsities: Sequence[float] = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8), repeats: int = 3
    ) -> BreakEven:
        """Time the methods on these weights and return where they cross.

        A Gaussian input is used, and a threshold that makes the wanted fraction of neurons
        inactive.
        """
        if not self.gate.size or not self._limit > 0:
            return BreakEven(sparse=1.0, screened=1.0)
        x = np.random.default_rng(0).standard_normal((1, self.gate.shape[1]), np.float32)
        y = np.empty((1, self.down_rows.shape[1]), np.float32)
        values = np.sort(self._activations(x))
        names = ["dense", "sparse"] + (["screened"] if self.screen is not None else [])
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for sparsity in sparsities:
            threshold = float(values[min(int(sparsity * values.size), values.size - 1)])
            threshold = np.nextafter(np.float32(threshold), np.float32(-np.inf))
            runs: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(repeats):
                for name in names:
                    start = time.perf_counter()
                    self._apply(x, y, name, float(threshold))
                    runs[name].append(time.perf_counter() - start)
            for name in names:
                seconds[name].append(float(np.median(runs[name])))
        self.inactive = self.candidates = None
        sparse = crossing(sparsities, seconds["dense"], seconds["sparse"])
        if self.screen is None:
            return BreakEven(sparse, screened=2.0)
        return BreakEven(sparse, crossing(sparsities, seconds["sparse"], seconds["screened"]))

    def _activations(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the threshold is compared with, for one input."""
        parts = range(0, len(self.gate), storage.ROWS_AT_ONCE)
        pre = np.concatenate(
            [storage.widen(self.gate[i : i + storage.ROWS_AT_ONCE]) @ x[0] for i in parts]
        )
        return np.abs(pre / (1 + np.exp(-pre))) if self.activation == "silu" else pre

    def _apply(
        self, x: NDArray[np.float32], y: NDArray[np.float32], method: str, threshold: float
    ) -> None:
        squares = np.empty(x.shape[0])
        size = screening.magnitudes(x, squares)
        if not self._largest * size < self._limit:
            method = "dense"  # something may overflow or be NaN: zero times it is not zero
        elif method == "screened" and (self.screen is None or not size < SAFE_INPUT):
            method = "sparse"
        forked = os.getpid() != _PROCESS  # numba's thread pool does not survive a fork
        threads = 1 if forked else self.threads
        space = self._take_workspace(x.shape[0])
        tail = (space.gate, space.product, space.rows, space.sums, space.counts, threads, y)
        weights = (self.gate, self.up, self.down_rows)
        if threads > 1:
            with _LAUNCH:
                self._launch(method, True, weights, x, squares, threshold, tail)
        else:
            self._launch(method, False, weights, x, squares, threshold, tail)
        neurons = self.gate.shape[0]
        candidates, active = space.counts.sum(axis=0)
        self.candidates, self.inactive = candidates / neurons, 1 - active / neurons
        self._spare.append(space)

    def _launch(
        self, method: str, threads: bool, weights: Any, x: Any, squares: Any, threshold: float,
        tail: Any,
    ) -> None:  # fmt: skip
        if method == "screened":
            assert self.screen is not None
            run: Any = kernels.screened_threads if threads else kernels.screened
            screen = self.screen
            norm = screening.norm_bounds(squares)
            run(
                *weights, screen.int8, screen.scale, screen.slack, norm, screen.constant,
                x, self._kind, threshold, *tail,
            )  # fmt: skip
        elif method == "three_phase":
            *space, _, y = tail
            phases: Any = kernels.three_phases
            phases(*weights, x, self._kind, threshold, *space, y)
        else:
            forward: Any = kernels.feed_forward_threads if threads else kernels.feed_forward
            forward(*weights, x, self._kind, threshold, method == "sparse", *tail)

    def _take_workspace(self, batch: int) -> "_Workspace":
        # Calls from several threads each take a workspace of their own; popping a list is atomic.
        try:
            space = self._spare.pop()
        except IndexError:
            space = None
        if space is None or space.gate.shape[0] != batch:
            space = _Workspace(batch, self.gate.shape[0], self.down_rows.shape[1])
        return space


class _Workspace:
    """Scratch memory of one call, kept between calls."""

    def __init__(self, batch: int, neurons: int, width: int) -> None:
        sections = kernels.SECTIONS
        self.gate = np.empty((batch, neurons), np.float32)
        self.product = np.empty((batch, neurons), np.float32)
        self.rows = np.empty((sections, neurons // sections + 1 + BLOCK), np.int64)
        self.sums = np.empty((sections, batch, width), np.float32)
        self.counts = np.zeros((sections, 2), np.int64)


def crossing(points: Sequence[float], slow: Sequence[float], fast: Sequence[float]) -> float:
    """The first point from which `fast` stays below `slow`, interpolated; 1 if it never does."""
    gain = np.asarray(slow) - np.asarray(fast)
    behind = np.flatnonzero(gain <= 0)
    if behind.size == 0:
        return float(points[0])
    i = int(behind[-1])
    if i == len(points) - 1:
        return 1.0
    return float(points[i] + (points[i + 1] - points[i]) * -gain[i] / (gain[i + 1] - gain[i]))


def stored_matrix(name: str, given: Any) -> NDArray[Any]:
    """A weight matrix as a numpy array that shares memory where it can; bf16 becomes uint16."""
    if getattr(given, "bias", None) is not None:
        raise ValueError(f"{name} has a bias; allowed: linear maps without bias")
    array = _as_array(name, getattr(given, "weight", given), ("float32", "bfloat16"))
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; allowed: a matrix")
    return writable_view(np.ascontiguousarray(array)) if name != "down" else array


def writable_view(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory without its read-only flag: numba would compile every kernel a second time.

    The kernels never write to weights; the view keeps the array alive.
    """
    if array.flags.writeable or not array.size:
        return array
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array
    return np.asarray(np.frombuffer(memory, array.dtype)).reshape(array.shape)


def input_array(x: Any, width: int) -> tuple[NDArray[np.float32], Any]:
    """The input as an array, and the torch module if it was a tensor."""
    torch = _torch_of(x)
    if torch is not None and x.requires_grad and torch.is_grad_enabled():
        raise ValueError("x requires a gradient; allowed: inference, under torch.no_grad()")
    array = _as_array("x", x, ("float32",))
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"x has shape {array.shape}; allowed: [..., {width}]")
    return array, torch


def _torch_of(given: Any) -> Any:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch if torch is not None and isinstance(given, torch.Tensor) else None


def _as_array(name: str, given: Any, allowed: tuple[str, ...]) -> NDArray[Any]:
    kinds = " or ".join(allowed)
    torch = _torch_of(given)
    if torch is not None:
        if given.device.type != "cpu" or given.layout != torch.strided:
            where = f"on {given.device}, layout {given.layout}"
            raise ValueError(f"{name} is {where}; allowed: a dense tensor on cpu")
        if str(given.dtype).removeprefix("torch.") not in allowed:
            raise ValueError(f"{name} has dtype {given.dtype}; allowed: {kinds}")
        given = given.detach()
        half = given.dtype == torch.bfloat16
        return np.asarray(given.view(torch.uint16).numpy() if half else given.numpy())
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{name} is a {type(given).__name__}; allowed: numpy array, torch tensor")
    if given.dtype != np.float32:
        raise ValueError(f"{name} has dtype {given.dtype}; allowed: {kinds}")
    return given


def _restored(matrix: NDArray[Any], kind: str) -> NDArray[Any]:
    if kind == "bfloat16":
        return matrix if matrix.dtype == np.uint16 else storage.narrow(matrix)
    return storage.widen(matrix)
