"""How every kernel of this package is compiled: one decorator, one set of fast-math flags.

`FASTMATH` lets LLVM reassociate and contract, without which a float reduction stays scalar.  It
leaves out `nnan` and `ninf`: NaN and infinity keep their meaning.  Kernels are compiled at their
first call for the types of that call, never at import, and kept on disk.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba

FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a kernel lazily, with the package's flags and a cache on disk where one can be."""
    return cast(F, _compiled(function, parallel=False))


def threaded_kernel(function: F) -> F:
    """Compile a twin of a kernel whose `prange` loops run on numba's threads."""
    # The cache tells entries apart by name, line and types, not by options: the twin needs a name.
    twin = FunctionType(function.__code__, function.__globals__, f"{function.__name__}_threads")
    twin.__qualname__ = twin.__name__
    return cast(F, _compiled(twin, parallel=True))


def _compiled(function: Any, *, parallel: bool) -> Any:
    options: dict[str, Any] = {"fastmath": set(FASTMATH), "nogil": True, "parallel": parallel}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory it may write to: compile again in every process
        return numba.njit(**options)(function)
    _stamp_with_package(compiled)
    return compiled


@functools.cache
def _package_digest() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _stamp_with_package(compiled: Any) -> None:
    # numba looks only at a kernel's own file to see whether its cache entry is stale, but a kernel
    # contains the code of the intrinsics and kernels it calls from other files of this package.
    index: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        index._source_stamp = (index._source_stamp, _package_digest())
