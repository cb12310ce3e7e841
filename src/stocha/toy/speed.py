"""How long the toy study takes: the ensemble against the plain loop, with the same processes.

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
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from stocha.toy import ensemble, reference
from stocha.toy.config import ToyConfig
from stocha.toy.pool import training_pool
from stocha.toy.records import History

ACTIVATIONS = ("relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch")
"""The post's five, in its order."""
ARMS = [name if name != "stocha" else "stocha(0.5,positive=mixed)" for name in ACTIVATIONS]


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
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "config": {"epochs": config.epochs, "runs": config.runs, "workers": workers},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    path.with_suffix(".json").write_text(json.dumps(machine, indent=2) + "\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]), ToyConfig(), 2, *map(int, sys.argv[2:]))
