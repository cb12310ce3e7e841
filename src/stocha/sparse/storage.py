"""How weights are kept: float32, or bf16 as the uint16 of a float32's upper half.

What comes from outside is read here, and refused in one line unless it is of the dtype, shape and
place that kernels can read.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 256  # rows converted together, so that a temporary copy stays small


def widen(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored weights as float32; uint16 is bf16."""
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


def kept_as(kind: str, matrix: NDArray[Any]) -> NDArray[Any]:
    """The matrix as "float32" or rounded to "bfloat16"."""
    if kind == "bfloat16":
        return matrix if matrix.dtype == np.uint16 else narrow(matrix)
    return widen(matrix)


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
    if torch is None:
        return checked(name, given, dimensions=2)
    half = given.dtype == torch.bfloat16
    given = _of_tensor(name, given, "float32 or bfloat16", half)
    return checked(name, given, ("uint16" if half else "float32",), 2)


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
