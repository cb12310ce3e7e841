"""What it costs to exchange the activation of a pretrained model whose weights stay as they are.

`run` is the experiment; the page that shows it is *A pretrained model*.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.hf.evaluation import evaluate
from stocha.hf.exchange import use
from stocha.hf.pretrained import load
from stocha.hf.text import docstrings, tokens
from stocha.lm.corpus import HELD_OUT, PythonPackages


@dataclass(frozen=True)
class Config:
    """What is evaluated on which text."""

    model: str = parameter(
        "smollm2", "whose weights stay", "{smollm2, random}", smoke="random", book="random"
    )
    activations: tuple[str, ...] = parameter(
        ("silu", "relu", "stocha(0.3)", "stocha(0.5)", "stocha(0.7)", "stocha(0.9)"),
        "put in the place of its own, with their options",
    )
    draws: int = parameter(2, "evaluations of an activation that draws", "[1, inf)", smoke=1)
    tokens: int = parameter(
        8192, "of held-out docstrings to predict", "[1, inf)", smoke=512, book=1024
    )
    context: int = parameter(256, "tokens a window", "[2, inf)")
    precision: str = parameter("bfloat16", "of the matrix products", "{float32, bfloat16}")
    threads: int = parameter(1, "numeric threads; they change the last bits", "[1, 1024]")

    def __post_init__(self) -> None:
        check(self)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Return loss by window and zeros by layer of the model with each activation.

    Tables: `losses` (activation, draw, window, loss in nats a token), `zeros` (activation, draw,
    layer, share of zeros), `layers` in the model's order. The text is the docstrings of a package
    that no training of this study reads.
    """
    model, tokenizer = load(config.model)
    documents = PythonPackages(packages=(), held_out=HELD_OUT).documents()
    ids = tokens(docstrings(documents), tokenizer, config.tokens + config.context + 1)
    windows = max(1, config.tokens // config.context)
    losses: list[dict[str, Any]] = []
    zeros: list[dict[str, Any]] = []
    todo = [(name, draw) for name in config.activations for draw in range(config.draws)]
    todo = [(name, draw) for name, draw in todo if draw == 0 or "stoch" in name]
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        for index, (name, draw) in enumerate(todo):
            use(model, name, seed=draw)

            def report(done: int, total: int, unit: str, before: int = index) -> None:
                if progress is not None:
                    progress(before * total + done, len(todo) * total, unit)

            found = evaluate(model, ids, windows, config.context, config.precision, report)
            about = {"activation": name, "draw": draw}
            losses += [about | {"window": w, "loss": v} for w, v in enumerate(found.losses)]
            zeros += [about | {"layer": n, "zeros": v} for n, v in enumerate(found.zeros)]
    finally:
        torch.set_num_threads(threads)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Result(
        {"losses": pd.DataFrame(losses), "zeros": pd.DataFrame(zeros)},
        {"parameters": parameters, "tokens": windows * config.context},
    )
