"""How many gate rows eight bits leave uncertain, and what a screened layer gains.

Chapter: Certified screening.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.sparse import benchmark, screening, traffic
from stocha.sparse.peers import PEERS
from stocha.sparse.workload import SPREAD, make_inputs, make_layer

Floats = NDArray[np.float32]

TIMED = (
    "torch.mv, stacked", "torch.mv, W2 by columns", "numpy", "numba dense", "numba sparse",
    "numba screened",
)  # fmt: skip
EDGES = np.linspace(-5, 3, 81)
"""Of the histogram of pre-activations, in their standard deviations."""


@dataclass(frozen=True)
class Config:
    """The layers, and how thoroughly they are looked at."""

    width: int = parameter(2048, "width d of the layer", "[2, inf)", smoke=128)
    neurons: int = parameter(8192, "neurons h of the layer", "[32, inf)", smoke=512)
    sparsities: tuple[float, ...] = parameter(
        (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98), "fractions of inactive neurons", "[0, 1)",
        smoke=(0.5, 0.9), book=(0.5, 0.9, 0.95),
    )  # fmt: skip
    widths: tuple[int, ...] = parameter(
        (256, 512, 1024, 2048, 4096), "widths at which candidates are counted", "[2, inf)",
        smoke=(64, 128), book=(256, 1024, 4096),
    )  # fmt: skip
    samples: int = parameter(
        8, "inputs over which candidates are counted", "[1, inf)", smoke=2, book=4
    )
    threads: int = parameter(1, "threads of the measured kernels", "[1, inf)")
    caches: float = parameter(
        10.0, "last-level caches that all weights fill", "(0, inf)",
        smoke=0.001, book=3.0,
    )  # fmt: skip
    repeats: int = parameter(
        15, "rounds in which every method is timed once", "[1, inf)", smoke=3, book=9
    )
    seed: int = parameter(0, "seed of weights and inputs", "[0, inf)")

    def __post_init__(self) -> None:
        check(self)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Count candidates and time the screened layer.

    Returns tables `margin` (histogram of a layer that is 90 % sparse), `candidates` (counted and
    predicted), `sensitivity` (harder layers) and `speed`, and metrics: `cases`, of them `certified`
    (fraction) and `certified_wrongly`; `used`, the largest error as a fraction of the bound;
    `extra`, the screen's bytes as a fraction of the layer's.  Raises AssertionError if a screened
    layer differs from the unscreened one.
    """
    margin, metrics = _margin(config)
    speed = []
    for done, sparsity in enumerate(config.sparsities, start=1):
        speed.append(_speed(config, sparsity))
        if progress:
            progress(done, len(config.sparsities), "sparsities")
    tables = {"margin": margin, "candidates": _candidates(config)}
    tables |= {"sensitivity": _sensitivity(config), "speed": pd.concat(speed, ignore_index=True)}
    return Result(tables, metrics)


def bounds(
    gate: Floats, x: Floats
) -> tuple[screening.Screen, NDArray[np.float64], NDArray[np.float64]]:
    """The screen of a gate [h, d], its estimates for inputs [n, d], and how far they may be off."""
    screen = screening.build(gate)
    wide = x.astype(np.float64)
    slack = np.outer(np.linalg.norm(wide, axis=1), screen.slack) + screen.constant
    return screen, screen.scale * (wide @ screen.int8.T), slack


def _margin(config: Config) -> tuple[pd.DataFrame, dict[str, float]]:
    gate = make_layer(config.width, config.neurons, 0.9, seed=config.seed).gate
    x = make_inputs(config.width, config.samples, seed=config.seed)
    screen, estimate, slack = bounds(gate, x)
    exact = x.astype(np.float64) @ gate.T
    certified, unit = estimate + slack <= 0, exact / exact.std()
    groups = {
        "certified inactive": certified,
        "candidate, inactive": ~certified & (exact <= 0),
        "active": exact > 0,
    }
    counted = {name: np.histogram(unit[group], EDGES)[0] for name, group in groups.items()}
    metrics = {
        "cases": exact.size,
        "certified": float(certified.mean()),
        "certified_wrongly": int((certified & (exact > 0)).sum()),
        "used": float((np.abs(exact - estimate) / slack).max()),
        "extra": screen.nbytes / (3 * gate.nbytes),
    }
    return pd.DataFrame(counted | {"left_edge": EDGES[:-1]}), metrics


def _candidates(config: Config) -> pd.DataFrame:
    rows = []
    for width in config.widths:
        x = make_inputs(width, config.samples, seed=config.seed + 1)
        for sparsity in config.sparsities:
            neurons = min(config.neurons, 4096)
            layer = make_layer(width, neurons, sparsity, seed=config.seed + 1)
            _, estimate, slack = bounds(layer.gate, x)
            predicted = traffic.expected_candidates(sparsity, width)
            rows.append((width, sparsity, (estimate + slack > 0).mean(), predicted))
    return pd.DataFrame(rows, columns=["width", "sparsity", "candidates", "predicted"])


def _sensitivity(config: Config) -> pd.DataFrame:
    width, seed = config.width, config.seed + 2
    plain_layer, uneven = (
        make_layer(width, config.neurons, 0.9, seed=seed, spread=spread).gate
        for spread in (SPREAD, 2.0)
    )
    plain = make_inputs(width, config.samples, seed=seed)
    spiky = plain_layer.copy()
    spiky[:, :: max(1, width // 8)] *= 10
    variants = {
        "as above": (plain_layer, plain),
        "rows of very different scale": (uneven, plain),
        "inputs with 4 outlying coordinates": (
            plain_layer, make_inputs(width, config.samples, seed=seed, outliers=4),
        ),
        "rows with 8 large weights": (spiky, plain),
    }  # fmt: skip
    rows = []
    for name, (gate, x) in variants.items():
        _, estimate, slack = bounds(gate, x)
        inactive, share = float((x @ gate.T <= 0).mean()), float((estimate + slack > 0).mean())
        limit = traffic.limit("screened", width, config.neurons, inactive, candidates=share)
        rows.append((name, inactive, share, limit))
    return pd.DataFrame(rows, columns=["layer", "inactive", "candidates", "limit"])


def _speed(config: Config, sparsity: float) -> pd.DataFrame:
    rotation = benchmark.make_rotation(
        config.width, config.neurons, sparsity, caches=config.caches, seed=config.seed
    )
    peers = [peer for peer in PEERS if peer.name in TIMED]
    times = benchmark.time_layers(
        rotation, threads=config.threads, repeats=config.repeats, peers=peers
    )
    found = benchmark.summarise(times, rotation, threads=config.threads)
    plain, screened = (
        rotation.layers[0].ffn.variant(method=method, threads=config.threads)
        for method in ("sparse", "screened")
    )
    for x in rotation.inputs:
        assert plain(x).tobytes() == screened(x).tobytes(), f"sparsity {sparsity} differs"
    own = found["method"] == "numba screened"
    return found.assign(candidates=own.map({True: screened.candidates, False: None}))
