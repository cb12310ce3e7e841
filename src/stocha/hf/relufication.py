"""Fine-tune a pretrained SiLU model by an arm, and follow what it costs and what it zeroes.

`run` is the experiment, one arm and one seed; `finished` gives the model that it left. Chapter
*Making it sparse*.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stocha.arms import Arm
from stocha.base.identity import science
from stocha.base.parameters import check, parameter
from stocha.base.paths import cache_root
from stocha.base.result import Progress, Result
from stocha.hf.evaluation import evaluate
from stocha.hf.exchange import hooked, layers
from stocha.hf.pretrained import load
from stocha.hf.text import Ids, docstrings, tokens
from stocha.hf.training import Course, finetune
from stocha.lm.corpus import HELD_OUT, PACKAGES, PythonPackages

TEXTS = ("validation", "heldout", "code")
"""What the model is evaluated on."""


@dataclass(frozen=True)
class Config:
    """One arm and one seed; the defaults are the full scale's.

    Raises ValueError for an impossible value, before any work.
    """

    arm: str = parameter("stocha(0.7)+ft(0.3)", "which activation when")
    seed: int = parameter(0, "of data order and draws", "[0, inf)")
    model: str = parameter(
        "smollm2", "where training starts", "{smollm2, random}", smoke="random", book="random"
    )
    tokens: int = parameter(307_200, "to train on", "[1, inf)", smoke=1024, book=40_960)
    batch: int = parameter(4, "windows a step", "[1, inf)")
    context: int = parameter(256, "tokens a window", "[2, inf)", smoke=64)
    lr: float = parameter(3e-4, "peak learning rate of AdamW", "(0, inf)", book=3e-3)
    precision: str = parameter("bfloat16", "of the matrix products", "{float32, bfloat16}")
    threads: int = parameter(1, "numeric threads; they change the last bits", "[1, 1024]")
    distil: float = parameter(0.0, "share of the divergence from the first model", "[0, 1]")
    local: float = parameter(0.0, "share of the steps that teach layer by layer, first", "[0, 1]")
    sparsity: float = parameter(0.0, "zeros that an L1 term aims at; 0: no such term", "[0, 1)")
    cuts: tuple[float, ...] = parameter(
        (0.7, 0.8, 0.9), "shares of zeros to cut the finished model's layers to", "(0, 1)"
    )
    points: int = parameter(10, "evaluations after the first", "[1, inf)", smoke=2, book=4)
    windows: int = parameter(24, "evaluated of each text", "[1, inf)", smoke=2, book=4)
    corpus_bytes: int = parameter(
        24_000_000,
        "of Python files whose docstrings are read",
        "[1, inf)",
        smoke=500_000,
        book=2_000_000,
    )

    def __post_init__(self) -> None:
        check(self)
        self.course  # noqa: B018 - refuses what it does not allow

    @property
    def course(self) -> Course:
        """What the training does."""
        steps = max(1, round(self.tokens / (self.batch * self.context)))
        return Course(
            self.arm,
            steps,
            self.batch,
            self.context,
            self.lr,
            precision=self.precision,
            seed=self.seed,
            distil=self.distil,
            local=self.local,
            sparsity=self.sparsity,
        )


def run(config: Config, progress: Progress | None = None) -> Result:
    """Fine-tune and return what was seen; an interrupted run goes on where it was.

    Every evaluation is with the arm's last activation: before the switch it tells what a switch
    then would cost. Tables: `training` (step, tokens, loss: nats, with the activation in force);
    `evaluation` (tokens, text, window, loss); `zeros` (tokens, layer, zeros: share, over the
    held-out docstrings); `cuts` (cut, zeros, loss: on the held-out docstrings, when in every layer
    the smallest activations are zero too, `cut` of all together: a threshold a layer, from the
    validation text); `summary`, one row: loss at the end by text and mean zeros. Texts:
    `validation` are docstrings of the packages trained on, `heldout` those of another package,
    `code` its source, which is out of domain.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _run(config, progress)
    finally:
        torch.set_num_threads(threads)


def finished(config: Config) -> tuple[PreTrainedModel, Any]:
    """Return the model that `run(config)` left, and its tokenizer; it is trained if need be."""
    model, tokenizer = load(config.model)
    texts = _texts(config, tokenizer)
    finetune(model, texts["train"], config.course, _state(config))
    return model, tokenizer


def _run(config: Config, progress: Progress | None) -> Result:
    model, tokenizer = load(config.model)
    texts = _texts(config, tokenizer)
    course = config.course
    each = course.batch * course.context

    def observe(model: PreTrainedModel, steps: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for text in TEXTS:
            found = evaluate(model, texts[text], config.windows, config.context, config.precision)
            about = {"tokens": steps * each, "text": text}
            rows += [about | {"window": w, "loss": v} for w, v in enumerate(found.losses.tolist())]
            if text == "heldout":
                rows += [
                    about | {"layer": n, "zeros": v} for n, v in enumerate(found.zeros.tolist())
                ]
        return rows

    points = {round(course.steps * k / config.points) for k in range(config.points + 1)}
    done = finetune(
        model,
        texts["train"],
        course,
        _state(config),
        observe=observe,
        observed_at=tuple(sorted(points)),
        progress=progress,
    )
    about: dict[str, Any] = {"arm": Arm.parse(config.arm).name}
    about |= {name: getattr(config, name) for name in ("distil", "local", "sparsity", "seed")}
    observed = pd.DataFrame([about | row for row in done.observed])
    evaluation = observed.dropna(subset=["loss"])[[*about, "tokens", "text", "window", "loss"]]
    zeros = observed.dropna(subset=["zeros"])[[*about, "tokens", "layer", "zeros"]]
    training = pd.DataFrame(
        [
            about | {"step": t, "tokens": (t + 1) * each, "loss": v}
            for t, v in enumerate(done.losses)
        ]
    )
    last = course.steps * each
    at_end = evaluation[evaluation["tokens"] == last].groupby("text")["loss"].mean()
    summary: dict[str, Any] = about | {"tokens": last} | {text: at_end[text] for text in TEXTS}
    summary["zeros"] = zeros.loc[zeros["tokens"] == last, "zeros"].mean()
    cut = [about | row for row in _cut(model, texts, config)]
    tables = {
        "cuts": pd.DataFrame(cut, columns=[*about, "cut", "zeros", "loss"]),
        "training": training,
        "evaluation": evaluation.astype({"window": int}),
        "zeros": zeros.astype({"layer": int}),
        "summary": pd.DataFrame([summary]),
    }
    return Result(tables, {"training_tokens": len(texts["train"]), "steps": course.steps})


def _cut(model: PreTrainedModel, texts: dict[str, Ids], config: Config) -> Iterator[dict[str, Any]]:
    """Evaluate with thresholds that make given shares of each layer's activations zero."""
    size = (config.windows, config.context, config.precision)
    found: list[list[Tensor]] = [[] for _ in layers(model)]
    with hooked(model, lambda index, y: found[index].append(y.abs().flatten().float())):
        evaluate(model, texts["validation"], min(4, config.windows), *size[1:])
    ordered = [torch.cat(parts).sort().values for parts in found]
    for cut in config.cuts:
        at = [float(values[int(cut * len(values))]) for values in ordered]

        def zeroed(index: int, y: Tensor, at: list[float] = at) -> Tensor:
            return torch.where(y.abs() < at[index], 0, y)

        with hooked(model, zeroed):
            seen = evaluate(model, texts["heldout"], *size)
        yield {"cut": cut, "zeros": seen.zeros.mean(), "loss": seen.loss}


def _texts(config: Config, tokenizer: Any) -> dict[str, Ids]:
    documents = list(PythonPackages(PACKAGES, HELD_OUT, config.corpus_bytes).documents())
    prose = list(docstrings(documents))
    kinds = {
        "train": [d for d in prose if d.split == "train"],
        "validation": [d for d in prose if d.split == "validation"],
        "heldout": [d for d in prose if d.split == "heldout"],
        "code": [d for d in documents if d.split == "heldout"],
    }
    needed = config.windows * config.context + 1
    return {
        text: tokens(found, tokenizer, None if text == "train" else needed)
        for text, found in kinds.items()
    }


def _state(config: Config) -> Path:
    """Where the run is kept: named by its values, and by the code that its weights come from."""
    text = json.dumps([asdict(config), science("stocha.hf.relufication")], sort_keys=True)
    return cache_root() / "hf" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.state"
