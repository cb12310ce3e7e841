"""Sampling text with a key-value cache, each sample with activation noise of its own."""

import math

import torch
from torch import Tensor

from stocha.activations import Activation
from stocha.base.streams import generator
from stocha.lm.evaluation import using
from stocha.lm.model import Decoder, noise


def generate(
    model: Decoder,
    prompt: Tensor,
    new_tokens: int,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    activation: Activation | None = None,
    seed: int = 0,
) -> Tensor:
    """Return `samples` continuations [samples, new_tokens] of the ids `prompt` [length].

    The prompt is read once per sample and not cloned, so that a stochastic activation gives every
    sample its own noise from the first token on. Sample r depends on (seed, r) alone, not on how
    many others there are.

    Parameters: `temperature` ≥ 0; 0 takes the likeliest token, so that only the activation can
    make samples differ (claim L11); `activation`, None is the model's own.
    Raises ValueError if prompt and continuation exceed the context, or a parameter is impossible.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature}: allowed: a number in [0, inf)")
    if len(prompt) < 1:
        raise ValueError("prompt: needs at least one token")
    if samples < 1 or new_tokens < 1:
        raise ValueError(f"samples={samples}, new_tokens={new_tokens}: allowed: numbers >= 1")
    if len(prompt) + new_tokens > model.config.context:
        raise ValueError(
            f"new_tokens={new_tokens}: with a prompt of {len(prompt)} tokens at most "
            f"{model.config.context - len(prompt)} fit the context"
        )
    cache = model.cache(samples)
    pickers = [generator(seed, "sampling", sample) for sample in range(samples)]
    ids = prompt.expand(samples, -1)
    out = torch.empty(samples, new_tokens, dtype=torch.int64)
    with using(model, activation):
        for place in range(new_tokens):
            drawn = noise(seed, range(samples), "generation", place, device=model.device)
            ids = _pick(model(ids, drawn, cache)[:, -1].cpu(), temperature, pickers)
            out[:, place] = ids[:, 0]
    return out


def _pick(logits: Tensor, temperature: float, pickers: list[torch.Generator]) -> Tensor:
    if not bool(logits.isfinite().all()):
        raise ValueError("logits: are not finite: the model, or what it was given, is damaged")
    if temperature == 0:
        return logits.argmax(1, keepdim=True)
    probabilities = torch.softmax(logits.double() / temperature, 1)
    rows = zip(probabilities, pickers, strict=True)
    return torch.stack([torch.multinomial(row, 1, generator=picker) for row, picker in rows])
