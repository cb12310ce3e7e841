"""How every kernel of this package is compiled: one decorator, one set of fast-math flags.

`FASTMATH` lets LLVM reassociate and contract, without which a float reduction stays scalar.  It
leaves out `nnan` and `ninf`: NaN and infinity keep their meaning.  Kernels are compiled at their
first call for the types of that call, never at import, and kept on disk.
"""

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from stocha.base.jit import jit

FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})

SOURCES = sorted(Path(__file__).parent.glob("*.py"))
"""What a kernel here may contain code of."""

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
    return jit(function, SOURCES, fastmath=set(FASTMATH), parallel=parallel)
