"""How long the toy study takes: the ensemble against the plain loop, and where a step's time goes.

`python -m stocha.toy.speed results/toy_speed.csv` measures the whole study in pieces, one
activation of the plain loop and one study of the ensemble at a time, and appends each piece to the
table; what is there already is not measured again, and a second argument limits the pieces of one
call. Chapter 41_performance.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.timing import Call, one_thread, time_rounds
from stocha.toy import ensemble, reference
from stocha.toy.config import ToyConfig
from stocha.toy.data import make_data
from stocha.toy.fast.adam import FlatAdam
from stocha.toy.fast.step import Step
from stocha.toy.pool import training_pool
from stocha.toy.records import History, gate_statistics

ACTIVATIONS = ("relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch")
"""The post's five, in its order."""
ARMS = [name if name != "stocha" else "stocha(0.5,positive=mixed)" for name in ACTIVATIONS]


@dataclass(frozen=True)
class Config:
    """How much of the study is measured, and how often its small parts."""

    epochs: int = parameter(
        10, "epochs measured, of the study's hundred", "[1, 100]", smoke=1, book=3
    )
    runs: int = parameter(10, "networks of each activation", "[1, inf)", smoke=2)
    repeats: int = parameter(
        200, "repetitions of each small measurement", "[1, inf)", smoke=2, book=100
    )
    workers: int = parameter(2, "processes, one a core, for both ways", "[1, inf)", smoke=1)

    def __post_init__(self) -> None:
        check(self)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Measure the study's first epochs both ways, and one step by its parts and decisions.

    Returns tables `live` (as `time_reference` and `time_ensemble` give them), `parts` (activation
    and microseconds a step of each part) and `decisions` (decision, microseconds of what one would
    write first and of what is kept, ratio).
    """
    toy = ToyConfig(epochs=config.epochs, runs=config.runs)
    configs = [replace(toy, arm=arm) for arm in ARMS]
    with training_pool(config.workers) as pool:
        # Every process compiles and imports before anything counts, what the plain loop needs too:
        # torch's first optimizer in a process takes seconds, a hundred times the ensemble's epochs.
        short = [replace(each, epochs=1) for each in configs] * config.workers
        list(pool.map(ensemble.train, short))
        list(pool.map(reference.train_run, short, [0] * len(short)))
        live = [time_ensemble(configs, pool)]
        for done, each in enumerate(configs, start=1):
            live.append(time_reference(each, pool))
            if progress:
                progress(done, len(configs), "activations")
    full = ToyConfig(runs=config.runs)
    steps = max(config.repeats // 2, 2)
    with one_thread():
        parts = [{"activation": a, **_parts(full, a, steps)} for a in ACTIVATIONS]
        measured = {
            name: [_microseconds(way, config.repeats) for way in ways]
            for name, ways in _decisions(full).items()
        }
    decisions = pd.DataFrame.from_dict(measured, "index", columns=["first / µs", "kept / µs"])
    decisions["ratio"] = decisions["first / µs"] / decisions["kept / µs"]
    tables = {"live": pd.concat(live, ignore_index=True), "parts": pd.DataFrame(parts)}
    return Result(tables | {"decisions": decisions.rename_axis("decision").reset_index()})


def _prepared(config: ToyConfig, activation: str) -> tuple[Any, ...]:
    config = replace(config, arm=ARMS[ACTIVATIONS.index(activation)])
    network = ensemble.Ensemble(config)
    network.train()
    learnt = [*network.weights, *network.biases, *network.activations.parameters()]
    adam = FlatAdam(learnt, 1e-3, 0.01)  # it also makes the gradients' memory
    return config, network, make_data(config), ensemble.RunNoise(config), adam


def _parts(config: ToyConfig, activation: str, steps: int) -> dict[str, float]:
    """Median microseconds of each part of a step: the training loop with a clock between lines."""
    config, network, data, noise, adam = _prepared(config, activation)
    step = Step(list(network.weights), list(network.biases))
    gradients = ensemble.by_kernels(network, data)
    assert gradients is not None
    history, batch = History(config, config.run_seeds), config.batch_size
    in_force = network.activations.in_force
    x = np.zeros((config.runs, config.features, batch), np.float32)
    ticks = []
    for number in range(steps + 2):
        t = [time.perf_counter()]
        order = ensemble.epoch_order(config, 1, config.train_samples)
        t.append(time.perf_counter())
        if in_force[0].stochastic:
            for layer in range(len(config.widths)):
                noise.at(number)(layer)
        t.append(time.perf_counter())
        step.forward(x, in_force, noise.at(number))
        t.append(time.perf_counter())
        gradients(order[:, :batch], noise.at(number))
        t.append(time.perf_counter())
        adam.step()
        t.append(time.perf_counter())
        ensemble.validate(network, data, noise.at("validation", 0), history, 1)
        network.train()
        t.append(time.perf_counter())
        ticks.append(np.diff(t) * 1e6)
    shuffling, seeding, forward, whole, update, recording = map(float, np.median(ticks[2:], axis=0))
    return {
        "seeding the noise": seeding,
        "forward": forward - seeding,
        "gathering and backward": whole - forward,
        "Adam": update,
        "shuffling": shuffling / config.steps_per_epoch,
        "recording": recording / config.steps_per_epoch,
    }


def _microseconds(way: Call, repeats: int) -> float:
    return float(time_rounds({"way": way}, repeats, warm=2)["seconds"].median() * 1e6)


def _decisions(config: ToyConfig) -> dict[str, tuple[Call, Call]]:
    """What one would write first, and what the ensemble does, by the name of the decision."""
    draw, runs = torch.Generator().manual_seed(0), config.runs
    rows, weight, bias, hidden, square, scores = (
        torch.randn(runs, *shape, generator=draw)
        for shape in ((128, 30), (4, 30), (4, 1), (4, 128), (4, 4), (2, 1000))
    )
    logits, alpha = scores.mT, torch.rand(runs, 1000, 4, generator=draw)
    levels, data = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]), make_data(config)
    order = ensemble.epoch_order(config, 1, config.train_samples)
    flat = _adam_step(config, None)
    found: dict[str, tuple[Call, Call]] = {
        "Adam over a list of parameters → one flat buffer": (_adam_step(config, {}), flat),
        "Adam, foreach → one flat buffer": (_adam_step(config, {"foreach": True}), flat),
        "Adam, fused → one flat buffer": (_adam_step(config, {"fused": True}), flat),
        "hidden layer, batch first → batch last": (
            _differentiated(lambda h: torch.baddbmm(bias.mT, h, square.mT), hidden.mT.contiguous()),
            _differentiated(lambda h: torch.baddbmm(bias, square, h), hidden),
        ),
        "first layer, batch first → transposed view": (
            lambda: torch.baddbmm(bias.mT, rows, weight.mT),
            lambda: torch.baddbmm(bias, weight, rows.mT),
        ),
    }
    for activation in ("relu", "stocha", "learnable_stoch", "gumbel_stoch"):
        _, network, own, noise, _ = _prepared(config, activation)
        ways = ensemble.by_autograd(network, own), ensemble.by_kernels(network, own)
        found[f"a step of {activation}, autograd → kernels"] = tuple(
            lambda way=way, noise=noise: way(order[:, :128], noise.at(0)) for way in ways
        )  # type: ignore[assignment]
    return found | {
        "an epoch's samples, x[order] → index_select": (
            lambda: data.x_train[order],
            lambda: data.x_train.index_select(0, order.flatten()),
        ),
        "predicted class, argmax → max": (
            lambda: logits.argmax(-1),
            lambda: logits.max(-1).indices,
        ),
        "quantiles of α, torch.quantile → sort in numpy": (
            lambda: torch.quantile(alpha.flatten(1), levels, dim=1),
            lambda: gate_statistics(alpha),
        ),
    }


def _adam_step(config: ToyConfig, how: dict[str, Any] | None) -> Call:
    """One optimizer step of the ReLU ensemble, by torch's Adam or (None) by the flat one."""
    network = ensemble.Ensemble(config)
    parameters = [*network.weights, *network.biases]
    if how is None:
        return FlatAdam(parameters, 1e-3, 0.01).step
    for each in parameters:
        each.grad = torch.zeros_like(each)
    return torch.optim.Adam(parameters, 1e-3, weight_decay=0.01, **how).step


def _differentiated(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Call:
    x = x.detach().requires_grad_()
    slope = torch.ones_like(function(x))
    return lambda: torch.autograd.backward(function(x), slope)


def time_reference(config: ToyConfig, pool: Executor) -> pd.DataFrame:
    """Time the plain loop over all runs of `config`; one row: method, activation, seconds, busy.

    `seconds` is wall time with the processes of `pool` running already, `busy` the sum of what each
    run took in its process.
    """
    began = time.perf_counter()
    runs = list(pool.map(reference.train_run, [config] * config.runs, config.run_seeds))
    return _row("reference", config.activation, config, time.perf_counter() - began, runs)


def time_ensemble(configs: Sequence[ToyConfig], pool: Executor) -> pd.DataFrame:
    """Time the ensemble over all of `configs` at once; one row, and one for each activation.

    The activations' rows have their `busy` time only: they share the processes.
    """
    began = time.perf_counter()
    histories = [future.result() for future in ensemble.submit_all(configs, pool)]
    rows = [_row("ensemble", "all", configs[0], time.perf_counter() - began, histories)]
    rows += [_row("ensemble", h.config.activation, h.config, float("nan"), [h]) for h in histories]
    return pd.concat(rows, ignore_index=True)


def _row(
    method: str,
    activation: str,
    config: ToyConfig,
    seconds: float,
    histories: Sequence[History],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": [method],
            "activation": activation,
            "epochs": config.epochs,
            "runs": config.runs,
            "seconds": seconds,
            "busy": sum(h.seconds for h in histories),
        }
    )


def record(path: Path, config: ToyConfig, workers: int, most: int = len(ACTIVATIONS)) -> None:
    """Measure at most `most` pieces that `path` does not have yet; append each when it is done."""
    configs = [replace(config, arm=arm) for arm in ARMS]
    done = set(pd.read_csv(path)["piece"]) if path.is_file() else set()
    missing = [each for each in configs if each.activation not in done]
    began = time.perf_counter()
    with training_pool(workers) as pool:
        start = time.perf_counter() - began
        for each in missing[:most]:
            # one study of the ensemble beside every piece of the loop: what the machine does
            # meanwhile meets both
            pair = pd.concat([time_reference(each, pool), time_ensemble(configs, pool)])
            pair.insert(0, "piece", each.activation)
            pair["start"] = start
            pair["workers"] = workers
            pair.to_csv(path, mode="a", header=not path.is_file(), index=False, float_format="%.4g")
            print(pair.to_string(index=False), flush=True)
    write_machine(path, {"epochs": config.epochs, "runs": config.runs, "workers": workers})


def write_machine(path: Path, config: dict[str, Any]) -> None:
    """Write what the table at `path` was measured on, and how, beside it as JSON."""
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "config": config,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    path.with_suffix(".json").write_text(json.dumps(machine, indent=2) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]), ToyConfig(), 2, *map(int, sys.argv[2:]))
