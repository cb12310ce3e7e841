"""How good a model is, and how sparse, under each activation it could be run with."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stocha.activations import Activation, StochA, make
from stocha.base.streams import Generators
from stocha.lm.model import Decoder, noise

Use = Activation | Sequence[Activation]
"""What `Decoder.use` takes."""

QUANTILES = (0.05, 0.5, 0.95)
ROWS = 8
"""Windows evaluated at a time."""

NEAR = 8
"""Tokens before a target that `context_gain` leaves the model."""

TRANSITION = 0.5
"""Nats that a long context must be worth for a model to have made its transition."""


def windows(tokens: NDArray[np.uint16], context: int, count: int) -> Tensor:
    """Return `count` windows [count, context + 1], evenly spaced over `tokens`, without overlap.

    Raises ValueError if there are fewer disjoint windows than that.
    """
    room = (len(tokens) - 1) // context
    if room < 1:
        raise ValueError(f"context={context}: longer than the split of {len(tokens)} tokens")
    if count > room:
        raise ValueError(f"windows={count}: the split has {room} windows of {context} tokens")
    starts = np.linspace(0, room - 1, count).round().astype(np.int64)[:, None] * context
    return torch.from_numpy(tokens[starts + np.arange(context + 1)].astype(np.int64))


def choices(
    p: float = 0.5, positive: str = "mixed", granularity: str = "element"
) -> dict[str, Activation]:
    """Return the four activations every model is evaluated with, by name.

    "sampled" and "expected" are StochA(p) and its expectation; "silu"; "relu".
    """
    return {
        "sampled": StochA(p, positive, granularity, test="sample"),
        "expected": StochA(p, positive, granularity, test="expectation"),
        "silu": make("silu"),
        "relu": make("relu"),
    }


@contextmanager
def using(model: Decoder, activation: Use | None) -> Iterator[None]:
    """Put `model` in evaluation mode with `activation` (None: its own), and restore it after."""
    before, training = model.activations, model.training
    model.eval()
    model.use(activation if activation is not None else before)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        model.use(before)


def hidden_states(
    model: Decoder, ids: Tensor, activation: Use | None = None, rows: int = ROWS
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield sequences of ids [count, length], `rows` at a time, and the states before their ends.

    The states [rows, length − 1, width] are the model's last ones, with `activation` (None: its
    own) in force, no gradients, and noise that is the same for every model and step.
    """
    with using(model, activation):
        for start in range(0, len(ids), rows):
            part = ids[start : start + rows].to(model.device)
            drawn = noise(0, range(start, start + len(part)), "evaluation", device=model.device)
            yield part, model.hidden(part[:, :-1], drawn)


def token_losses(model: Decoder, ids: Tensor, activation: Use | None = None) -> Tensor:
    """Return the cross-entropy in nats of every target [count, context] of ids [count, context+1].

    Parameters: `activation` to evaluate with; None is the model's own.
    """
    return torch.cat(
        [
            F.cross_entropy(model.head(x).transpose(1, 2), part[:, 1:], reduction="none").cpu()
            for part, x in hidden_states(model, ids, activation)
        ]
    )


def recalled(ids: Tensor) -> Tensor:
    """Return which targets of ids [count, context + 1] their window holds the answer to.

    bool [count, context]: the target followed the same two tokens earlier in its window.
    """
    a, b, c = ids.unfold(1, 3, 1).unbind(2)
    triple = (a << 32) | (b << 16) | c  # token ids have 16 bits
    seen = (triple[:, :, None] == triple[:, None, :]).tril(-1).any(2)
    return F.pad(seen, (1, 0))


def context_gain(model: Decoder, ids: Tensor, activation: Use | None = None) -> dict[str, float]:
    """Return how well a model uses its context, on targets whose window holds the answer.

    `recall_loss` and `other_loss`, of `recalled` targets of ids [count, context + 1] and of the
    rest, nats; `gain`, how much `recall_loss` would rise with only the `NEAR` tokens before the
    target in sight: near 0 for a model that knows frequent phrases, and no more.
    """
    losses, recall = token_losses(model, ids, activation), recalled(ids)
    found = {"recall_loss": losses[recall].mean(), "other_loss": losses[~recall].mean()}
    row, place = recall[:, NEAR:].nonzero(as_tuple=True)
    if not len(row):
        return {name: float(value) for name, value in found.items()} | {"gain": math.nan}
    short = ids[row[:, None], place[:, None] + torch.arange(1, NEAR + 2)]
    near = token_losses(model, short, activation)[:, -1]
    gain = (near - losses[row, place + NEAR]).mean()
    return {name: float(value) for name, value in (found | {"gain": gain}).items()}


def transition(steps: Sequence[int], gains: Sequence[float]) -> float:
    """Return the first of `steps` whose `context_gain` is at least `TRANSITION`; NaN for none."""
    reached = (step for step, gain in zip(steps, gains, strict=True) if gain >= TRANSITION)
    return float(next(reached, math.nan))


def score(
    model: Decoder,
    ids: Tensor,
    byte_lengths: NDArray[np.int64],
    activation: Use | None = None,
) -> dict[str, float]:
    """Return `loss` (mean, nats a token), its standard error over windows, and `bits_per_byte`.

    Bits per byte divides by the bytes of text the targets stand for, so that tokenizers compare.
    The loss in two parts: `recall_loss` of the targets that are `recalled`, a share `recall` of
    all, and `other_loss`.
    """
    losses = token_losses(model, ids, activation).double()
    per_window, recall = losses.mean(1), recalled(ids)
    size = int(byte_lengths[ids[:, 1:].numpy()].sum())
    return {
        "loss": float(losses.mean()),
        "loss_sem": float(per_window.std()) / math.sqrt(len(ids)) if len(ids) > 1 else math.nan,
        "bits_per_byte": float(losses.sum()) / math.log(2) / size,
        "recall": float(recall.double().mean()),
        "recall_loss": float(losses[recall].mean()),
        "other_loss": float(losses[~recall].mean()),
    }


def zeros(model: Decoder, ids: Tensor, activation: Use | None = None) -> list[Tensor]:
    """Return per layer which outputs of the activation are exactly 0: bool [tokens, ffn].

    The tokens are the inputs of the windows `ids` [count, context + 1], in order.
    """
    found: list[list[Tensor]] = [[] for _ in model.layers]
    for layer, kept in zip(model.layers, found, strict=True):
        layer.ffn.probe = lambda out, kept=kept: kept.append((out == 0).flatten(0, 1).cpu())
    try:
        for _ in hidden_states(model, ids, activation):
            pass
    finally:
        for layer in model.layers:
            layer.ffn.probe = None
    return [torch.cat(kept) for kept in found]


def sparsity(zero: Sequence[Tensor]) -> list[dict[str, float]]:
    """Return a row per layer from the masks of `zeros`.

    `sparsity`, the share of zeros; `q05`, `q50`, `q95`, its quantiles over tokens; `dead`, the
    share of neurons that are zero at every token; `sparsity_live`, of the other neurons.
    """
    rows = []
    for layer, mask in enumerate(zero):
        per_token = mask.float().mean(1)
        dead = mask.all(0)
        low, middle, high = torch.quantile(per_token, torch.tensor(QUANTILES)).tolist()
        live = mask[:, ~dead].float().mean() if not dead.all() else torch.tensor(math.nan)
        rows.append(
            {
                "layer": layer,
                "sparsity": float(per_token.mean()),
                "q05": low,
                "q50": middle,
                "q95": high,
                "dead": float(dead.float().mean()),
                "sparsity_live": float(live),
            }
        )
    return rows


def union_sparsity(
    zero: Sequence[Tensor], spans: Sequence[int] = (1, 2, 4, 8, 16, 32), stride: int = 1
) -> list[dict[str, float]]:
    """Return the share of neurons that are zero at all of k tokens, per layer and k.

    It is what a kernel can skip when it reads weights once for k tokens. They are consecutive
    tokens with `stride` 1; with the context as stride, the same position of k windows: a batch.
    """
    rows = []
    for layer, mask in enumerate(zero):
        for span in spans:
            whole = len(mask) // (span * stride) * span * stride
            grouped = mask[:whole].view(-1, span, stride, mask.shape[1]).all(1)
            rows.append({"layer": layer, "tokens": span, "sparsity": float(grouped.float().mean())})
    return rows


class Thresholded(Activation):
    """An activation whose outputs below a threshold in magnitude are set to 0."""

    def __init__(self, inner: Activation, threshold: float) -> None:
        super().__init__()
        self.inner, self.threshold, self.both = inner, threshold, inner.both

    @property
    def stochastic(self) -> bool:
        return self.inner.stochastic

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        out: Tensor = self.inner(x, generator)
        return out.masked_fill(out.abs() < self.threshold, 0)


def threshold_curve(
    model: Decoder, ids: Tensor, activation: Use, thresholds: Sequence[float]
) -> list[dict[str, float]]:
    """Return for each threshold the loss in nats and the sparsity it buys: the SiLU trade-off."""
    with using(model, activation):
        whole = model.activations
    rows: list[dict[str, float]] = []
    for threshold in thresholds:
        cut = [Thresholded(own, threshold) for own in whole]
        mean = torch.stack([mask.float().mean() for mask in zeros(model, ids, cut)]).mean()
        loss = float(token_losses(model, ids, cut).mean())
        rows.append({"threshold": threshold, "loss": loss, "sparsity": float(mean)})
    return rows


def sparsity_at_cost(curve: Sequence[dict[str, float]], cost: float) -> float:
    """Return the largest sparsity on `threshold_curve`'s rows whose loss rises by at most `cost`.

    The first row is the reference. Between two thresholds the sparsity is interpolated.
    """
    reference = curve[0]["loss"] + cost
    for low, high in pairwise(curve):
        if high["loss"] > reference:
            part = (reference - low["loss"]) / (high["loss"] - low["loss"])
            return low["sparsity"] + part * (high["sparsity"] - low["sparsity"])
    return curve[-1]["sparsity"]


def gradient_norms(model: Decoder) -> list[dict[str, Any]]:
    """Return the norm of the present gradient of every layer."""
    return [
        {
            "layer": index,
            "grad_norm": math.sqrt(
                sum(float(p.grad.square().sum()) for p in layer.parameters() if p.grad is not None)
            ),
        }
        for index, layer in enumerate(model.layers)
    ]
