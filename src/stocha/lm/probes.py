"""Small downstream tasks a code model can be tested on by log-likelihood alone.

The true continuation competes with others of the same number of tokens, so no normalisation by
length is needed. Items are a pure function of the tokens: every model meets the same ones.
Chapter *Downstream*.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from stocha.activations import Activation
from stocha.base.streams import stream_seed
from stocha.lm.evaluation import fixed_noise, using
from stocha.lm.model import Decoder

ROWS = 32
"""Sequences scored at a time."""


@dataclass(frozen=True)
class Items:
    """Questions of one probe.

    `ids` [items, choices, length]: the true answer is choice 0; `scored` [items]: how many tokens
    at the end of each sequence are the answer, the same for all its choices.
    """

    name: str
    ids: Tensor
    scored: Tensor


def items(
    tokens: NDArray[np.uint16], tokenizer: Tokenizer, count: int, length: int = 160
) -> list[Items]:
    """Return the three probes, `count` questions each, of sequences of `length` tokens.

    "next_line": the line that follows against three lines of as many tokens from elsewhere.
    "corrupted_line": the line that follows against itself with two different tokens exchanged.
    "copy": the next token of a random sequence seen once before, against three of its others.
    Raises ValueError if the tokens hold too few lines.
    """
    rng = np.random.default_rng(stream_seed(0, "probes"))
    lines = _lines(tokens, tokenizer, length)
    if len(lines) < count:
        raise ValueError(f"questions={count}: the text has only {len(lines)} suitable lines")
    picked = [lines[i] for i in rng.permutation(len(lines))]
    return [
        _build("next_line", tokens, picked, count, length, _Others(tokens, picked, rng)),
        _build("corrupted_line", tokens, picked, count, length, _Corrupted(rng)),
        _copy(tokenizer.get_vocab_size(), count, length, rng),
    ]


Line = tuple[int, int]


def _lines(tokens: NDArray[np.uint16], tokenizer: Tokenizer, length: int) -> list[Line]:
    """Return (start, end) of every line of 5 to 24 tokens with a full context before it."""
    newline = {i for i in range(tokenizer.get_vocab_size()) if "Ċ" in str(tokenizer.id_to_token(i))}
    ends = np.flatnonzero(np.isin(tokens, list(newline)))
    return [
        (int(a) + 1, int(b) + 1) for a, b in pairwise(ends) if 5 <= b - a <= 24 and b + 1 >= length
    ]


class _Others:
    def __init__(
        self, tokens: NDArray[np.uint16], lines: Sequence[Line], rng: np.random.Generator
    ) -> None:
        self.rng, self.by_size = rng, dict[int, list[NDArray[np.uint16]]]()
        for start, end in lines:
            self.by_size.setdefault(end - start, []).append(tokens[start:end])

    def __call__(self, true: NDArray[np.uint16]) -> list[NDArray[np.uint16]] | None:
        pool = self.by_size[len(true)]
        order = self.rng.permutation(len(pool))[:12]
        others = [pool[i] for i in order if not np.array_equal(pool[i], true)]
        return others[:3] if len(others) >= 3 else None


class _Corrupted:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, true: NDArray[np.uint16]) -> list[NDArray[np.uint16]] | None:
        # the last token, the end of the line, stays where it is
        first, second = self.rng.choice(len(true) - 1, 2, replace=False)
        if true[first] == true[second]:
            return None
        wrong = np.array(true)
        wrong[[first, second]] = wrong[[second, first]]
        return [wrong]


def _build(
    name: str,
    tokens: NDArray[np.uint16],
    lines: Sequence[Line],
    count: int,
    length: int,
    wrong: Callable[[NDArray[np.uint16]], list[NDArray[np.uint16]] | None],
) -> Items:
    rows, scored = [], []
    for start, end in lines:
        answers = wrong(tokens[start:end])
        if answers is None:
            continue
        prefix = tokens[end - length : start]
        rows.append([np.concatenate([prefix, a]) for a in (tokens[start:end], *answers)])
        scored.append(end - start)
        if len(rows) == count:
            break
    if len(rows) < count:
        raise ValueError(f"questions={count}: only {len(rows)} questions of {name} can be made")
    return Items(name, torch.from_numpy(np.array(rows).astype(np.int64)), torch.tensor(scored))


def _copy(vocabulary: int, count: int, length: int, rng: np.random.Generator) -> Items:
    half = length // 2
    rows = []
    for _ in range(count):
        once = rng.choice(np.arange(1, vocabulary), half, replace=False)
        cut = int(rng.integers(half // 2, half))
        # what comes before `once` keeps every sequence equally long
        filler = rng.integers(1, vocabulary, length - half - cut)
        stem = np.concatenate([filler, once, once[: cut - 1]])
        others = rng.choice(np.delete(once, cut - 1), 3, replace=False)
        rows.append([np.append(stem, token) for token in (once[cut - 1], *others)])
    return Items("copy", torch.from_numpy(np.array(rows)), torch.ones(count, dtype=torch.int64))


def log_likelihoods(
    model: Decoder, probe: Items, activation: Activation | None = None
) -> NDArray[np.float64]:
    """Return the summed log-likelihood in nats of every answer [items, choices]."""
    count, choices, length = probe.ids.shape
    flat = probe.ids.view(count * choices, length)
    scored = probe.scored.repeat_interleave(choices)
    out = []
    with using(model, activation):
        for start in range(0, len(flat), ROWS):
            ids = flat[start : start + ROWS]
            longest = int(scored[start : start + ROWS].max())
            x = model.hidden(ids[:, :-1], fixed_noise(start, len(ids)))[:, -longest:]
            targets = ids[:, -longest:]
            losses = F.cross_entropy(
                model.head(x).transpose(1, 2), targets, reduction="none"
            ).double()
            place = torch.arange(longest, 0, -1)
            counted = place <= scored[start : start + ROWS, None]
            out.append(-(losses * counted).sum(1))
    return torch.cat(out).view(count, choices).numpy()


def score(
    model: Decoder, probe: Items, activation: Activation | None = None
) -> dict[str, float | str]:
    """Return a probe's row: questions, choices, accuracy, mean margin in nats, and their errors.

    The margin of a question is the true answer's log-likelihood less that of the best other.
    """
    likelihood = log_likelihoods(model, probe, activation)
    margin = likelihood[:, 0] - likelihood[:, 1:].max(1)
    accuracy = float((margin > 0).mean())
    return {
        "probe": probe.name,
        "questions": len(margin),
        "choices": likelihood.shape[1],
        "accuracy": accuracy,
        "accuracy_sem": math.sqrt(accuracy * (1 - accuracy) / len(margin)),
        "margin": float(margin.mean()),
        "margin_sem": float(margin.std(ddof=1)) / math.sqrt(len(margin)),
    }
