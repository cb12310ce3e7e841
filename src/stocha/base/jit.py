"""numba's compiler with a cache on disk that knows what a kernel was made of."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numba


def jit(function: Any, sources: Sequence[Path], **options: Any) -> Any:
    """Compile `function` at its first call; keep the result on disk where that can be done.

    numba looks only at a kernel's own file to see whether its cache entry is stale, but a kernel
    contains the code of what it calls from other files.

    Parameters: `sources`, those files; `options` of `numba.njit`.
    """
    options["nogil"] = True
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory it may write to: compile in every process
        return numba.njit(**options)(function)
    index: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        index._source_stamp = (index._source_stamp, digest(tuple(sources)))
    return compiled


@functools.cache
def digest(sources: tuple[Path, ...]) -> str:
    """Return the hash of the files' bytes."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
