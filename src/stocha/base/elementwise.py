"""Scalar float32 functions that numba kernels call and LLVM turns into vector code.

The exponential is a polynomial, so that it is vector code everywhere; NaN passes through. Chapter:
Speed of the language model.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from stocha.base.jit import EXACT, part, primitive

RELU, SILU, MEAN, RELU2, GELU = range(5)
"""How kernels are told which activation: MEAN is the expected value of StochA."""

ZERO, ONE = np.float32(0), np.float32(1)
LOG2E = np.float32(1 / np.log(2))
LN2_HIGH = np.float32(0.693359375)  # 9 bits: its products with the powers of a float are exact
LN2_LOW = np.float32(np.log(2) - 0.693359375)
ROUND = np.float32(1.5 * 2**23)  # added to a number it leaves the nearest integer in the low bits
LOWEST, HIGHEST = np.float32(-87.3), np.float32(88.37)
E2, E3, E4, E5, E6 = (
    np.float32(value) for value in (0.49999994, 0.16666654, 0.041668773, 0.0083370237, 0.0013811791)
)

_I32, _F32 = ir.IntType(32), ir.FloatType()


@primitive
def _power(typing: Any, t: Any) -> Any:
    """2ⁿ for a float32 t = ROUND + n, −126 ≤ n ≤ 127."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.add(builder.bitcast(args[0], _I32), ir.Constant(_I32, 127))
        return builder.bitcast(builder.shl(bits, ir.Constant(_I32, 23)), _F32)

    return types.float32(types.float32), generate


@primitive
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c rounded once: says which of two products is contracted, where LLVM might choose."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), generate


@part(EXACT)
def exp(x: Any) -> Any:
    """e^x to 2 units in the last place, x taken into [−87.3, 88.37]; NaN stays NaN."""
    if x < LOWEST:
        x = LOWEST
    if x > HIGHEST:
        x = HIGHEST
    t = x * LOG2E + ROUND
    n = t - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = ((((E6 * r + E5) * r + E4) * r + E3) * r + E2) * r * r + r + ONE
    return p * _power(t)


@part(EXACT)
def sigmoid(x: Any) -> Any:
    return ONE / (ONE + exp(-x))


@part(EXACT)
def relu(x: Any) -> Any:
    return ZERO if x <= ZERO else x


@part(EXACT)
def relu_slope(x: Any) -> Any:
    return ZERO if x <= ZERO else ONE


@part(EXACT)
def tanh(x: Any) -> Any:
    """tanh(x) to 2e-7 of 1."""
    return ONE - (ONE + ONE) / (exp(x + x) + ONE)


@part(EXACT)
def within(x: Any, far: Any) -> Any:
    """x taken into [−far, far]; NaN stays NaN."""
    if x < -far:
        return -far
    if x > far:
        return far
    return x
