"""Named random streams, and the two draws the activations are made of."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]
"""One generator, or one per slice of a tensor along its first dimension (an ensemble's runs)."""


def stream_seed(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream that `seed` and `names` identify.

    The key is a hash, stable over processes, platforms and Python versions, of the tuple. So
    `(seed, "activation", step, layer)` can be drawn from in any order, or not at all, without
    moving `(seed, "order", epoch)`: chapter *Method*.

    Parameters: `seed`, any int; `names`, strings and ints, where `1` and `"1"` are different.
    """
    plain = (name if isinstance(name, str) else int(name) for name in names)  # numpy's ints too
    key = hashlib.blake2b(repr((int(seed), *plain)).encode(), digest_size=8)
    return int.from_bytes(key.digest(), "little") >> 1


def generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh generator on `device` at the start of the stream `(seed, *names)`."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))


def uniform(shape: Sequence[int], generators: Generators, dtype: torch.dtype) -> Tensor:
    """Draw uniforms in [0, 1), at least float32 so that half precision does not coarsen them.

    Parameters: `shape` of the result; with a sequence of generators `shape[0]` is their number and
    slice r is what a plain call with `generators[r]` draws. Returns float64 for float64, else
    float32.
    """
    sources = _sources(shape, generators)
    dtype = torch.promote_types(dtype, torch.float32)
    draws = torch.empty(tuple(shape), dtype=dtype, device=sources[0].device)
    rows = draws if isinstance(generators, Sequence) else (draws,)
    for row, source in zip(rows, sources, strict=True):
        row.uniform_(generator=source)
    return draws


def bernoulli(
    p: float, shape: Sequence[int], generators: Generators, dtype: torch.dtype = torch.bool
) -> Tensor:
    """Draw a mask whose elements are independently 1 with probability `p`, else 0.

    One random byte decides an element, by comparison with 256·p, so that a 64-bit word of the
    generator serves eight elements: a quarter of the time of `rand(...) < p`. When 256·p is no
    whole number the byte that equals its floor is a tie; a float64 uniform breaks it. The
    probability is therefore `p` to 2⁻⁶¹, and not `p` rounded to 8 bits.

    Parameters: `p` in [0, 1]; `shape` as in `uniform`; `dtype` of the mask: a floating type makes
    it a factor without a conversion pass. Returns the mask, on the generators' device. Raises
    ValueError for another p.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: allowed: a probability in [0, 1]")
    sources = _sources(shape, generators)
    runs, device = len(sources), sources[0].device
    size = math.prod(shape) // runs
    words = torch.empty((runs, -(-size // 8)), dtype=torch.int64, device=device)
    for row, source in zip(words, sources, strict=True):
        row.random_(-(2**63), None, generator=source)
    octets = words.view(torch.uint8)[:, :size]

    whole, part = divmod(256 * p, 1)  # exact: a power of two and a remainder lose no bits
    mask = torch.empty((runs, size), dtype=dtype, device=device)
    torch.lt(octets, int(whole), out=mask) if whole < 256 else mask.fill_(1)
    if part:
        # numpy finds sparse hits ten times faster than torch.nonzero does
        ties = np.flatnonzero((octets == int(whole)).cpu().numpy())
        counts = np.bincount(ties // max(size, 1), minlength=runs).tolist()
        breaks = [
            torch.rand(count, dtype=torch.float64, generator=source, device=device)
            for count, source in zip(counts, sources, strict=True)
        ]
        at = torch.from_numpy(ties).to(device)[torch.cat(breaks) < part]
        mask.view(-1)[at] = 1
    return mask.view(tuple(shape))


def _sources(shape: Sequence[int], generators: Generators) -> Sequence[torch.Generator]:
    if not isinstance(generators, Sequence):
        return (generators,)
    if not generators or not shape or shape[0] != len(generators):
        raise ValueError(
            f"generator: {len(generators)} generators for a tensor of shape {tuple(shape)}; "
            "a sequence needs one per slice of the first dimension"
        )
    return generators
