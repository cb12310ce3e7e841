"""One language model, trained with one arm and one seed, and everything recorded of it.

`run` is the experiment; the page that shows it is *One run, live*. Its tables are tidy, one row an
observation, each with the name of its arm.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stocha.activations import Activation, make, names
from stocha.arms import PARAMETERS, Arm, planned, switch_step
from stocha.base.parameters import check, parameter
from stocha.base.paths import cache_root
from stocha.base.result import Progress, Result
from stocha.lm import checkpoint, corpus, evaluation, probes, training
from stocha.lm import schedule as rates
from stocha.lm.config import ModelConfig, TrainConfig, taken
from stocha.lm.model import Decoder
from stocha.lm.tokenizer import byte_lengths
from stocha.lm.tokens import Tokens, tokenise

TRUNKS = ("silu", "relu", "stocha")
"""Activations whose checkpoints at the campaign's switches are kept for other runs."""

ALPHAS = (0.2, 0.1, 0.05)
GRID = 40
"""Times in a run, evenly spaced, at which the use of the context is measured."""

GRID_WINDOWS = 8
COSTS = (0.01, 0.03, 0.1)
"""Rises of the loss, nats, at which the sparsity that a threshold buys is read."""


@dataclass(frozen=True)
class Config:
    """What is trained and how it is measured; the defaults are the campaign's full scale.

    Raises ValueError for an impossible value, before any work.
    """

    activation: str = parameter("silu", "before any switch", f"{{{', '.join(names())}}}")
    schedule: str = parameter("swi_ft", "which activation when", "{constant, swi_ft, anneal}")
    after: str = parameter("relu", "swi_ft: the activation after the switch", "{relu, silu}")
    alpha: float = parameter(0.1, "swi_ft: share of the steps after the switch", "(0, 1)")
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    positive: str = parameter("identity", "StochA: reading of x >= 0", "{identity, silu, mixed}")
    granularity: str = parameter(
        "element", "StochA: what one draw covers", "{element, token, layer}"
    )
    draw: str = parameter(
        "sample",
        "StochA, trained and evaluated: drawn, or its mean",
        "{sample, expectation}",
    )
    threads: int = parameter(
        1, "numeric threads; another number changes the last bits", "[1, 1024]"
    )
    device: str = parameter("cpu", "auto: CUDA where there is one", "{auto, cpu, cuda}")
    seed: int = parameter(0, "of initialisation, data order and activation noise", "[0, inf)")
    lr: float = parameter(0.002, "peak learning rate of AdamW", "(0, inf)")
    lr_schedule: str = parameter("cosine", "after the warm-up", "{cosine, wsd}")
    warmup: int = parameter(50, "steps of warm-up", "[0, inf)", smoke=5, book=30)
    tokens: int = parameter(6_000_000, "to train on", "[1, inf)", smoke=20_480, book=1_228_800)
    batch: int = parameter(16, "sequences a step", "[1, inf)", smoke=8)
    context: int = parameter(256, "tokens a sequence", "[16, inf)", smoke=64, book=128)
    width: int = parameter(128, "of the residual stream", "[2, inf)", smoke=32, book=64)
    layers: int = parameter(4, "blocks", "[1, inf)", smoke=2, book=2)
    ffn: int = parameter(512, "neurons of a block's feed-forward", "[1, inf)", smoke=64, book=256)
    heads: int = parameter(2, "query heads", "[1, inf)")
    kv_heads: int = parameter(1, "key-value heads they share", "[1, inf)")
    vocabulary: int = parameter(2048, "tokens of the BPE", "[257, 65536]", smoke=512, book=1024)
    shifted_keys: bool = parameter(False, "half of each key is the previous position's")
    text: str = parameter("python", "Python files alone, or with prose", "{python, mixed}")
    corpus_bytes: int = parameter(
        24_000_000,
        "of text, what is held out apart",
        "[1, inf)",
        smoke=600_000,
        book=5_000_000,
    )
    windows: int = parameter(128, "contexts evaluated of each split", "[1, inf)", smoke=8, book=64)
    questions: int = parameter(200, "of each probe", "[1, inf)", smoke=8, book=100)

    def __post_init__(self) -> None:
        check(self)
        assert self.shape  # refuses widths that do not fit together
        total = self.optimisation.steps(self.context)
        if self.schedule != "constant" and self.arm.begins.learns:
            raise ValueError(
                f"activation={self.activation!r}: learns; allowed: with schedule=constant"
            )
        if self.schedule == "swi_ft" and not 0 < self.switch < total:
            raise ValueError(
                f"alpha={self.alpha:g}: none of {total} steps is left on one side of the switch"
            )

    @property
    def shape(self) -> ModelConfig:
        return taken(ModelConfig, self)

    @property
    def optimisation(self) -> TrainConfig:
        return taken(TrainConfig, self, schedule=self.lr_schedule)

    @property
    def steps(self) -> int:
        return self.optimisation.steps(self.context)

    @property
    def switch(self) -> int:
        """The first step after the switch; `steps` where there is none."""
        return switch_step(self.alpha, self.steps) if self.schedule == "swi_ft" else self.steps

    @property
    def plan(self) -> dict[str, float]:
        """How many steps there are, where the switch is, and what training is left after it.

        `lr_at_switch` is relative to the peak, `lr_share_after` to the sum over all steps.
        """
        total, switch, trained = self.steps, self.switch, self.optimisation
        return {
            "steps": total,
            "switch_step": switch,
            "steps_after": total - switch,
            "tokens_after": (total - switch) * self.batch * self.context,
            "lr_at_switch": rates.multiplier(min(switch, total - 1), total, trained),
            "lr_share_after": rates.share_after(switch, total, trained) if switch < total else 0.0,
        }

    @property
    def arm(self) -> Arm:
        return planned(**{name: getattr(self, name) for name in PARAMETERS})

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.name

    @property
    def source(self) -> corpus.Source:
        """The text, of pinned packages; one package of each kind is held out whole."""
        size, held_out = self.corpus_bytes, min(self.corpus_bytes, 1_500_000)
        validation = max(0.02, min(0.2, 200_000 / size))
        kind = corpus.CodeAndProse if self.text == "mixed" else corpus.PythonPackages
        return kind(max_bytes=size, max_held_out=held_out, validation=validation)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train, evaluate and return what is recorded of a run.

    Tables: `splits`, tokens of the corpus; `curve`, training loss (nats a token), gradient norm and
    learning rate, thinned, and every step near the switch (`dense`); `recall`, the use of the
    context over training (`evaluation.context_gain`); `switch_loss` and
    `switch_layers`, the evaluation at the steps after it; `evaluation`, losses of each split with
    each activation; `sparsity`, `union_sparsity`, `threshold`, the zeros; `probes`; `summary`, the
    campaign's row. Parameters: `progress`, called with (done, total, unit). Raises ValueError for
    an impossible configuration and `training.Diverged`. Chapter *One run, live*.
    """
    training.place(config.device)  # refuses one that is not there, before any work
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

        def windows(split: str, count: int) -> Tensor:
            return evaluation.windows(self.text.splits[split], config.context, count)

        self.held = {name: windows(name, config.windows) for name in list(self.text.splits)[1:]}
        self.near = windows("validation", max(2, config.windows // 4))
        # as many for every run: the rows of a shared beginning are kept
        self.few = windows("validation", GRID_WINDOWS)
        # made before training: impossible questions are refused before it
        code, length = self.text.splits["heldout"], min(160, config.context)
        prose = self.text.splits.get("prose", code)
        reader, count = self.text.tokenizer, config.questions
        self.asked = probes.items(code, reader, count, length)
        self.asked += probes.graded(code, prose, reader, count, length)
        self.trainer = self._trainer(progress)

    def result(self) -> Result:
        self.trainer.train()
        self.model = self.trainer.model
        self.final = self.model.activations  # what they learn is the model's
        self.forms: dict[str, evaluation.Use] = {"own": self.final, "relu": make("relu")}
        sizes = {split: len(ids) for split, ids in self.text.splits.items()}
        few = self.held["validation"][: max(2, self.config.windows // 8)]
        cuts = [0.0, *np.geomspace(0.003, 0.3, 9)]
        tables = {
            "splits": pd.DataFrame({"split": sizes.keys(), "tokens": sizes.values()}),
            "curve": self._curve(),
            "recall": self._recall(),
            **self._switch(),
            "evaluation": self._evaluation(),
            **self._zeros(),
            "threshold": pd.DataFrame(
                evaluation.threshold_curve(self.model, few, self.final, cuts)
            ),
            "probes": pd.DataFrame(
                {"form": form, **probes.score(self.model, probe, used)}
                for probe in self.asked
                for form, used in self.forms.items()
            ),
        }
        metrics = self._metrics(tables)
        scores = tables["evaluation"].query("split == 'validation'").set_index("form")
        row = {
            "loss": metrics["val_loss"],
            "bits_per_byte": scores.loc["own", "bits_per_byte"],
            "heldout_loss": metrics["heldout_loss"],
            "relu_loss": scores.loc["relu", "loss"],
            "recall_loss": scores.loc["own", "recall_loss"],
            "other_loss": scores.loc["own", "other_loss"],
        }
        kept = ("sparsity", "steps_after", "lr_share_after", "corpus")
        tables["summary"] = pd.DataFrame([row | {name: metrics[name] for name in kept}])
        named = {name: table.assign(arm=self.config.name) for name, table in tables.items()}
        return Result(named, metrics)

    def _trainer(self, progress: Progress) -> training.Run:
        config, total, switch = self.config, self.config.steps, self.config.switch
        self.grid = frozenset(total * k // GRID for k in range(GRID))
        trunk = config.activation in TRUNKS
        marks = [switch_step(alpha, total) for alpha in ALPHAS] if trunk else []
        offsets = [0, *(2**k for k in range(20))]
        return training.Run(
            config.shape,
            config.optimisation,
            config.arm,
            self.text,
            checkpoint.Store(cache_root() / "lm"),
            boundaries=sorted({*(mark for mark in marks if mark <= switch), switch}),
            watch=self._watch,
            watch_steps=self.grid | {switch + k for k in offsets if switch + k < total},
            progress=lambda done, steps: progress(done, steps, "steps"),
            device=config.device,
        )

    def _watch(self, model: Decoder, step: int) -> list[dict[str, Any]]:
        """Evaluate the model at the steps of the grid, and a few steps after the switch."""
        arm, total, after = self.config.arm, self.config.steps, step - self.config.switch
        gained = [evaluation.context_gain(model, self.few)] if step in self.grid else []
        if after < 0 or after & (after - 1):  # neither 0 nor a power of 2
            return gained
        rows: list[dict[str, Any]] = [{"after": after, "loss": self._loss(model)}]
        if after == 0:
            before = arm.activation_at(step - 1, total)
            rows.insert(0, {"after": -1, "loss": self._loss(model, before)})
        found = evaluation.sparsity(evaluation.zeros(model, self.near))
        for row, norms in zip(found, evaluation.gradient_norms(model), strict=True):
            row |= norms
        return gained + rows + [{"after": after, **row} for row in found]

    def _loss(self, model: Decoder, activation: Activation | None = None) -> float:
        return evaluation.score(model, self.near, self.sizes, activation)["loss"]

    def _curve(self) -> pd.DataFrame:
        config, total, switch = self.config, self.config.steps, self.config.switch
        log, trained = self.trainer.record, config.optimisation
        curve = pd.DataFrame(
            {"step": np.arange(total), "loss": log.loss, "grad_norm": log.grad_norm}
        )
        curve["lr"] = [config.lr * rates.multiplier(t, total, trained) for t in range(total)]
        close = (curve["step"] - switch).abs() <= 32 if switch < total else curve["step"] < 0
        thin = curve.groupby(curve["step"] // max(1, total // 200)).mean().assign(dense=False)
        both = pd.concat([thin, curve[close].assign(dense=True)]).sort_values(["dense", "step"])
        both["tokens"] = (both["step"] * config.batch * config.context).astype(int)
        return both

    def _recall(self) -> pd.DataFrame:
        rows = [row for row in self.trainer.record.watched if "gain" in row]
        last = evaluation.context_gain(self.model, self.few, self.final)
        table = pd.DataFrame([*rows, {"step": self.config.steps, **last}])
        table["tokens"] = table["step"] * self.config.batch * self.config.context
        return table

    def _switch(self) -> dict[str, pd.DataFrame]:
        rows = [row for row in self.trainer.record.watched if "after" in row]
        columns = ["step", "after", "layer", "grad_norm", "sparsity", "q05", "q50", "q95", "dead"]
        losses = pd.DataFrame([row for row in rows if "layer" not in row])
        layers = pd.DataFrame([row for row in rows if "layer" in row], columns=columns)
        return {"switch_loss": losses, "switch_layers": layers} if rows else {}

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
        for form, used in self.forms.items():
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

    def _metrics(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        config, log = self.config, self.trainer.record
        own = tables["evaluation"].query("form == 'own'").set_index("split")["loss"]
        recall, zeros = tables["recall"], tables["sparsity"].groupby("form")
        cut = [
            {str(name): value for name, value in row.items()}
            for row in tables["threshold"].to_dict("records")
        ]
        asked = tables["probes"].query("form == 'own'").set_index("probe")
        return {
            "parameters": config.shape.parameters,
            "device": self.trainer.place.device.type,
            **config.plan,
            "corpus": self.text.hash,
            "train_seconds": log.seconds,
            "tokens_per_second": config.steps * config.batch * config.context / log.seconds,
            "transition_step": evaluation.transition(
                recall["step"].tolist(), recall["gain"].tolist()
            ),
            "context_gain": recall["gain"].iloc[-1],
            "val_loss": own["validation"],
            "heldout_loss": own["heldout"],
            "train_loss": float(np.mean(log.loss[-max(1, config.steps // 50) :])),
            "sparsity": zeros["sparsity"].mean()["own"],
            "sparsity_relu": zeros["sparsity"].mean()["relu"],
            "dead": zeros["dead"].mean()["own"],
            **{f"sparsity_at_{cost}": evaluation.sparsity_at_cost(cut, cost) for cost in COSTS},
            **{
                f"{probe}_{what}": asked.loc[probe, what]
                for probe in asked.index
                for what in ("accuracy", "margin")
            },
        }


def _text(config: Config, progress: Progress) -> Tokens:
    text = tokenise(
        config.source,
        config.vocabulary,
        cache_root(),
        progress=lambda done, documents: progress(done, documents, "documents"),
    )
    if missing := {"train", "validation", "heldout"} - set(text.splits):
        raise ValueError(
            f"corpus_bytes={config.corpus_bytes}: no text is left for {', '.join(missing)}"
        )
    return text
