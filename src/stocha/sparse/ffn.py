"""A gated feed-forward layer that reads only the weights its active neurons need."""

import contextlib
import copy
import functools
import math
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from stocha.base.elementwise import RELU, RELU2, SILU
from stocha.sparse import kernels, screening, storage
from stocha.sparse.vector import BLOCK

ACTIVATIONS = {"relu": RELU, "relu2": RELU2, "silu": SILU}
METHODS = ("auto", "dense", "sparse", "screened")
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
    with a threshold is CATS-like, an approximation unless the threshold is 0.

    The layer keeps copies of its own, because the screen, the transpose and the bound on overflow
    are worked out from the weights once: a matrix that is changed after the layer was built changes
    nothing here.  Build a new layer from new weights.  What the layer was built with is fixed;
    `variant` is the same weights run otherwise, in the same memory.  Source: book/sources.md, part
    3.  Chapter: The sparse FFN, explained.
    """

    def __init__(
        self,
        gate: Any,
        up: Any,
        down: Any,
        *,
        activation: str = "relu",
        threshold: float = 0.0,
        method: str = "auto",
        threads: int | None = None,
        weights: str | None = None,
        break_even: BreakEven | None = None,
    ) -> None:
        """Build the layer from three linear maps without bias: torch modules, tensors or arrays.

        gate, up [h, d], down [d_out, h], float32 or bfloat16 (of numpy: uint16) on the CPU; they
        are copied, down transposed, because its columns are needed one by one.  weights="bfloat16"
        or "int8" rounds them once, int8 in groups of 32 inputs (of down: of outputs) with a scale
        each, as Q8_0; the arithmetic stays float32, and exact then means the bits of the dense
        method on the same rounded weights.  threshold: neurons with act ≤ threshold (|act| for
        silu) are inactive.  method "auto" measures its break-even points here (some fifty passes)
        unless they are given.  Raises ValueError.  Chapter: The sparse FFN, explained.
        """
        self.activation = _one_of("activation", activation, ACTIVATIONS)
        self.threshold = _number("threshold", threshold, 0, float)
        if weights is not None:
            _one_of("weights", weights, storage.KINDS)
        self._grouped = weights == "int8"
        self._run_by(method, threads)
        if break_even is not None and not isinstance(break_even, BreakEven):
            raise ValueError(f"break_even={break_even!r}: allowed: a BreakEven, None")
        self.break_even = break_even
        maps = {"gate": gate, "up": up, "down": down}
        given = {name: storage.read(name, matrix) for name, matrix in maps.items()}
        w1, w3, w2 = given.values()
        shown = ", ".join(f"{name}={w.dtype} {list(w.shape)}" for name, w in given.items())
        if w1.shape != w3.shape or w2.shape[1] != w1.shape[0]:
            raise ValueError(f"{shown}: allowed: gate, up [h, d], down [d_out, h]")
        if weights is None and len({w1.dtype, w3.dtype, w2.dtype}) > 1:
            raise ValueError(f"{shown}: allowed: one dtype, or weights=…")
        kind = weights or ("bfloat16" if w1.dtype == np.uint16 else "float32")
        self._shape = (*w1.shape, w2.shape[0])
        if self._grouped and not all(np.isfinite(storage.largest(w)) for w in given.values()):
            raise ValueError(f"{shown} with NaN or infinity: allowed: finite, for int8")
        self._weights = tuple(storage.kept_as(kind, matrix) for matrix in (w1, w3, w2.T))
        largest = np.array([storage.largest(matrix) for matrix in self._weights])
        self._largest = float(largest[:2].max())  # NaN if either is
        self._limit = SAFE if np.isfinite(largest).all() else -1.0
        if method == "auto" and break_even is None:
            self.__dict__["break_even"] = self.measure()

    def _run_by(self, method: str, threads: int | None) -> None:
        self.method = _one_of("method", method, METHODS)
        if method == "screened" and (self.activation == "silu" or self._grouped):
            what = "weights='int8'" if self._grouped else "activation='silu'"
            raise ValueError(f"method='screened': allowed with {what}: auto, dense, sparse")
        whole = numba.get_num_threads() if threads is None else threads
        self.threads = int(_number("threads", whole, 1, int))
        self._spare: list[tuple[NDArray[Any], ...]] = []
        self.inactive: float | None = None  # fraction of neurons skipped in the last call
        self.candidates: float | None = None  # … of gate rows read in float32 in the last call

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and name not in ("inactive", "candidates"):
            raise AttributeError(f"{name} is fixed when the layer is built; see `variant`")
        super().__setattr__(name, value)

    def variant(self, *, method: str | None = None, threads: int | None = None) -> "SparseFFN":
        """The same layer under another method or number of threads, sharing its weights."""
        other = copy.copy(self)
        for name in ("method", "threads", "_spare"):
            del other.__dict__[name]
        other._run_by(method or self.method, threads or self.threads)
        if other.method == "auto" and other.break_even is None:
            other.__dict__["break_even"] = other.measure()
        return other

    @property
    def weights(self) -> tuple[NDArray[Any], ...]:
        """Gate, up [h, d] and down_rows [h, d_out] as stored; views that cannot be written to.

        float32, bf16 as uint16, or int8 as uint8 (`storage.grouped`); `storage.widen` reads each.
        """
        views = tuple(matrix.view() for matrix in self._weights)
        for view in views:
            view.flags.writeable = False
        return views

    @functools.cached_property
    def screen(self) -> screening.Screen | None:
        """The int8 copy of the gate; None where nothing can be screened."""
        gate = self._weights[0]
        possible = self.activation != "silu" and self._limit > 0 and gate.size
        possible = possible and not self._grouped
        return screening.build(gate) if possible else None

    def __call__(self, x: Any) -> Any:
        """Apply the layer to x [d] or [..., d], float32; returns [..., d_out] of x's kind.

        NaN and infinity give what the dense layer gives: where they could matter, it is what runs.
        Raises ValueError for another dtype, shape or device.
        """
        neurons, width, outputs = self._shape
        array, torch = storage.read_input(x, width)
        inputs = math.prod(array.shape[:-1])
        flat = np.require(array.reshape(inputs, width), requirements=("C", "A", "W"))
        y = np.empty((inputs, outputs), np.float32)
        if flat.size and neurons:
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
        neurons, width, outputs = self._shape
        if not neurons * width or not self._limit > 0:
            return BreakEven(sparse=1.0, screened=1.0)
        x = np.random.default_rng(0).standard_normal((1, width), np.float32)
        y = np.empty((1, outputs), np.float32)
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
        gate, step, width = self._weights[0], storage.ROWS_AT_ONCE, self._shape[1]
        parts = (storage.widen(gate[i : i + step]) for i in range(0, len(gate), step))
        pre = np.concatenate([part[:, :width] @ x[0] for part in parts])
        return np.abs(pre / (1 + np.exp(-pre))) if self.activation == "silu" else pre

    def _apply(
        self, x: NDArray[np.float32], y: NDArray[np.float32], method: str, threshold: float
    ) -> None:
        squares = np.empty(x.shape[0])
        size = screening.magnitudes(x, squares)
        if not self._largest * size < self._limit or (self._grouped and not size < SAFE_INPUT):
            method = "dense"  # something may overflow or be NaN: zero times it is not zero
        elif method == "screened" and (self.screen is None or not size < SAFE_INPUT):
            method = "sparse"
        screen = self.screen if method == "screened" else screening.NONE
        assert screen is not None
        forked = os.getpid() != _PROCESS  # numba's thread pool does not survive a fork
        threads = 1 if forked else self.threads
        run: Any = kernels.feed_forward_threads if threads > 1 else kernels.feed_forward
        space = self._take_workspace(x.shape[0])
        with _LAUNCH if threads > 1 else contextlib.nullcontext():
            run(
                *self._weights, screen.int8, screen.scale, screen.slack,
                screening.norm_bounds(squares), screen.constant, x, ACTIVATIONS[self.activation],
                threshold, method != "dense", *space, threads, y,
            )  # fmt: skip
        neurons = self._shape[0]
        candidates, active = space[-1].sum(axis=0)
        self.candidates, self.inactive = candidates / neurons, 1 - active / neurons
        self._spare.append(space)

    def _take_workspace(self, batch: int) -> tuple[NDArray[Any], ...]:
        """Scratch memory of one call, kept between calls: gate, product, rows, sums, counts."""
        # Calls from several threads each take a workspace of their own; popping a list is atomic.
        with contextlib.suppress(IndexError):
            if len((space := self._spare.pop())[0]) == batch:
                return space
        neurons, _, outputs = self._shape
        sections = kernels.SECTIONS
        return (
            np.empty((batch, neurons), np.float32),
            np.empty((batch, neurons), np.float32),
            np.empty((sections, neurons // sections + 1 + BLOCK), np.int64),
            np.empty((sections, batch, outputs), np.float32),
            np.zeros((sections, 2), np.int64),
        )


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


def _one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    words = tuple(allowed)
    if not (isinstance(value, str) and value in words):
        raise ValueError(f"{name}={value!r}: allowed: {', '.join(words)}")
    return value


def _number(name: str, value: Any, least: int, kind: type[float]) -> float:
    right = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (right and least <= value < math.inf and value == kind(value)):
        raise ValueError(f"{name}={value!r}: allowed: {kind.__name__} in [{least}, inf)")
    return kind(value)
