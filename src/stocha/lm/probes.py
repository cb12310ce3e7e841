"""Small downstream tasks a code model can be tested on by log-likelihood alone.

The true continuation competes with others of the same number of tokens, so no normalisation by
length is needed. Items are a pure function of the tokens: every model meets the same ones.
Chapter *Downstream*.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from stocha.base.streams import stream_seed
from stocha.lm.evaluation import Use, hidden_states
from stocha.lm.model import Decoder

ROWS = 32
"""Sequences scored at a time."""

Ids = NDArray[np.uint16]
Line = tuple[int, int]
Wrong = Callable[[Ids], list[Ids]]
"""True answer → wrong ones of as many tokens; none where there are not enough."""


@dataclass(frozen=True)
class Items:
    """Questions of one probe.

    `ids` [items, choices, length]: the true answer is choice 0; `scored` [items]: how many tokens
    at the end of each sequence are the answer, the same for all its choices. `one_pass`: the answer
    is one token, so a question's choices share a forward pass.
    """

    name: str
    ids: Tensor
    scored: Tensor
    one_pass: bool = False


def items(tokens: Ids, tokenizer: Tokenizer, count: int, length: int = 160) -> list[Items]:
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
        _build("next_line", tokens, picked, count, length, _others(tokens, picked, rng)),
        _build("corrupted_line", tokens, picked, count, length, _exchanged(rng)),
        _copy(tokenizer.get_vocab_size(), count, length, rng),
    ]


CORRUPTED = (1, 2, 4)
"""Tokens of a line that are replaced."""

DISTANCES = ((8, 24), (24, 64), (64, 160))
"""Tokens back to where a name was last seen, from and to."""

AGREEING = (("is", "are"), ("was", "were"), ("has", "have"))
INDENTS = (3, 7, 11, 15)
"""Spaces in the token that ends a line and indents the next; the last belongs to the word."""


def graded(
    tokens: Ids,
    prose: Ids,
    tokenizer: Tokenizer,
    count: int,
    length: int = 160,
) -> list[Items]:
    """Return probes whose difficulty is graded, so that some have neither floor nor ceiling.

    "corrupted_k": the line that follows against three of itself with k tokens replaced by tokens
    of the text. The others ask for one token: "bracket", which of three closing brackets; "indent",
    how far the next line is indented; "agreement", is or are (was, has) in `prose`; "recall_d", a
    word of at least four letters that was last seen d tokens back or more, against three other
    such words of the context. Up to `count` questions each of `length` tokens; a probe that the
    texts have fewer than two questions for is left out.
    """
    rng = np.random.default_rng(stream_seed(0, "probes", "graded"))
    lines = _lines(tokens, tokenizer, length)
    picked = [lines[i] for i in rng.permutation(len(lines))]
    found = []
    for strength in CORRUPTED:
        long = [(start, end) for start, end in picked if end - start > 2 * strength][:count]
        if len(long) >= 2:
            wrong = _replaced(tokens, strength, rng)
            found.append(_build(f"corrupted_{strength}", tokens, long, len(long), length, wrong))
    names = [str(tokenizer.id_to_token(token)) for token in range(tokenizer.get_vocab_size())]
    number = {name: token for token, name in enumerate(names)}
    brackets = [number[bracket] for bracket in ")]}"]
    indents = [number[n] for n in ("Ċ" + "Ġ" * size for size in INDENTS) if n in number]
    pairs = [[number[n] for n in map("Ġ{}".format, pair) if n in number] for pair in AGREEING]
    kinds: list[tuple[str, Ids, list[list[int]]]] = [
        ("bracket", tokens, [brackets]),
        ("indent", tokens, [indents]),
        ("agreement", prose, [pair for pair in pairs if len(pair) == 2]),
    ]
    for name, text, groups in kinds:
        others = {token: [o for o in group if o != token] for group in groups for token in group}
        there = np.flatnonzero(np.isin(text, list(others)))
        questions = ((int(place), others[int(text[place])]) for place in rng.permutation(there))
        found.append(_one_token(name, text, questions, count, length))
    words = {
        token for token, name in enumerate(names) if len(w := name.strip("Ġ")) > 3 and w.isalpha()
    }
    for low, high in DISTANCES:
        seen = _seen_again(tokens, words, low, min(high, length))
        places = (int(place) for place in rng.permutation(seen))
        asked = (
            (place, _other_words(tokens[place - length + 1 : place + 1], words, rng))
            for place in places
            if place >= length
        )
        full = ((place, others) for place, others in asked if len(others) == 3)
        found.append(_one_token(f"recall_{low}", tokens, full, count, length))
    return [probe for probe in found if len(probe.scored) >= 2]


def _seen_again(tokens: Ids, words: set[int], low: int, high: int) -> NDArray[np.int64]:
    """Places of the words that were last seen `low` to `high` − 1 tokens before."""
    last: dict[int, int] = {}
    places = []
    for place, token in enumerate(tokens.tolist()):
        if token in words:
            if low <= place - last.get(token, -high) < high:
                places.append(place)
            last[token] = place
    return np.array(places, dtype=np.int64)


def _other_words(window: Ids, words: set[int], rng: np.random.Generator) -> list[int]:
    there = sorted((set(window.tolist()) & words) - {int(window[-1])})
    return [there[i] for i in rng.permutation(len(there))[:3]]


def _one_token(
    name: str,
    tokens: Ids,
    asked: Iterable[tuple[int, Sequence[int]]],
    count: int,
    length: int,
) -> Items:
    """Questions at places of the text, each with the tokens that would be wrong there."""
    rows = []
    for place, others in islice(((p, o) for p, o in asked if p >= length - 1), count):
        stem = tokens[place - length + 1 : place].astype(np.int64)
        rows.append([np.append(stem, token) for token in (int(tokens[place]), *others)])
    ids = torch.from_numpy(
        np.array(rows, dtype=np.int64).reshape(len(rows), -1 if rows else 1, length)
    )
    return Items(name, ids, torch.ones(len(rows), dtype=torch.int64), one_pass=True)


def _lines(tokens: Ids, tokenizer: Tokenizer, length: int) -> list[Line]:
    """Return (start, end) of every line of 5 to 24 tokens with a full context before it."""
    newline = {i for i in range(tokenizer.get_vocab_size()) if "Ċ" in str(tokenizer.id_to_token(i))}
    ends = np.flatnonzero(np.isin(tokens, list(newline)))
    return [
        (int(a) + 1, int(b) + 1) for a, b in pairwise(ends) if 5 <= b - a <= 24 and b + 1 >= length
    ]


def _others(tokens: Ids, lines: Sequence[Line], rng: np.random.Generator) -> Wrong:
    """Three lines of as many tokens from elsewhere."""
    by_size: dict[int, list[Ids]] = {}
    for start, end in lines:
        by_size.setdefault(end - start, []).append(tokens[start:end])

    def wrong(true: Ids) -> list[Ids]:
        pool = by_size[len(true)]
        order = rng.permutation(len(pool))[:12]
        others = [pool[i] for i in order if not np.array_equal(pool[i], true)]
        return others[:3] if len(others) >= 3 else []

    return wrong


def _exchanged(rng: np.random.Generator) -> Wrong:
    """Two tokens exchanged; the last, the end of the line, stays where it is."""

    def wrong(true: Ids) -> list[Ids]:
        places = rng.choice(len(true) - 1, 2, replace=False)
        found = np.array(true)
        found[places] = true[places[::-1]]
        return [] if np.array_equal(found, true) else [found]

    return wrong


def _replaced(tokens: Ids, strength: int, rng: np.random.Generator) -> Wrong:
    """Three times `strength` tokens but the last replaced by tokens of the text."""

    def one(true: Ids) -> Ids:
        found = np.array(true)
        for place in rng.choice(len(true) - 1, strength, replace=False):
            while found[place] == true[place]:
                found[place] = tokens[rng.integers(len(tokens))]
        return found

    return lambda true: [one(true) for _ in range(3)]


def _build(
    name: str, tokens: Ids, lines: Sequence[Line], count: int, length: int, wrong: Wrong
) -> Items:
    """The first `count` lines for which there are wrong answers, each after a full context."""
    asked = ((start, end, wrong(tokens[start:end])) for start, end in lines)
    kept = list(islice(((start, end, found) for start, end, found in asked if found), count))
    if len(kept) < count:
        raise ValueError(f"questions={count}: only {len(kept)} questions of {name} can be made")
    rows = [
        [np.concatenate([tokens[end - length : start], a]) for a in (tokens[start:end], *found)]
        for start, end, found in kept
    ]
    scored = torch.tensor([end - start for start, end, _ in kept])
    return Items(name, torch.from_numpy(np.array(rows).astype(np.int64)), scored)


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
    model: Decoder, probe: Items, activation: Use | None = None
) -> NDArray[np.float64]:
    """Return the summed log-likelihood in nats of every answer [items, choices]."""
    count, choices, length = probe.ids.shape
    answers, out = torch.split(probe.ids[:, :, -1], ROWS), []
    if probe.one_pass:
        states = hidden_states(model, probe.ids[:, 0], activation, ROWS)
        for (_, x), asked in zip(states, answers, strict=True):
            logs = model.head(x[:, -1]).log_softmax(-1).double().cpu()
            out.append(logs.gather(1, asked))
        return torch.cat(out).numpy()
    sizes = torch.split(probe.scored.repeat_interleave(choices), ROWS)
    states = hidden_states(model, probe.ids.view(-1, length), activation, ROWS)
    for (ids, x), scored in zip(states, sizes, strict=True):
        longest = int(scored.max())
        logits, targets = model.head(x[:, -longest:]).transpose(1, 2), ids[:, -longest:]
        losses = F.cross_entropy(logits, targets, reduction="none").double().cpu()
        counted = torch.arange(longest, 0, -1) <= scored[:, None]
        out.append(-(losses * counted).sum(1))
    return torch.cat(out).view(count, choices).numpy()


def score(model: Decoder, probe: Items, activation: Use | None = None) -> dict[str, float | str]:
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
