"""Every activation of the study: as a function, as a module, and in one registry by name.

At ±∞ every elementwise one has its limit as value and slope (SiLU(−∞) = 0, where torch's own gives
NaN), and NaN stays NaN. Randomness comes from explicit generators only. Chapter *The activations*.
"""

import inspect
from collections.abc import Mapping
from typing import Any, cast

from stocha.activations import drawn, gated, plain, trained
from stocha.activations.drawn import (
    DROPOUT_MODES,
    DROPOUT_OF,
    GRANULARITY,
    MODES,
    POSITIVE,
    BernoulliSiLU,
    Dropout,
    RReLU,
    StochA,
    bernoulli_silu,
    rrelu,
    stocha,
    stocha_expectation,
)
from stocha.activations.gated import (
    GATE_INPUT,
    GATE_POSITIVE,
    GATE_START,
    GUMBEL_MODES,
    Gate,
    GumbelStochA,
    LearnableMixture,
    mixture,
)
from stocha.activations.plain import (
    Activation,
    Deterministic,
    DReLU,
    Learnt,
    choice,
    clipped_relu2,
    gelu,
    gelu2,
    leaky_relu2,
    relu,
    relu2,
    silu,
)
from stocha.activations.trained import ASH, XIELU, Coefficients, PolyNorm

__all__ = [
    "ASH",
    "DROPOUT_MODES",
    "DROPOUT_OF",
    "GATE_INPUT",
    "GATE_POSITIVE",
    "GATE_START",
    "GRANULARITY",
    "GUMBEL_MODES",
    "LABELS",
    "MODES",
    "POSITIVE",
    "XIELU",
    "Activation",
    "BernoulliSiLU",
    "Coefficients",
    "DReLU",
    "Deterministic",
    "Dropout",
    "Gate",
    "GumbelStochA",
    "LearnableMixture",
    "Learnt",
    "PolyNorm",
    "RReLU",
    "StochA",
    "bernoulli_silu",
    "clipped_relu2",
    "defaults",
    "gelu",
    "gelu2",
    "leaky_relu2",
    "make",
    "mixture",
    "names",
    "relu",
    "relu2",
    "rrelu",
    "shapes",
    "silu",
    "stocha",
    "stocha_expectation",
]

_REGISTERED = plain.REGISTERED | drawn.REGISTERED | gated.REGISTERED | trained.REGISTERED
LABELS = {name: label for name, (label, _) in _REGISTERED.items()}
"""Each activation's name in legends and labels."""

_OF_THE_LAYER = ("runs", "width", "learnt")


def names() -> tuple[str, ...]:
    """Return the names `make` knows, the plain ones first."""
    return tuple(_REGISTERED)


def defaults(name: str) -> dict[str, Any]:
    """Return every option of an activation with its default, by the option's name.

    Raises ValueError, listing what is allowed, for an unknown name.
    """
    found = _signature(name)
    return {o: p.default for o, p in found.items() if o not in ("x", *_OF_THE_LAYER)}


def shapes(name: str) -> tuple[str, ...] | None:
    """Return the options that shape what an activation learns; None if it learns nothing."""
    return getattr(_REGISTERED[name][1], "SHAPES", None)


def make(
    name: str,
    *,
    runs: int | None = None,
    width: int | None = None,
    learnt: Learnt | None = None,
    **options: Any,
) -> Activation:
    """Return a new activation by name.

    Parameters: `name`, one of `names()`; `options` of that activation. Of those that learn (no
    effect on the others): `runs`, stacked parameters for x [runs, batch, width]; `width`, needed by
    gates with `input="layer"`; `learnt`, another's to share instead of new ones.
    Raises ValueError, listing what is allowed, for an unknown name, option or value.
    """
    allowed = defaults(name)
    for option in options:
        if option not in allowed:
            listed = ", ".join(allowed) or "none"
            raise ValueError(
                f"{option}={options[option]!r}: {name} has no such option; allowed: {listed}"
            )
    _, made = _REGISTERED[name]
    if not isinstance(made, type):
        return Deterministic(made, **options)
    layer = dict(zip(_OF_THE_LAYER, (runs, width, learnt), strict=True))
    known = _signature(name)
    return cast(Activation, made(**options, **{o: v for o, v in layer.items() if o in known}))


def _signature(name: str) -> Mapping[str, inspect.Parameter]:
    choice("activation", name, names())
    return inspect.signature(_REGISTERED[name][1]).parameters
