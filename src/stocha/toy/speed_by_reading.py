"""How long a training step takes under each reading of the search, three ways.

`python -m stocha.toy.speed_by_reading results/toy_speed_by_reading.csv` measures all of it on one
core, in some four minutes; with `smoke` after the path, a little of it. Chapter 41_performance.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from stocha.arms import Constant
from stocha.base.parameters import at_scale, check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import generator
from stocha.base.timing import Call, one_thread, time_rounds
from stocha.toy import ensemble, reference
from stocha.toy.config import ToyConfig
from stocha.toy.data import ToyData, make_data
from stocha.toy.fast.adam import FlatAdam
from stocha.toy.readings import ACTIVATIONS, ALL, Reading
from stocha.toy.speed import write_machine


@dataclass(frozen=True)
class Config:
    """How much is measured."""

    runs: int = parameter(20, "networks stacked, as in the search", "[1, inf)", smoke=2)
    rounds: int = parameter(8, "counted steps of each way", "[1, inf)", smoke=1)
    wide: tuple[int, ...] = parameter(
        (16, 30, 64), "units of the layers beside the narrow ones", "[1, inf)", smoke=(16,)
    )

    def __post_init__(self) -> None:
        check(self)

    def readings(self) -> Iterator[Reading]:
        """The readings of `sweeps/toy_readings.yml` whose steps are not the same work."""
        for gate_input, optimizer, draw in product(
            ("element", "layer"), ("adam", "adamw"), ("all", "below")
        ):
            own: dict[str, Any] = {
                "optimizer": optimizer,
                "gate_input": gate_input,
                "runs": self.runs,
            }
            yield Reading(draw=draw, **own)
            if draw == "all" and (gate_input, optimizer) != ("layer", "adam"):
                for wide, narrow in product(self.wide, ((1,), (2,), (3,), (4,), (2, 3, 4))):
                    yield Reading(wide=wide, narrow=narrow, **own)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Time a step of every reading, bottleneck and activation.

    Returns the table `steps`: the reading (`optimizer`, `gate_input`, `draw`, `wide`, `narrow`),
    `width` of the bottleneck, `activation`; median microseconds of a step *of one network* by the
    plain `loop`, by `torch`'s batched products with its own fused optimizer, and by the `ensemble`;
    and how many times faster than each of the two the ensemble is (`to_loop`, `to_torch`), medians
    over rounds. Recording and validation are not in it.
    """
    readings = [(reading, width) for reading in config.readings() for width in (4, 16)]
    data, rows = make_data(ToyConfig()), []
    with one_thread():
        for done, (reading, width) in enumerate(readings, start=1):
            for name in ACTIVATIONS:
                toy = reading.network(width, Constant(reading.phase(name)).name)
                ways = {"loop": _loop(toy, data), "torch": _torch(toy, data)}
                ways["ensemble"] = _ensemble(toy, data)
                times = time_rounds(ways, config.rounds, warm=2)
                each = times.pivot(index="round", columns="way", values="seconds")
                each[["torch", "ensemble"]] /= config.runs
                rows.append(
                    {
                        **{key: getattr(reading, key) for key in ("optimizer", "gate_input")},
                        "draw": reading.draw,
                        "wide": reading.wide,
                        "narrow": "-".join(map(str, reading.narrow if reading.wide else ALL)),
                        "width": width,
                        "activation": name,
                        **{way: 1e6 * each[way].median() for way in ways},
                        "to_loop": (each["loop"] / each["ensemble"]).median(),
                        "to_torch": (each["torch"] / each["ensemble"]).median(),
                    }
                )
            if progress:
                progress(done, len(readings), "readings")
    return Result({"steps": pd.DataFrame(rows)})


def _loop(config: ToyConfig, data: ToyData) -> Call:
    """A step of one network, its batch included, as `stocha.toy.reference.train_run` has it."""
    model = reference.Network(config)
    model.reset(generator(0, "init"))
    linears, gates = model.linear_modules.parameters(), model.activations.parameters()
    optimizer = reference.make_optimizer(config, linears, gates)

    def endless() -> Iterator[tuple[Tensor, ...]]:
        while True:
            yield from reference.batches(config, data, 0, 1)

    def noise(layer: int) -> torch.Generator:
        return generator(0, "activation", 0, layer)

    model.train()
    following = endless()

    def step() -> None:
        x, y = next(following)
        reference.train_step(model, optimizer, x, y, noise)

    return step


def _torch(config: ToyConfig, data: ToyData) -> Call:
    """A step of all networks by autograd through batched products."""
    network, order, noise = _stacked(config)
    linears, gates = [*network.weights, *network.biases], network.activations.parameters()
    optimizer = reference.make_optimizer(config, linears, gates, fused=True)
    gradients = ensemble.by_autograd(network, data)

    def step() -> None:
        optimizer.zero_grad()
        gradients(order, noise.at(0))
        optimizer.step()

    return step


def _ensemble(config: ToyConfig, data: ToyData) -> Call:
    """A step of all networks as `stocha.toy.ensemble.train` does it."""
    network, order, noise = _stacked(config)
    decoupled = config.optimizer == "adamw"
    learnt = [([*network.weights, *network.biases], config.weight_decay)]
    learnt += [(gates, config.gate_decay) for gates in network.activations.learnt().values()]
    adams = [FlatAdam(own, config.lr, decay, decoupled) for own, decay in learnt]
    gradients = ensemble.by_kernels(network, data)
    assert gradients is not None

    def step() -> None:
        gradients(order, noise.at(0))
        for adam in adams:
            adam.step()

    return step


def _stacked(config: ToyConfig) -> tuple[ensemble.Ensemble, Tensor, ensemble.RunNoise]:
    network = ensemble.Ensemble(config)
    network.train()
    order = ensemble.epoch_order(config, 1, config.train_samples)[:, : config.batch_size]
    return network, order, ensemble.RunNoise(config)


def record(path: Path, config: Config) -> None:
    """Write the table to `path`, and what it was measured on beside it."""
    torch.set_num_threads(1)
    steps = run(config, lambda *state: print("{} of {} {}".format(*state), flush=True))
    steps.tables["steps"].to_csv(path, index=False, float_format="%.4g")
    write_machine(path, asdict(config))


if __name__ == "__main__":
    record(Path(sys.argv[1]), at_scale(Config, *(sys.argv[2:] or ["full"])))
