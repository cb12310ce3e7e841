"""How fast a gated layer of a stated sparsity is, against every other way to compute it.

Chapter: The sparse FFN, explained.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.sparse import benchmark
from stocha.sparse.ffn import SparseFFN
from stocha.sparse.workload import Layer, make_inputs

LINEAR, DENSE, SPARSE = "F.linear", "dense", "sparse"
ROUNDED = 0.2  # largest error of a layer with rounded weights, relative to the largest output


@dataclass(frozen=True)
class Config:
    """The layers, how they are run, and how thoroughly they are measured."""

    shape: tuple[int, ...] = parameter(
        (2048, 8192), "width d and neurons h of the layer",
        "[1, inf)", smoke=(72, 320),
    )  # fmt: skip
    other_widths: tuple[int, ...] = parameter(
        (768, 2045, 3072, 4096, 4096), "widths d of further layers", "[1, inf)",
        smoke=(67,), book=(768,),
    )  # fmt: skip
    other_neurons: tuple[int, ...] = parameter(
        (3072, 8192, 8192, 11008, 14336), "neurons h of the same layers", "[1, inf)",
        smoke=(100,), book=(3072,),
    )  # fmt: skip
    sparsities: tuple[float, ...] = parameter(
        (0.0, 0.5, 0.8, 0.9, 0.95), "its fractions of inactive neurons", "[0, 1)",
        smoke=(0.0, 0.9), book=(0.0, 0.5, 0.9, 0.95),
    )  # fmt: skip
    other_sparsities: tuple[float, ...] = parameter(
        (0.9,), "the same for the further layers", "[0, 1)"
    )
    threads: tuple[int, ...] = parameter(
        (1, 2), "numbers of threads", "[1, inf)", smoke=(1,), book=(1,)
    )
    batches: tuple[int, ...] = parameter(
        (1, 2, 4, 8, 16), "inputs taken at once", "[1, 16]", smoke=(1, 4), book=(1, 2, 4, 8)
    )
    caches: float = parameter(
        10.0, "last-level caches that all weights fill", "(0, inf)",
        smoke=0.001, book=4.0,
    )  # fmt: skip
    repeats: int = parameter(9, "rounds in which every method is timed once", "[1, inf)", smoke=3)
    seed: int = parameter(0, "seed of weights and inputs", "[0, inf)")

    def __post_init__(self) -> None:
        check(self)
        if len(self.shape) != 2:
            raise ValueError(f"shape={self.shape}: allowed: a width and a number of neurons")
        if len(self.other_widths) != len(self.other_neurons):
            raise ValueError(f"other_neurons={self.other_neurons}: allowed: one for each width")


def nearest(sparsities: tuple[float, ...]) -> float:
    """The sparsity measured that is nearest to the paper's 90 %."""
    return min(sparsities, key=lambda s: abs(s - 0.9))


def run(config: Config, progress: Progress | None = None) -> Result:
    """Measure the layers.

    Returns tables `ffn_speed` (a row for each layer, number of threads and peer: quartiles of the
    ratio to the fastest dense peer, GB/s, share of the read roof), of the detailed layer near 90 %
    `batches`, `bf16`, `int8`, `break_even` and `calls` (what a call costs besides reading, by the
    number of threads), and `machine`.
    """
    others = zip(config.other_widths, config.other_neurons, strict=True)
    width, neurons = config.shape
    jobs = [(width, neurons, s) for s in config.sparsities]
    jobs += [(d, h, s) for d, h in others for s in config.other_sparsities]
    speed = []
    for done, (d, h, sparsity) in enumerate(jobs, start=1):
        rotation = benchmark.make_rotation(d, h, sparsity, caches=config.caches, seed=config.seed)
        for threads in config.threads:
            times = benchmark.time_layers(rotation, threads=threads, repeats=config.repeats)
            speed.append(benchmark.summarise(times, rotation, threads=threads))
        del rotation  # before the next is drawn: both would not fit
        if progress:
            progress(done, len(jobs), "layers")
    sparsity, caches = nearest(config.sparsities), 4 * min(config.caches, 4)
    # four times as many layers: at a byte a weight, they must fill the caches still
    rotation = benchmark.make_rotation(width, neurons, sparsity, caches=caches, seed=config.seed)
    threads = config.threads[0]
    with benchmark.library_threads(threads):
        batches = _batches(rotation, config, threads)
        rounded = _rounded(rotation, config.repeats, threads)
        found = rotation.layers[0].ffn.variant(method="auto", threads=threads).break_even
    calls = [_call_costs(rotation, config.repeats, threads) for threads in config.threads]
    machine = benchmark.machine(max(config.threads))
    tables = {"ffn_speed": pd.concat(speed, ignore_index=True), "batches": batches}
    tables |= rounded | {"calls": pd.concat(calls, ignore_index=True)}
    tables |= {"break_even": pd.DataFrame([vars(found)]), "machine": pd.DataFrame([machine])}
    return Result(tables)


def _batches(rotation: benchmark.Rotation, config: Config, threads: int) -> pd.DataFrame:
    """Several inputs at once, against the library's product and our own dense kernel."""
    ours = {
        name: [layer.ffn.variant(method=name, threads=threads) for layer in rotation.layers]
        for name in (DENSE, SPARSE)
    }
    linear = [_linear(layer, torch.float32) for layer in rotation.layers]
    rows = []
    for batch in config.batches:
        x = make_inputs(rotation.inputs.shape[1], batch, seed=config.seed + 1)
        calls = {name: _turns(ways, [x]) for name, ways in ({LINEAR: linear} | ours).items()}
        y, truth = ours[SPARSE][0](x), linear[0](x)
        assert np.abs(y - truth).max() <= 1e-4 * np.abs(truth).max(), f"batch {batch} is wrong"
        union = 1 - (ours[SPARSE][0].inactive or 0)
        times = benchmark.interleave(calls, repeats=config.repeats, threads=threads)
        for peer in (LINEAR, DENSE):
            one = benchmark.ratios(times, [peer]).set_index("method")
            row = {"batch": batch, "active for any": union, "limit": 3 / (1 + 2 * union)}
            row |= {name: one[name][SPARSE] for name in ("ratio_q1", "ratio_median", "ratio_q3")}
            read = 12 * rotation.layers[0].gate.size / 1e6 / one["milliseconds"][peer]
            rows.append(row | {"peer": peer, "peer_gbps": read})
    return pd.DataFrame(rows)


def _rounded(rotation: benchmark.Rotation, repeats: int, threads: int) -> dict[str, pd.DataFrame]:
    """One input at a time, all weights rounded to bf16 and to int8."""
    layers = rotation.layers
    ways: dict[str, list[Callable[..., Any]]] = {
        "F.linear, bf16": [_linear(layer, torch.bfloat16) for layer in layers],
        "torch linear, int8": [_linear_int8(layer) for layer in layers],
        "sparse, float32": [w.ffn.variant(method=SPARSE, threads=threads) for w in layers],
    }
    for name, kind in (("bf16", "bfloat16"), ("int8", "int8")):
        kept = [
            SparseFFN(w.gate, w.up, w.down, weights=kind, method=DENSE, threads=threads)
            for w in layers
        ]
        ways |= {f"{DENSE}, {name}": [*kept]}
        ways |= {f"{SPARSE}, {name}": [one.variant(method=SPARSE) for one in kept]}
    truth = benchmark.reference(layers[0], rotation.inputs[0])
    for name, functions in ways.items():
        off = benchmark.error(functions[0](rotation.inputs[0]).reshape(-1), truth)
        assert off <= ROUNDED, f"{name} is off by {off:.1e}"
    calls = {name: _turns(functions, list(rotation.inputs)) for name, functions in ways.items()}
    times = benchmark.interleave(calls, repeats=repeats, threads=threads)
    found = {}
    for name, other in (("bf16", "int8"), ("int8", "bf16")):
        dense = [way for way in ways if way.endswith(name) and not way.startswith(SPARSE)]
        found[name] = benchmark.ratios(times[~times["way"].str.endswith(other)], dense)
    return found


def _call_costs(rotation: benchmark.Rotation, repeats: int, threads: int) -> pd.DataFrame:
    """What a call costs besides reading: after a pause, when threads sleep, and without one.

    A layer of 32 neurons is a call that reads next to nothing.  The read roof of the same rounds
    tells a slow moment of the machine from a slow kernel.
    """
    tiny = SparseFFN(*[np.ones((32, 32), np.float32)] * 3, method=DENSE, threads=threads)
    small = [np.ones(32, np.float32)]
    ways = {f"{name} layer": [w.ffn.variant(method=name, threads=threads) for w in rotation.layers]
            for name in (DENSE, SPARSE)}  # fmt: skip
    calls = {name: _turns(kept, list(rotation.inputs)) for name, kept in ways.items()}
    calls |= {"empty call": _turns([tiny], small)}
    calls |= {"read roof": benchmark.roofs(rotation, threads)["read roof"]}
    found = []
    for pause in (0.0, benchmark.PAUSE):
        times = benchmark.interleave(calls, repeats=repeats, pause=pause)
        by_way = times.groupby("way", sort=False)["seconds"]
        quartiles = by_way.describe()[["25%", "50%", "75%"]]
        quartiles.columns = pd.Index(["q1", "median", "q3"])
        about = {"threads": threads, "pause": pause}
        found.append((1e3 * quartiles).assign(**about).reset_index())
    return pd.concat(found, ignore_index=True)


def _turns(functions: Any, inputs: list[Any]) -> benchmark.Call:
    return lambda number, turn: functions[number % len(functions)](inputs[turn % len(inputs)])


def _linear(layer: Layer, dtype: torch.dtype) -> Callable[[Any], Any]:
    gate, up, down = (torch.from_numpy(w).to(dtype) for w in (layer.gate, layer.up, layer.down))

    def forward(x: Any) -> Any:
        value = torch.from_numpy(np.atleast_2d(x)).to(dtype)
        hidden = torch.relu(functional.linear(value, gate)) * functional.linear(value, up)
        return functional.linear(hidden, down).float().numpy()

    return forward


def _linear_int8(layer: Layer) -> Callable[[Any], Any]:
    """torch's own: int8 weights with a scale a row, inputs rounded to int8 at every call."""
    with warnings.catch_warnings():  # all of torch.ao is deprecated in favour of another package
        warnings.simplefilter("ignore")
        maps = nn.ModuleList()
        for weight in (layer.gate, layer.up, layer.down):
            made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            made.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
            maps.append(made)
        quantise: Any = torch.ao.quantization.quantize_dynamic
        gate, up, down = quantise(maps, {nn.Linear}, torch.qint8)

    def forward(x: Any) -> Any:
        value = torch.from_numpy(np.atleast_2d(x))
        return down(torch.relu(gate(value)) * up(value)).numpy()

    return forward
