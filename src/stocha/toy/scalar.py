"""What an activation does by itself, before any training (chapter 10_activations)."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from stocha import activations
from stocha.base.streams import generator


def curve(function: Callable[[Tensor], Tensor], x: Tensor, **named: str) -> pd.DataFrame:
    """f(x) and f'(x): the columns `x`, `value`, `slope` after those that are `named`."""
    x = x.clone().requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return pd.DataFrame(named | {"x": x.detach(), "value": y.detach(), "slope": slope})


def readings(x: Tensor, p: float) -> pd.DataFrame:
    """StochA's expectation under each reading of x ≥ 0: `curve`, and its value at p = 1."""
    mean = activations.stocha_expectation
    table = pd.concat(
        curve(partial(mean, p=p, positive=positive), x, positive=positive).assign(
            at_one=mean(x, 1.0, positive).numpy()
        )
        for positive in activations.POSITIVE
    )
    # the derivative at the kink itself is a convention: leave a gap there
    return table.assign(slope=table["slope"].where(table["x"].abs() > 1e-9))


def kinks(normal: Tensor, p: float) -> pd.DataFrame:
    """The slopes beside zero of StochA's expectation, and its mean over `normal`, by reading."""
    sides = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
    rows = []
    for positive in activations.POSITIVE:
        mean = partial(activations.stocha_expectation, p=p, positive=positive)
        below, above = curve(mean, sides)["slope"]
        found = {"below 0": below, "above 0": above, "mean output": float(mean(normal).mean())}
        rows.append({"positive": positive} | found)
    return pd.DataFrame(rows)


def granularity(p: float, seed: int, width: int = 64) -> pd.DataFrame:
    """How StochA scatters over 4000 draws of a row of `width` standard normal inputs.

    Columns: `granularity`, and the standard deviation of a single value and of the row's mean.
    """
    row = torch.randn(width, generator=generator(seed, "data", "row"), dtype=torch.float64)
    rows = []
    for grain in ("element", "token"):
        coins = generator(seed, "activation", grain)
        out = activations.stocha(
            row.expand(4000, -1), p, positive="mixed", granularity=grain, generator=coins
        )
        spread = {"sd of one value": out.std(0).mean(), "sd of the row's mean": out.mean(1).std()}
        rows.append({"granularity": grain} | {name: float(sd) for name, sd in spread.items()})
    return pd.DataFrame(rows)


def noise(x: Tensor, p: float) -> pd.DataFrame:
    """Of one draw of StochA and of Bernoulli SiLU at each x, as they are defined.

    Columns: `activation`, `x`, `sd`, the standard deviation of f(x), and `bias`, the mean gradient
    along a draw minus the slope of the mean.
    """
    sigma = torch.sigmoid(x)
    bias = sigma - torch.tensor(curve(activations.silu, x)["slope"].to_numpy())
    found = {
        "stocha": (-((p * (1 - p)) ** 0.5) * activations.silu(-x.abs()), torch.zeros_like(x)),
        "bernoulli_silu": (x.abs() * (sigma * (1 - sigma)).sqrt(), bias),
    }
    return pd.concat(
        pd.DataFrame({"activation": name, "x": x, "sd": sd, "bias": off})
        for name, (sd, off) in found.items()
    )


def gates_at_start(x: Tensor, seed: int, starts: int = 20) -> pd.DataFrame:
    """The learnable mixture's gate α(x) at several initialisations (`run`)."""
    learnable = activations.LearnableMixture()
    tables = []
    for run in range(starts):
        learnable.reset_parameters(generator(seed, "init", run))
        alpha = learnable.gate(x.float()).detach()
        tables.append(pd.DataFrame({"run": run, "x": x, "alpha": alpha}))
    return pd.concat(tables).assign(activation="learnable_stoch")


def relaxed(temperatures: Iterable[float], draws: int = 4000) -> pd.DataFrame:
    """Gumbel's relaxed weight of ReLU at α = ½, over evenly spaced draws, by `temperature`."""
    logits = torch.logit((torch.arange(draws) + 0.5) / draws)
    weights = {f"τ = {tau:g}": torch.sigmoid(logits / tau) for tau in temperatures}
    return pd.DataFrame(weights).melt(var_name="temperature", value_name="weight")


def moments(x: Tensor, p: float, seed: int) -> pd.DataFrame:
    """What each activation makes of the inputs x, drawing once an input.

    Columns: `activation`; `mean` and `variance` of its outputs; `zeros`, the share that is exactly
    zero; `mean gradient`; `no gradient`, the share of inputs whose gradient is zero.
    """
    rows = []
    for name in activations.names():
        options: dict[str, Any] = {"p": p, "positive": "mixed"} if name == "stocha" else {}
        activation = activations.make(name, **options)
        activation.reset_parameters(generator(seed, "init", name))
        own = curve(partial(activation, generator=generator(seed, "activation", name)), x)
        y, slope = own["value"], own["slope"]
        found = {"mean": y.mean(), "variance": y.var(), "zeros": (y == 0).mean()}
        found |= {"mean gradient": slope.mean(), "no gradient": (slope == 0).mean()}
        rows.append({"activation": name} | found)
    return pd.DataFrame(rows)
