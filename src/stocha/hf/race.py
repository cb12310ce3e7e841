"""Tokens a second, one token at a time: our sparse layers against what a user would pick.

`run` is the experiment: one model, precision and number of threads. Chapter *Decoding, end to end*;
what counts as right, and as worth it, is in `book/hf_protocol.md`.
"""

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from stocha.base.errors import UserError
from stocha.base.machine import cpu_model
from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import stream_seed
from stocha.base.timing import ratios, torch_threads
from stocha.hf import relufication
from stocha.hf.decoding import SparseMLP
from stocha.hf.exchange import hooked, layers, use
from stocha.hf.pretrained import load
from stocha.hf.text import docstrings, tokens
from stocha.hf.ways import WRONG, Absent, Entry, Transformer, Way, entries
from stocha.lm.corpus import HELD_OUT, PythonPackages

COMMON = 0.5
"""Share of a made embedding that all tokens have in common: what made gates turn away from."""


@dataclass(frozen=True)
class Config:
    """The model, how it is run, and how thoroughly it is measured."""

    weights: str = parameter(
        "made",
        "made: Llama's shape, random; smollm2: ReLU put in and not trained; relufied: trained",
        "{made, smollm2, relufied}",
    )
    arm: str = parameter("relu", "whose finished relufication is taken")
    zeros: float = parameter(0.9, "share of zeros that made weights are given", "[0, 1)")
    width: int = parameter(2048, "of made weights", "[32, inf)", smoke=64, book=64)
    neurons: int = parameter(8192, "of their layers", "[32, inf)", smoke=160, book=160)
    layers: int = parameter(16, "of them", "[1, inf)", smoke=2, book=2)
    heads: int = parameter(32, "that divide the width", "[1, inf)", smoke=2, book=2)
    kv_heads: int = parameter(8, "that divide the heads", "[1, inf)", smoke=1, book=1)
    vocabulary: int = parameter(128_256, "of made weights", "[32, inf)", smoke=320, book=320)
    precision: str = parameter("float32", "of the weights", "{float32, bfloat16, int8}")
    threads: int = parameter(1, "of every way", "[1, 1024]")
    prompts: int = parameter(3, "that rounds take in turn", "[1, inf)", smoke=1, book=1)
    prompt: int = parameter(32, "tokens of each", "[1, inf)", smoke=20, book=20)
    tokens: int = parameter(16, "decoded after it", "[1, inf)", smoke=4, book=8)
    rounds: int = parameter(9, "in which every way decodes once", "[1, inf)", smoke=2, book=3)
    seed: int = parameter(0, "of made weights and prompts", "[0, inf)")

    def __post_init__(self) -> None:
        check(self)
        for part, whole in (("heads", "width"), ("kv_heads", "heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{part}={getattr(self, part)}: allowed: a divisor of {whole}, "
                    f"{getattr(self, whole)}"
                )


def run(config: Config, progress: Progress | None = None) -> Result:
    """Check every way against the reference, then let those that are right take turns.

    The reference is the same weights in float32 by Hugging Face, with the way's own activation.
    All ways are led through the tokens that the reference decodes with ReLU; only these are timed,
    the prompt is not. Tables: `ways` (way, ours, bits, activation, deviation: root mean square
    of the logits' error relative to their spread, agreement: share of positions with the same most
    likely token, state: right, wrong or absent, reason); `times` (round, way, seconds); `speed`, a
    row a timed way: tokens a second with quartiles, and `timing.ratios` to the fastest peer;
    `parts` (way, part, milliseconds a token, uncompiled); `zeros` (layer, share).
    """
    threads = numba.get_num_threads()
    if config.threads > threads:
        raise UserError(f"threads={config.threads}: allowed: [1, {threads}], what is there")
    with torch_threads(config.threads), tempfile.TemporaryDirectory() as folder:
        return _run(config, Path(folder), progress)


@dataclass(frozen=True)
class _Text:
    """Prompts [prompts, prompt] and what the reference decodes after them [prompts, tokens]."""

    prompts: NDArray[np.int64]
    followed: NDArray[np.int64]
    logits: dict[str, NDArray[np.float32]]
    """By activation, after the prompt and after each token but the last: [prompts, tokens, v]."""


def _run(config: Config, folder: Path, progress: Progress | None) -> Result:
    model, prompts = _model(config)
    text, zeros = _reference(config, model, prompts)
    room = config.prompt + config.tokens
    every = list(entries(model, config.precision, config.threads, room, folder))

    def report(done: int) -> None:
        if progress is not None:
            progress(done, len(every) + config.rounds, "ways and rounds")

    made: dict[str, Way] = {}
    rows = []
    for number, entry in enumerate(every, start=1):
        row, way = _checked(entry, text)
        rows.append(row)
        if way is not None:
            made[entry.name] = way
        report(number)
    ways = pd.DataFrame(rows)
    times = pd.DataFrame(_times(made, text, config.rounds, lambda n: report(len(every) + n)))
    tables = {"ways": ways, "times": times, "speed": _speed(times, ways, config.tokens)}
    tables |= {"parts": pd.DataFrame(_parts(made, text)), "zeros": zeros}
    about = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "in_layers": sum(p.numel() for mlp in layers(model) for p in mlp.parameters()),
        "processor": cpu_model(),
    }
    return Result(tables, about)


def _model(config: Config) -> tuple[PreTrainedModel, NDArray[np.int64]]:
    """The model with ReLU, float32, and its prompts."""
    rng = np.random.default_rng(stream_seed(config.seed, "prompts"))
    if config.weights == "made":
        shape = (config.prompts, config.prompt)
        prompts = rng.integers(0, config.vocabulary, shape)
        return made_model(config, prompts), prompts
    if config.weights == "smollm2":
        model, tokenizer = load("smollm2")
        use(model, "relu")
    else:
        model, tokenizer = _relufied(config.arm)
    documents = PythonPackages(packages=(), held_out=HELD_OUT).documents()
    ids = tokens(docstrings(documents), tokenizer, 64 * config.prompt)
    starts = rng.integers(0, len(ids) - config.prompt, config.prompts)
    return model, np.stack([ids[at : at + config.prompt] for at in starts]).astype(np.int64)


def _relufied(arm: str) -> tuple[PreTrainedModel, Any]:
    """What the relufication left; training's text, a minute's reading, is not needed for it."""
    config = relufication.Config(arm=arm)
    state = relufication._state(config)
    found = torch.load(state, weights_only=True) if state.is_file() else None
    if found is None or found["done"]["steps"] < config.course.steps:
        raise UserError(
            f"arm={arm}: not trained here yet; allowed after: "
            "stocha sweep run sweeps/hf_relufication.yml"
        )
    model, tokenizer = load(config.model)
    model.load_state_dict(found["weights"], strict=False)  # embeddings were not trained
    return use(model, "relu"), tokenizer


def made_model(config: Config, prompts: NDArray[np.int64]) -> PreTrainedModel:
    """Return a Llama of random weights whose gates close for `config.zeros` of all neurons.

    Inputs of a trained layer share a direction that its gates turn away from
    (`stocha.sparse.workload`). Here embeddings share one, and layer by layer each gate row is moved
    against the mean of the inputs that the prompts give, as far as the share of zeros needs.
    """
    shape = LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.neurons,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=max(2048, config.prompt + config.tokens),
        tie_word_embeddings=True,
        hidden_act="relu",
        initializer_range=config.width**-0.5,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(stream_seed(config.seed, "init"))
        model: PreTrainedModel = LlamaForCausalLM(shape)
        model.train(False)
        table: Any = model.get_input_embeddings().weight
        common = torch.randn(config.width) * table.std()
        table.mul_((1 - COMMON) ** 0.5).add_(common, alpha=COMMON**0.5)
        handles = [
            mlp.register_forward_pre_hook(lambda mlp, x: _close(mlp.gate_proj, x[0], config.zeros))
            for mlp in layers(model)
        ]
        model(torch.from_numpy(prompts))
        for handle in handles:
            handle.remove()
    return model


def _close(gate: Any, x: Tensor, zeros: float) -> None:
    """Move the rows of a gate against the inputs' mean until `zeros` of its outputs are ≤ 0."""
    flat = x.flatten(0, 1)
    mean = flat.mean(0) / flat.mean(0).norm()
    outputs, along = gate(flat), flat @ mean
    # an output is ≤ 0 once its row has moved by outputs / along, where along is positive
    needed = (outputs / along.clamp(min=1e-6)[:, None]).flatten()
    moved = needed.kthvalue(max(1, round(zeros * needed.numel()))).values
    gate.weight.sub_(moved * mean)


def _reference(
    config: Config, model: PreTrainedModel, prompts: NDArray[np.int64]
) -> tuple[_Text, pd.DataFrame]:
    """Decode greedily with ReLU, then the same tokens with SiLU; and count ReLU's zeros."""
    plain = Transformer(model, config.prompt + config.tokens, compiled=False)
    shares: dict[int, list[float]] = defaultdict(list)

    def count(layer: int, y: Tensor) -> None:
        shares[layer].append((y == 0).float().mean().item())

    followed, greedy = [], []
    with hooked(model, count):
        for prompt in prompts.tolist():
            logits = [plain.start(prompt)]
            while len(logits) < config.tokens:
                logits.append(plain.step(int(logits[-1].argmax())))
            greedy.append(np.stack(logits))
            followed.append([int(each.argmax()) for each in logits])
    text = _Text(prompts, np.array(followed), {"relu": np.stack(greedy)})
    use(model, "silu")
    text.logits["silu"] = _led(plain, text)
    use(model, "relu")
    zeros = pd.DataFrame({"layer": n, "share": np.mean(found)} for n, found in shares.items())
    return text, zeros


def _led(way: Way, text: _Text) -> NDArray[np.float32]:
    """The logits of a way along the text, [prompts, tokens, vocabulary]."""
    found = []
    for prompt, followed in zip(text.prompts.tolist(), text.followed.tolist(), strict=True):
        found.append([way.start(prompt), *(way.step(token) for token in followed[:-1])])
    return np.array(found)


def _checked(entry: Entry, text: _Text) -> tuple[dict[str, Any], Way | None]:
    """The row of `ways`, and the way if it is right."""
    row: dict[str, Any] = {
        "way": entry.name,
        "ours": entry.ours,
        "bits": entry.bits,
        "activation": entry.activation,
    }
    try:
        way = entry.make()
    except Absent as reason:
        return row | {"state": "absent", "reason": str(reason)}, None
    found, truth = _led(way, text), text.logits[entry.activation]
    deviation = float(np.sqrt(np.square(found - truth).mean()) / truth.std(axis=-1).mean())
    row["deviation"] = deviation
    row["agreement"] = float((found.argmax(-1) == truth.argmax(-1)).mean())
    if not deviation < WRONG[entry.bits]:
        allowed = f"deviation: allowed: below {WRONG[entry.bits]:g}"
        return row | {"state": "wrong", "reason": allowed}, None
    return row | {"state": "right", "reason": ""}, way


def _times(made: dict[str, Way], text: _Text, rounds: int, report: Any) -> Iterator[dict[str, Any]]:
    """Let the ways decode in turn, each round with the next prompt."""
    prompts, followed = text.prompts.tolist(), text.followed.tolist()
    for number in range(rounds):
        turn = number % len(prompts)
        for name, way in made.items():
            way.start(prompts[turn])
            begun = time.perf_counter()
            for token in followed[turn]:
                way.step(token)
            yield {"round": number, "way": name, "seconds": time.perf_counter() - begun}
        report(number + 1)


def _speed(times: pd.DataFrame, ways: pd.DataFrame, tokens: int) -> pd.DataFrame:
    right = ways[ways["state"] == "right"].set_index("way")
    peers = right.index[~right["ours"] & (right["bits"] != 4)]
    rates = (tokens / times["seconds"]).groupby(times["way"]).quantile(np.array([0.25, 0.5, 0.75]))
    wide = rates.unstack().set_axis(["rate_q1", "rate", "rate_q3"], axis=1).reset_index()
    table = wide.merge(right[["ours", "bits"]].reset_index(), on="way")
    if peers.empty:  # none that is right: rates, and nothing to compare them with
        return table.assign(ratio=math.nan, ratio_q1=math.nan, ratio_q3=math.nan, peer=False)
    return ratios(times, *peers).drop(columns="milliseconds").merge(table, on="way")


def _parts(made: dict[str, Way], text: _Text) -> Iterator[dict[str, Any]]:
    """Where a token's time goes, by module: of a model that Python steps through."""
    prompt, followed = text.prompts[0].tolist(), text.followed[0].tolist()
    for name, way in made.items():
        if not isinstance(way, Transformer) or (way.compiled and not way.ffns):
            continue
        way = Transformer(way.model, len(prompt) + len(followed), ffns=way.ffns)
        spent: dict[str, float] = defaultdict(float)
        begun: dict[nn.Module, float] = {}
        head = way.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        part = {module: _part(module, head) for module in way.model.modules()}

        def begin(module: nn.Module, *_: Any, begun: Any = begun) -> None:
            begun[module] = time.perf_counter()

        def end(module: nn.Module, *_: Any, own: Any = (part, begun, spent)) -> None:
            part, begun, spent = own
            spent[part[module]] += time.perf_counter() - begun[module]

        way.start(prompt)
        watched = [module for module, name in part.items() if name]
        handles = [module.register_forward_pre_hook(begin) for module in watched]
        handles += [module.register_forward_hook(end) for module in watched]
        start = time.perf_counter()
        for token in followed:
            way.step(token)
        spent["rest"] = time.perf_counter() - start - sum(spent.values())
        for handle in handles:
            handle.remove()
        for each, seconds in spent.items():
            yield {"way": name, "part": each, "milliseconds": 1e3 * seconds / len(followed)}


def _part(module: nn.Module, head: nn.Module) -> str:
    """What a module's time counts as; "" where it is part of another's."""
    if module is head:
        return "head"
    kind = type(module).__name__
    if kind.endswith("Attention"):
        return "attention"
    if isinstance(module, SparseMLP) or kind.endswith("MLP"):
        return "feed-forward"
    return "norms" if kind.endswith("RMSNorm") else ""
