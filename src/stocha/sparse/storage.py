"""How weights are kept: float32; bf16 as the uint16 of a float32's upper half; int8 in groups.

int8: 32 numbers of a row share a scale, as in llama.cpp's Q8_0 but for the scale, which is a bf16,
so that no weight overflows. A row [n] is stored as bytes: the int8 numbers, filled up to whole
groups with zeros, then the scales; 34 bytes a group.

What comes from outside is read here, and refused in one line unless it is of the dtype, shape and
place that kernels can read.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("float32", "bfloat16", "int8")
GROUP = 32  # as in `vector`
TINY = np.float32(2**-126)  # the smallest normal number
ROWS_AT_ONCE = 256  # rows converted together, so that a temporary copy stays small


def widen(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored weights as float32: uint16 is bf16, uint8 int8 in groups, all of them whole."""
    if stored.dtype == np.uint8:
        numbers = stored[:, : stored.shape[1] // (GROUP + 2) * GROUP].view(np.int8)
        scales = np.ascontiguousarray(stored[:, numbers.shape[1] :]).view(np.uint16)
        wide = numbers.reshape(len(stored), -1, GROUP) * widen(scales)[:, :, None]
        return np.asarray(wide.reshape(numbers.shape))
    if stored.dtype != np.uint16:
        return stored.astype(np.float32, copy=False)
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bf16, ties to even, kept as uint16."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(weights), np.uint16(0x7FC0), rounded)


def largest(stored: NDArray[Any]) -> float:
    """The largest magnitude in a matrix; NaN where it holds one, 0 where it is empty."""
    found = 0.0
    for start in range(0, len(stored), ROWS_AT_ONCE):
        part = widen(stored[start : start + ROWS_AT_ONCE])
        if part.size:
            found = float(np.maximum(found, np.maximum(part.max(), -part.min())))
    return found


def grouped(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round a finite matrix [m, n] to int8 with a scale for every 32 numbers of a row.

    A scale is the group's largest magnitude over 127, rounded up to bf16: a number is off by at
    most half of it. Groups of magnitudes below 1.5e-36 become zeros.
    """
    rows, columns = weights.shape
    groups = -(-columns // GROUP)
    stored = np.zeros((rows, (GROUP + 2) * groups), np.uint8)
    for start in range(0, rows, ROWS_AT_ONCE):
        part = weights[start : start + ROWS_AT_ONCE]
        w = np.zeros((len(part), groups * GROUP), np.float32)
        w[:, :columns] = part
        w = w.reshape(len(part), groups, GROUP)
        step = np.abs(w).max(axis=2) / np.float32(127)
        bits = (step.view(np.uint32) + np.uint32(0xFFFF)) >> np.uint32(16)
        scales = np.where(step < TINY, 0, bits).astype(np.uint16)
        scale = widen(scales)[:, :, None]
        ratio = np.divide(w, scale, out=np.zeros_like(w), where=scale > 0)
        numbers = np.clip(np.rint(ratio), -127, 127).astype(np.int8).reshape(len(part), -1)
        stored[start : start + len(part)] = np.hstack(
            [numbers.view(np.uint8), scales.view(np.uint8)]
        )
    return stored


def kept_as(kind: str, matrix: NDArray[Any]) -> NDArray[Any]:
    """The matrix as "float32", or rounded to "bfloat16" or "int8"; a copy, C-contiguous."""
    if kind != "bfloat16":
        matrix = grouped(widen(matrix)) if kind == "int8" else widen(matrix)
    elif matrix.dtype != np.uint16:
        matrix = narrow(matrix)
    return np.array(matrix, order="C")


def checked(
    name: str, given: Any, dtypes: tuple[str, ...] = ("float32",), dimensions: int | None = None
) -> NDArray[Any]:
    """`given`, if it is a numpy array of one of the dtypes; else ValueError."""
    if not isinstance(given, np.ndarray) or isinstance(given, np.ma.MaskedArray):
        raise ValueError(f"{name}={type(given).__name__}: allowed: a {' or '.join(dtypes)} array")
    shape = list(given.shape)
    if str(given.dtype) not in dtypes:
        raise ValueError(f"{name}={given.dtype} {shape}: allowed: {' or '.join(dtypes)}")
    if dimensions is not None and given.ndim != dimensions:
        raise ValueError(f"{name}={given.dtype} {shape}: allowed: {dimensions} dimensions")
    return np.asarray(given)


def read(name: str, given: Any) -> NDArray[Any]:
    """A weight matrix of a torch module, tensor or array, in its memory; bf16 becomes uint16."""
    if getattr(given, "bias", None) is not None:
        raise ValueError(f"{name}={type(given).__name__} with bias: allowed: maps without bias")
    given = getattr(given, "weight", given)
    torch = _torch_of(given)
    if torch is not None:
        half = given.dtype == torch.bfloat16
        given = _of_tensor(name, given, "float32 or bfloat16", half)
    return checked(name, given, ("float32", "uint16"), 2)


def read_input(x: Any, width: int) -> tuple[NDArray[np.float32], Any]:
    """The input [..., width] as an array, and the torch module if it was a tensor."""
    torch = _torch_of(x)
    if torch is not None:
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError("x=a tensor with gradient: allowed: inference, under torch.no_grad()")
        x = _of_tensor("x", x, "float32", False)
    array = checked("x", x)
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"x=float32 {list(array.shape)}: allowed: [..., {width}]")
    return array, torch


def _torch_of(given: Any) -> Any:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch if torch is not None and isinstance(given, torch.Tensor) else None


def _of_tensor(name: str, given: Any, allowed: str, half: bool) -> NDArray[Any]:
    torch = _torch_of(given)
    if given.device.type != "cpu" or given.layout != torch.strided:
        where = f"{given.layout} on {given.device}"
        raise ValueError(f"{name}={where}: allowed: a dense tensor on cpu")
    if not half and given.dtype != torch.float32:
        raise ValueError(f"{name}={given.dtype} {list(given.shape)}: allowed: {allowed}")
    given = given.detach().resolve_neg()
    return np.asarray(given.view(torch.uint16).numpy() if half else given.numpy())
