"""Sparse inference: kernels that read only what active neurons need, and how to measure them."""

from stocha.sparse.ffn import BreakEven, SparseFFN

__all__ = ["BreakEven", "SparseFFN"]
