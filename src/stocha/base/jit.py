"""numba's compiler with a cache on disk that knows what a kernel was made of.

Every kernel names one of three sets of options: EXACT fuses a product into a sum and does nothing
else; SUMS lets LLVM add in lanes as well; FAST lets it use reciprocals and approximate functions
too. None leaves out NaN or infinity. Kernels are compiled at their first call for the types of that
call, never at import.
"""

import functools
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic

from stocha.base.identity import science

F = TypeVar("F", bound=Callable[..., Any])

EXACT = {"fastmath": {"contract"}, "error_model": "numpy"}
SUMS = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}
FAST = {"fastmath": {"contract", "nsz", "reassoc", "arcp", "afn"}}


def kernel(options: Mapping[str, Any]) -> Callable[[F], F]:
    """Compile lazily with one of the sets of options, for one thread."""

    def compiled(function: F) -> F:
        return cast(F, _compiled(function, dict(options)))

    return compiled


def part(options: Mapping[str, Any]) -> Callable[[F], F]:
    """`kernel` for what kernels call: it becomes a piece of its caller's code, never a call.

    A function that is called has a copy in every caller's module under one name, the linker keeps
    the one that it sees first, and copies can differ in what they contract: the bits would then
    depend on whether the cache was cold, and on which kernel was called first.
    """
    return kernel({**options, "forceinline": True})


def threaded(options: Mapping[str, Any]) -> Callable[[F], F]:
    """Compile a twin of a function whose `prange` loops run on numba's threads."""

    def compiled(function: F) -> F:
        # The cache tells entries apart by name, line and types, not by options: the twin needs a
        # name of its own.
        of: Any = function
        twin = FunctionType(of.__code__, of.__globals__, f"{of.__name__}_threads")
        twin.__qualname__ = twin.__name__
        return cast(F, _compiled(twin, {**options, "parallel": True}))

    return compiled


def primitive(function: Callable[..., Any]) -> Any:
    """An intrinsic; what kernels call has not the arguments of what defines it."""
    return intrinsic(function)


def _compiled(function: Any, options: dict[str, Any]) -> Any:
    options["nogil"] = True
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory it may write to: compile in every process
        return numba.njit(**options)(function)
    # numba looks only at a kernel's own file to see whether its entry is stale, but a kernel
    # contains the code of what it calls from other files.
    index: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        index._source_stamp = (index._source_stamp, _code_behind(function.__module__))
    return compiled


_code_behind = functools.cache(science)
