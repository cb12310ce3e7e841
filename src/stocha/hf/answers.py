"""Several answers to one prompt: drawn activations against drawn tokens.

`run` is the experiment, one group of settings of one model. Chapter *Several answers*.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations, groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from stocha.activations.drawn import stocha
from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import bernoulli, generator
from stocha.hf import relufication
from stocha.hf.exchange import layers
from stocha.hf.pretrained import load
from stocha.hf.prompts import TASKS, Prompt, normalised, prompts

NUCLEUS = 1024
"""Likeliest tokens among which top-p looks."""
EXAMPLES = 2
"""Prompts of a task whose answers are kept."""
_PIECE = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Setting:
    """How answers are drawn.

    `p` is the probability of SiLU, 1 for SiLU and 0 for ReLU; `grain`, what shares a draw:
    "element" (nothing: one draw for every neuron at every token), "token" (the neurons of a layer
    at a token), "layer" (those of a layer, for the whole answer), "answer" (nothing, but a draw is
    kept for the whole answer: one sampled network); `temperature` of the tokens, 0 for the
    likeliest; `top_p`, the least probability that the likeliest tokens kept must have together.
    """

    p: float
    temperature: float = 0.0
    top_p: float = 1.0
    grain: str = "element"
    positive: str = "mixed"

    @property
    def drawn(self) -> bool:
        """Whether activations are."""
        return 0 < self.p < 1


PS, TEMPERATURES = (0.95, 0.9, 0.8, 0.7), (0.0, 0.3, 0.6, 1.0, 1.5)
GROUPS = {
    "temperature": tuple(Setting(1, t) for t in TEMPERATURES),
    "top_p": tuple(Setting(1, 1.0, top) for top in (0.5, 0.75, 0.9)),
    "stocha": tuple(Setting(p) for p in PS),
    "grains": (
        *(Setting(0.9, grain=grain) for grain in ("token", "layer", "answer")),
        Setting(0.9, positive="identity"),
    ),
    "both": (Setting(0.95, 0.3), Setting(0.95, 0.6), Setting(0.95, 0.6, 0.9)),
    "tuned": (
        *(Setting(0, t, positive="identity") for t in (0.0, 0.6, 1.0)),
        *(Setting(p, positive="identity") for p in (0.1, 0.3, 0.7)),
    ),
}
"""The last is of SmolLM2 tuned with StochA(0.7) and then ReLU, the others of SmolLM2 as it is."""


@dataclass(frozen=True)
class Config:
    """One group of settings; the defaults are the full scale's."""

    group: str = parameter("stocha", "of settings", f"{{{', '.join(GROUPS)}}}")
    model: str = parameter(
        "smollm2", "whose weights they are", "{smollm2, random}", smoke="random", book="random"
    )
    answers: int = parameter(8, "to each prompt", "[2, inf)", smoke=3, book=4)
    per_task: int = parameter(72, "prompts at most", "[1, inf)", smoke=2, book=4)
    batch: int = parameter(6, "prompts at a time", "[1, inf)")
    precision: str = parameter("bfloat16", "of weights and states", "{float32, bfloat16}")
    seed: int = parameter(0, "of all draws", "[0, inf)")
    threads: int = parameter(1, "numeric threads; they change the last bits", "[1, 1024]")

    def __post_init__(self) -> None:
        check(self)


class Sampler:
    """A model that answers. An answer's draws are a function of (seed, prompt, answer) alone.

    Parameters: `model`, whose activations are exchanged in place; `tokenizer`, which knows the
    tokens that end a line, and with it an answer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, seed: int) -> None:
        self.model, self.seed = model, seed
        texts = tokenizer.batch_decode([[n] for n in range(len(tokenizer))])
        self.ends = torch.zeros(model.config.vocab_size, dtype=torch.bool)
        self.ends[[n for n, text in enumerate(texts) if "\n" in text]] = True
        self.ends[tokenizer.all_special_ids] = True
        self.setting, self.draws = Setting(1), torch.empty(0)
        for index, layer in enumerate(layers(model)):
            layer.act_fn = _Drawn(self, index)

    def answers(
        self, ids: Tensor, prompts: list[int], answers: int, new_tokens: int, setting: Setting
    ) -> list[list[list[int]]]:
        """Return, for each prompt, its answers: lists of at most `new_tokens` token ids.

        Parameters: `ids` [prompts, length], all of one length; `prompts`, their numbers. A prompt
        is read with draws too, for every answer anew.
        """
        self.setting = setting
        count = answers if setting.drawn or setting.temperature else 1
        keys = [(prompt, answer) for prompt in prompts for answer in range(count)]
        noise = [generator(self.seed, "activation", *key) for key in keys]
        picks = [generator(self.seed, "sampling", *key) for key in keys]
        found: list[list[int]] = [[] for _ in keys]
        cache = DynamicCache(config=self.model.config)
        if setting.drawn:
            self._draw(noise, ids.shape[1])
            logits = self._read(ids.repeat_interleave(count, 0), cache)
        else:
            logits = self._read(ids, cache).repeat_interleave(count, 0)
            cache.batch_repeat_interleave(count)
        alive = torch.arange(len(keys))
        for place in range(new_tokens):
            chosen = pick(logits, setting, [picks[n] for n in alive])
            for n, token in zip(alive.tolist(), chosen.tolist(), strict=True):
                found[n].append(token)
            on = (~self.ends[chosen]).nonzero()[:, 0]
            if place == new_tokens - 1 or not len(on):
                break
            if len(on) < len(alive):
                alive = alive[on]
                cache.batch_select_indices(on)
                self.draws = self.draws[on] if setting.drawn else self.draws
            if setting.drawn and setting.grain in ("element", "token"):
                self._draw([noise[n] for n in alive], 1)
            logits = self._read(chosen[on, None], cache)
        return [found[n : n + count] * (answers // count) for n in range(0, len(keys), count)]

    def _read(self, ids: Tensor, cache: DynamicCache) -> Tensor:
        """Return the logits [rows, vocabulary] after the last of `ids` [rows, length]."""
        return self.model(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits[:, -1]  # type: ignore[no-any-return]

    def _draw(self, noise: list[torch.Generator], length: int) -> None:
        """Draw for every layer at once, [rows, layers, length or 1, neurons or 1]."""
        grain, config = self.setting.grain, self.model.config
        shape = (
            len(noise),
            config.num_hidden_layers,
            length if grain in ("element", "token") else 1,
            config.intermediate_size if grain in ("element", "answer") else 1,
        )
        self.draws = bernoulli(self.setting.p, shape, noise, self.model.dtype)


class _Drawn(nn.Module):
    """The activation of a layer of a `Sampler`'s model."""

    def __init__(self, sampler: Sampler, index: int) -> None:
        super().__init__()
        self.sampler, self.index = sampler, index

    def forward(self, x: Tensor) -> Tensor:
        setting = self.sampler.setting
        draw = self.sampler.draws[:, self.index] if setting.drawn else None
        return stocha(x, setting.p, positive=setting.positive, draw=draw)


def pick(logits: Tensor, setting: Setting, generators: list[torch.Generator]) -> Tensor:
    """Return a token for every row of `logits` [rows, vocabulary], each by its own generator."""
    if setting.temperature == 0:
        return logits.argmax(1)
    shares = torch.softmax(logits.double() / setting.temperature, 1)
    index = None
    if setting.top_p < 1:
        shares, index = shares.topk(min(NUCLEUS, shares.shape[1]))
        shares = torch.where(shares.cumsum(1) - shares < setting.top_p, shares, 0)
    upto = shares.cumsum(1)
    at = torch.stack([torch.rand(1, generator=g, dtype=upto.dtype) for g in generators])
    chosen = torch.searchsorted(upto, at * upto[:, -1:], right=True)
    return (chosen if index is None else index.gather(1, chosen))[:, 0]


def run(config: Config, progress: Progress | None = None) -> Result:
    """Let the model answer every prompt `config.answers` times in every setting of the group.

    Tables: `prompts`, a row a setting and prompt: the setting, `tuned`; task, prompt (its number);
    `right`, share of answers, and `majority`, whether the most frequent one is (the earlier of
    two), NaN where nothing is checked; `distinct`, normalised answers that differ, and their
    `entropy`, nats; `distinct_1`, `distinct_2`, different ones among all words and pairs of words;
    `self_bleu`; and what `judged` returns. `examples`: answers to the first prompts of each task.
    The group "tuned" needs a finished relufication, and trains it if need be.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.no_grad():
            return _run(config, progress)
    finally:
        torch.set_num_threads(threads)


def _run(config: Config, progress: Progress | None) -> Result:
    settings, tuned = GROUPS[config.group], config.group == "tuned"
    judge, tokenizer = load(config.model)
    if tuned and config.model == "smollm2":
        with torch.enable_grad():
            model, _ = relufication.finished(relufication.Config())
    else:
        model, _ = load(config.model)
    judge.to(getattr(torch, config.precision))
    sampler = Sampler(model.to(judge.dtype), tokenizer, config.seed)  # type: ignore[arg-type]
    everything = prompts()
    asked = [
        [n for n, each in enumerate(everything) if each.task == task][: config.per_task]
        for task in TASKS
    ]
    shown = {n for numbers in asked for n in numbers[:EXAMPLES]}
    ids = {
        n: tokenizer(everything[n].text, add_special_tokens=False)["input_ids"]
        for n in chain(*asked)
    }
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for setting in settings:
        for numbers in _batches(asked, ids, config.batch):
            limit = everything[numbers[0]].new_tokens
            batch = torch.tensor([ids[n] for n in numbers])
            found = sampler.answers(batch, numbers, config.answers, limit, setting)
            for n, answers in zip(numbers, found, strict=True):
                decoded = tokenizer.batch_decode(answers, skip_special_tokens=True)
                texts = [text.split("\n")[0].strip() for text in decoded]
                known = {"tuned": tuned, **vars(setting), "task": everything[n].task, "prompt": n}
                seen = measured(everything[n], texts) | judged(judge, ids[n], answers)
                rows.append(known | seen)
                if n in shown:
                    examples += [known | {"answer": k, "text": t} for k, t in enumerate(texts)]
            if progress is not None:
                progress(len(rows), len(settings) * len(ids), "prompts")
    tables = {"prompts": pd.DataFrame(rows).round(5), "examples": pd.DataFrame(examples)}
    return Result(tables, {"prompts": len(ids), "answers": config.answers})


def _batches(asked: list[list[int]], ids: dict[int, list[int]], size: int) -> Iterator[list[int]]:
    """Yield numbers of prompts of one task and one length, at most `size`."""
    for numbers in asked:
        for _, some in groupby(sorted(numbers, key=lambda n: len(ids[n])), lambda n: len(ids[n])):
            same = list(some)
            yield from (same[n : n + size] for n in range(0, len(same), size))


def measured(prompt: Prompt, texts: list[str]) -> dict[str, float]:
    """Say how right the answers `texts` to a prompt are, and how different."""
    counts = Counter(keys := [normalised(prompt.task, text) for text in texts])
    shares = np.array(list(counts.values())) / len(texts)
    pieces = [_PIECE.findall(text.lower()) for text in texts]
    pairs = [pair for each in pieces for pair in pairwise(each)]
    return {
        "right": float(np.mean([prompt.right(text) for text in texts])),
        "majority": prompt.right(texts[keys.index(counts.most_common(1)[0][0])]),
        "distinct": len(counts),
        "entropy": float(abs((shares * np.log(shares)).sum())),
        "distinct_1": _different(list(chain(*pieces))),
        "distinct_2": _different(pairs),
        "self_bleu": float(
            np.mean([_bleu(p, pieces[:n] + pieces[n + 1 :]) for n, p in enumerate(pieces)])
        ),
    }


def _different(parts: list[Any]) -> float:
    return len(set(parts)) / len(parts) if parts else math.nan


def _bleu(own: list[str], others: list[list[str]]) -> float:
    """Return BLEU up to four words, from two on with one more of all (Lin and Och 2004)."""
    if not own:
        return math.nan
    logarithms = []
    for n in range(1, min(4, len(own)) + 1):
        grams, *theirs = (
            Counter(tuple(each[k : k + n]) for k in range(len(each) - n + 1))
            for each in (own, *others)
        )
        met = sum(min(c, max(other[gram] for other in theirs)) for gram, c in grams.items())
        more = float(n > 1)
        logarithms.append(math.log(max(met + more, 1e-9) / (grams.total() + more)))
    nearest = min((len(other) for other in others), key=lambda m: (abs(m - len(own)), m))
    return math.exp(min(0.0, 1 - nearest / len(own)) + sum(logarithms) / len(logarithms))


def judged(judge: PreTrainedModel, prompt: list[int], answers: list[list[int]]) -> dict[str, float]:
    """Say what the model `judge` makes of the answers, and where they part.

    Returns `likelihood`, nats a token, and `sure`, its largest probability at a token, means over
    answers; `tokens` of an answer; over the pairs of different answers, NaN without any, means of
    `prefix`, the tokens that both begin with, and `sure_at_parting`, `sure` at the next token.
    """
    unique = list(dict.fromkeys(map(tuple, answers)))
    cache = DynamicCache(config=judge.config)
    logits = judge(input_ids=torch.tensor([prompt]), past_key_values=cache, logits_to_keep=1).logits
    logits = logits.expand(len(unique), -1, -1)
    padded = nn.utils.rnn.pad_sequence([torch.tensor(each) for each in unique], batch_first=True)
    if padded.shape[1] > 1:
        cache.batch_repeat_interleave(len(unique))
        more = judge(input_ids=padded[:, :-1], past_key_values=cache).logits
        logits = torch.cat([logits, more], 1)
    known = logits.float().log_softmax(2)
    own = known.gather(2, padded[..., None])[..., 0]
    largest = known.amax(2).exp()
    likelihood = {a: own[n, : len(a)].mean().item() for n, a in enumerate(unique)}
    sure = {a: largest[n, : len(a)].tolist() for n, a in enumerate(unique)}
    every = [tuple(each) for each in answers]
    parted = [
        (a, next(n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y))
        for a, b in combinations(every, 2)
        if a != b
    ]
    return {
        "likelihood": float(np.mean([likelihood[a] for a in every])),
        "sure": float(np.mean([np.mean(sure[a]) for a in every])),
        "tokens": float(np.mean([len(a) for a in every])),
        "prefix": float(np.mean([n for _, n in parted])) if parted else math.nan,
        "sure_at_parting": float(np.mean([sure[a][n] for a, n in parted])) if parted else math.nan,
    }
