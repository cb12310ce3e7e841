"""One language model, trained with one arm and one seed: everything that the campaign records of it.

`run` is the experiment; the page that shows it is *One run, live*. Its tables are tidy, one row an
observation, each with the name of its arm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stocha import switching
from stocha.activations import Activation, make
from stocha.base.result import Progress, Result
from stocha.lm import checkpoint, corpus, evaluation, probes, training
from stocha.lm import schedule as rates
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.model import Decoder
from stocha.lm.tokenizer import byte_lengths
from stocha.lm.tokens import Tokens, tokenise

TRUNKS = ("silu", "relu", "stocha")
"""Activations whose checkpoints at the campaign's switches are kept for other runs."""

ALPHAS = (0.2, 0.1, 0.05)
COSTS = (0.01, 0.03, 0.1)
"""Rises of the loss, nats, at which the sparsity that a threshold buys is read."""


@dataclass(frozen=True)
class Config:
    """What is trained and how it is measured; the defaults are the campaign's full scale.

    Raises ValueError for an impossible value, before any work.
    """

    activation: str = "silu"
    schedule: str = "swi_ft"
    after: str = "relu"
    alpha: float = 0.1
    p: float = 0.5
    positive: str = "identity"
    granularity: str = "element"
    draw: str = "sample"
    threads: int = 1
    seed: int = 0
    lr: float = 0.002
    lr_schedule: str = "cosine"
    warmup: int = 50
    tokens: int = 6_000_000
    batch: int = 16
    context: int = 256
    width: int = 128
    layers: int = 4
    ffn: int = 512
    heads: int = 2
    kv_heads: int = 1
    vocabulary: int = 2048
    corpus_bytes: int = 24_000_000
    windows: int = 128
    questions: int = 200

    def __post_init__(self) -> None:
        total = self.training.steps(self.context)
        if self.schedule == "swi_ft" and not 0 < self.switch < total:
            raise ValueError(
                f"alpha={self.alpha:g}: none of {total} steps is left on one side of the switch"
            )

    @property
    def shape(self) -> ModelConfig:
        return ModelConfig(
            vocabulary=self.vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            ffn=self.ffn,
            context=self.context,
        )

    @property
    def training(self) -> TrainConfig:
        return TrainConfig(
            tokens=self.tokens,
            batch=self.batch,
            lr=self.lr,
            schedule=self.lr_schedule,
            warmup=self.warmup,
            seed=self.seed,
        )

    @property
    def steps(self) -> int:
        return self.training.steps(self.context)

    @property
    def switch(self) -> int:
        """The first step after the switch; `steps` where there is none."""
        if self.schedule != "swi_ft":
            return self.steps
        return switching.switch_step(self.alpha, self.steps)

    @property
    def arm(self) -> training.Arm:
        plans = {
            "constant": lambda: switching.constant(self.activation, self.p),
            "swi_ft": lambda: switching.swi_ft(self.alpha, self.activation, self.after, self.p),
            "anneal": lambda: switching.anneal("linear"),
        }
        return training.Arm(plans[self.schedule](), self.positive, self.granularity, self.draw)

    @property
    def name(self) -> str:
        """The arm's name."""
        drawn = {"sample": "stocha", "expectation": "expected"}[self.draw]
        before = f"{drawn}({self.p:g})" if self.activation == "stocha" else self.activation
        ending = f"+ft({self.alpha:g})" if self.after == "relu" else f"+{self.after}({self.alpha:g})"
        return {"constant": before, "swi_ft": before + ending, "anneal": "anneal"}[self.schedule]

    @property
    def source(self) -> corpus.Source:
        """The text: Python files of pinned packages, one package held out whole."""
        return corpus.PythonPackages(
            max_bytes=self.corpus_bytes,
            max_held_out=min(self.corpus_bytes, 1_500_000),
            validation=max(0.02, min(0.2, 200_000 / self.corpus_bytes)),
        )


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train, evaluate and return what is recorded of a run.

    Tables: `splits`, tokens of the corpus; `curve`, training loss (nats a token), gradient norm and
    learning rate, thinned, and every step near the switch (`dense`); `switch_loss` and
    `switch_layers`, the evaluation at the steps after it; `evaluation`, losses of each split with
    each activation; `sparsity`, `union_sparsity`, `threshold`, the zeros; `probes`; `summary`, the
    campaign's row. Parameters: `progress`, called with (done, total, unit). Raises ValueError for
    an impossible configuration and `training.Diverged`. Chapter *One run, live*.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    training.keep_heap()
    try:
        return _Run(config, progress or (lambda done, total, unit: None)).result()
    finally:
        torch.set_num_threads(threads)


class _Run:
    """The parts of one run, each a table or a few."""

    def __init__(self, config: Config, progress: Progress) -> None:
        self.config = config
        self.text = _text(config, progress)
        self.sizes = byte_lengths(self.text.tokenizer)
        self.held = {split: self._windows(split, config.windows) for split in corpus.SPLITS[1:]}
        self.near = self._windows("validation", max(2, config.windows // 4))
        # made before training: impossible questions are refused before it
        self.asked = probes.items(
            self.text.splits["heldout"],
            self.text.tokenizer,
            config.questions,
            min(160, config.context),
        )
        self.trainer = self._trainer(progress)

    def result(self) -> Result:
        self.trainer.train()
        self.model = self.trainer.model
        arm, last = self.config.arm, self.config.steps - 1
        self.final = arm.activation(arm.schedule.at(last, self.config.steps))
        tables = {
            "splits": _splits(self.text),
            "curve": self._curve(),
            **self._switch(),
            "evaluation": self._evaluation(),
            **self._zeros(),
            "threshold": self._threshold(),
            "probes": self._probes(),
        }
        metrics = self._metrics(tables)
        tables["summary"] = self._summary(tables, metrics)
        named = {name: table.assign(arm=self.config.name) for name, table in tables.items()}
        return Result(named, metrics)

    def _windows(self, split: str, count: int) -> Tensor:
        return evaluation.windows(self.text.splits[split], self.config.context, count)

    def _trainer(self, progress: Progress) -> training.Run:
        config, total, switch = self.config, self.config.steps, self.config.switch
        trunk = config.activation in TRUNKS
        marks = [switching.switch_step(alpha, total) for alpha in ALPHAS] if trunk else []
        offsets = [0, *(2**k for k in range(20))]
        return training.Run(
            config.shape,
            config.training,
            config.arm,
            self.text,
            checkpoint.Store(checkpoint.folder() / "lm"),
            boundaries=sorted({*(mark for mark in marks if mark <= switch), switch}),
            watch=self._watch,
            watch_steps=frozenset(switch + k for k in offsets if switch + k < total),
            progress=lambda done, steps: progress(done, steps, "steps"),
        )

    def _watch(self, model: Decoder, step: int) -> list[dict[str, Any]]:
        """Evaluate the model a few steps after the switch."""
        arm, total, after = self.config.arm, self.config.steps, step - self.config.switch
        rows = [{"after": after, "loss": self._loss(model)}]
        if after == 0:
            before = arm.activation(arm.schedule.at(step - 1, total))
            rows.insert(0, {"after": -1, "loss": self._loss(model, before)})
        found = evaluation.sparsity(evaluation.zeros(model, self.near))
        for row, norms in zip(found, evaluation.gradient_norms(model), strict=True):
            row |= norms
        return rows + [{"after": after, **row} for row in found]

    def _loss(self, model: Decoder, activation: Activation | None = None) -> float:
        return evaluation.score(model, self.near, self.sizes, activation)["loss"]

    def _curve(self) -> pd.DataFrame:
        config, total, switch = self.config, self.config.steps, self.config.switch
        log = self.trainer.record
        curve = pd.DataFrame(
            {"step": np.arange(total), "loss": log.loss, "grad_norm": log.grad_norm}
        )
        curve["lr"] = [
            config.lr * rates.multiplier(t, total, config.training) for t in range(total)
        ]
        close = (curve["step"] - switch).abs() <= 32 if switch < total else curve["step"] < 0
        thin = curve.groupby(curve["step"] // max(1, total // 200)).mean().assign(dense=False)
        both = pd.concat([thin, curve[close].assign(dense=True)]).sort_values(["dense", "step"])
        both["tokens"] = (both["step"] * config.batch * config.context).astype(int)
        return both

    def _switch(self) -> dict[str, pd.DataFrame]:
        rows = self.trainer.record.watched
        losses = pd.DataFrame([row for row in rows if "layer" not in row])
        layers = pd.DataFrame([row for row in rows if "layer" in row])
        if not rows:
            return {}
        columns = ["step", "after", "layer", "grad_norm", "sparsity", "q05", "q50", "q95", "dead"]
        return {
            "switch_loss": losses[["step", "after", "loss"]],
            "switch_layers": layers[columns],
        }

    def _evaluation(self) -> pd.DataFrame:
        config = self.config
        choices = evaluation.choices(config.p, config.positive, config.granularity)
        return pd.DataFrame(
            {
                "split": split,
                "form": form,
                **evaluation.score(self.model, ids, self.sizes, used),
            }
            for split, ids in self.held.items()
            for form, used in ({"own": self.final} | choices).items()
        )

    def _zeros(self) -> dict[str, pd.DataFrame]:
        sample = self.held["validation"][: max(2, self.config.windows // 2)]
        parts, unions = [], []
        for form, used in {"own": self.final, "relu": make("relu")}.items():
            zero = evaluation.zeros(self.model, sample, used)
            parts.append(pd.DataFrame(evaluation.sparsity(zero)).assign(form=form))
            spans = [k for k in (1, 2, 4, 8, 16, 32) if k <= len(sample)]
            strides = {"consecutive tokens": 1, "windows": self.config.context}
            unions += [
                pd.DataFrame(evaluation.union_sparsity(zero, spans, stride)).assign(
                    form=form, among=among
                )
                for among, stride in strides.items()
            ]
        return {"sparsity": pd.concat(parts), "union_sparsity": pd.concat(unions)}

    def _threshold(self) -> pd.DataFrame:
        few = self.held["validation"][: max(2, self.config.windows // 8)]
        cuts = [0.0, *np.geomspace(0.003, 0.3, 9)]
        return pd.DataFrame(evaluation.threshold_curve(self.model, few, self.final, cuts))

    def _probes(self) -> pd.DataFrame:
        forms = {"own": self.final, "relu": make("relu")}
        return pd.DataFrame(
            {"form": form, **probes.score(self.model, probe, used)}
            for probe in self.asked
            for form, used in forms.items()
        )

    def _metrics(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        config, total, switch = self.config, self.config.steps, self.config.switch
        log, trained = self.trainer.record, config.training
        own = tables["evaluation"].query("form == 'own'").set_index("split")["loss"]
        zeros = tables["sparsity"].groupby("form")
        cut = tables["threshold"].to_dict("records")
        asked = tables["probes"].query("form == 'own'").set_index("probe")
        return {
            "steps": total,
            "parameters": config.shape.parameters,
            "switch_step": switch,
            "steps_after": total - switch,
            "tokens_after": (total - switch) * config.batch * config.context,
            "lr_at_switch": rates.multiplier(min(switch, total - 1), total, trained),
            "lr_share_after": rates.share_after(switch, total, trained) if switch < total else 0.0,
            "corpus": self.text.hash,
            "train_seconds": log.seconds,
            "tokens_per_second": total * config.batch * config.context / log.seconds,
            "val_loss": own["validation"],
            "heldout_loss": own["heldout"],
            "train_loss": float(np.mean(log.loss[-max(1, total // 50) :])),
            "sparsity": zeros["sparsity"].mean()["own"],
            "sparsity_relu": zeros["sparsity"].mean()["relu"],
            "dead": zeros["dead"].mean()["own"],
            **{f"sparsity_at_{cost}": evaluation.sparsity_at_cost(cut, cost) for cost in COSTS},
            **{f"{probe}_{what}": asked.loc[probe, what] for probe in asked.index for what in ("accuracy", "margin")},
        }

    def _summary(
        self, tables: dict[str, pd.DataFrame], metrics: dict[str, Any]
    ) -> pd.DataFrame:
        scores = tables["evaluation"].query("split == 'validation'").set_index("form")
        kept = ("sparsity", "steps_after", "lr_share_after", "corpus")
        row = {
            "loss": metrics["val_loss"],
            "bits_per_byte": scores.loc["own", "bits_per_byte"],
            "heldout_loss": metrics["heldout_loss"],
            "relu_loss": scores.loc["relu", "loss"],
        }
        return pd.DataFrame([row | {name: metrics[name] for name in kept}])


def _text(config: Config, progress: Progress) -> Tokens:
    text = tokenise(
        config.source,
        config.vocabulary,
        checkpoint.folder(),
        progress=lambda done, documents: progress(done, documents, "documents"),
    )
    if missing := set(corpus.SPLITS) - set(text.splits):
        raise ValueError(
            f"corpus_bytes={config.corpus_bytes}: no text is left for {', '.join(missing)}"
        )
    return text


def _splits(text: Tokens) -> pd.DataFrame:
    counts = text.manifest["tokens"]
    return pd.DataFrame({"split": counts.keys(), "tokens": counts.values()})
