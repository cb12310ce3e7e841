"""Time ways to compute a sparse layer against one another, on cold caches, after checking each.

Methods take turns within every round, each on the next layer of a rotation whose weights are at
least ten times the last-level cache, and inputs change with every call.  A ratio compares two times
of one round, so that a slow moment of the machine touches both.  Chapter: The sparse FFN,
explained.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numba.np.ufunc.parallel as numba_threads
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stocha.sparse import traffic
from stocha.sparse.peers import Forward, Oracle, Peer, available
from stocha.sparse.workload import Layer, make_inputs, make_layer

TOLERANCE = 1e-5  # largest error allowed, relative to the largest output
INPUTS = 4  # different inputs, hence masks, for each layer
PAUSE = 0.1  # seconds before a call on several threads: OpenBLAS spins about that long after one
COLD = 10  # how many last-level caches the rotated weights must fill

Floats = NDArray[np.float32]
Call = Callable[[int, int], Any]


@dataclass(frozen=True)
class Rotation:
    """Layers of one shape and sparsity, with inputs: enough of them that caches are cold."""

    layers: tuple[Layer, ...]
    inputs: Floats
    sparsity: float

    @property
    def nbytes(self) -> int:
        """Bytes of weights a full turn reads."""
        return sum(layer.nbytes for layer in self.layers)


def make_rotation(
    width: int, neurons: int, sparsity: float, *, caches: float = COLD, seed: int = 0
) -> Rotation:
    """Draw enough layers to fill `caches` last-level caches, at least two."""
    needed = caches * last_level_cache() / (12 * width * neurons)
    count = max(2, int(np.ceil(needed)))
    layers = tuple(make_layer(width, neurons, sparsity, seed=seed + i) for i in range(count))
    return Rotation(layers, make_inputs(width, INPUTS, seed=seed), sparsity)


def reference(layer: Layer, x: Floats) -> NDArray[np.float64]:
    """The layer's output [d] in float64, computed a few rows at a time."""
    y = np.zeros(layer.down_rows.shape[1])
    wide = x.astype(np.float64)
    for start in range(0, len(layer.gate), 1024):
        part = slice(start, start + 1024)
        gate, up, rows = (
            w[part].astype(np.float64) for w in (layer.gate, layer.up, layer.down_rows)
        )
        y += (np.maximum(gate @ wide, 0) * (up @ wide)) @ rows
    return y


def error(y: Floats, truth: NDArray[np.float64]) -> float:
    """Largest deviation from the float64 result, relative to its largest entry."""
    return float(np.abs(y - truth).max() / max(np.abs(truth).max(), 1e-30))


def time_layers(
    rotation: Rotation,
    *,
    threads: int = 1,
    repeats: int = 9,
    peers: Sequence[Peer] | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> pd.DataFrame:
    """Time each peer on the rotation and return one row per call.

    Columns: method, kind, round, seconds, error, sparsity.  Methods named "read roof" and "triad"
    are the memory's own.  A method whose result is wrong is listed with its error and without
    times.
    """
    torch.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):  # numpy's
        return _time_layers(rotation, threads, repeats, peers, progress)


def _time_layers(
    rotation: Rotation, threads: int, repeats: int, peers: Sequence[Peer] | None,
    progress: Callable[[int, int], Any],
) -> pd.DataFrame:  # fmt: skip
    chosen = available() if peers is None else tuple(peers)
    # An oracle's copies of the active neurons would need as much memory again as the layers.
    chosen = tuple(peer for peer in chosen if peer.kind != "oracle" or rotation.sparsity >= 0.5)
    made = {peer.name: [peer.make(layer, threads) for layer in rotation.layers] for peer in chosen}
    errors = {name: _check(functions, rotation) for name, functions in made.items()}
    right = [peer for peer in chosen if errors[peer.name] <= TOLERANCE]
    kinds = {peer.name: peer.kind for peer in chosen} | {"read roof": "roof", "triad": "roof"}
    names = [peer.name for peer in right]
    space = np.zeros(rotation.layers[0].down.size, np.float32)
    roofs = _roofs(rotation, space, threads)
    for roof in roofs.values():
        roof(0)

    def call_of(name: str) -> Call:
        def call(number: int, turn: int) -> None:
            x = rotation.inputs[0 if kinds[name] == "oracle" else turn % len(rotation.inputs)]
            made[name][number % len(rotation.layers)](x)

        return call

    calls = {name: call_of(name) for name in _mixed(names)}

    def reading(roof: Callable[[int], Any]) -> Call:
        return lambda number, turn: roof(number % len(rotation.layers))

    calls |= {name: reading(roof) for name, roof in roofs.items()}
    table = interleave(calls, repeats=repeats, threads=threads, progress=progress)
    wrong = pd.DataFrame({"method": [name for name in made if name not in names]})
    table = pd.concat([table, wrong], ignore_index=True) if len(wrong) else table
    table["kind"] = table["method"].map(kinds)
    table["error"] = table["method"].map(errors)
    return table


def interleave(
    calls: Mapping[str, Call],
    *,
    repeats: int,
    threads: int = 1,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> pd.DataFrame:
    """Time calls in turn, `repeats` rounds of them; returns method, round and seconds of each.

    A call gets a number that grows by one from call to call, with which to pick the next of what it
    rotates over, and the round.
    """
    rows = []
    for turn in range(repeats):
        for place, (name, call) in enumerate(calls.items()):
            if threads > 1:  # numba, torch and numpy each have a pool: let the last one's rest
                time.sleep(PAUSE)
            number = turn * (len(calls) + 1) + place
            start = time.perf_counter()
            call(number, turn)
            seconds = time.perf_counter() - start
            rows.append({"method": name, "round": turn, "seconds": seconds})
        progress(turn + 1, repeats)
    return pd.DataFrame(rows, columns=["method", "round", "seconds"])


def ratios(table: pd.DataFrame, against: Sequence[str]) -> pd.DataFrame:
    """Per method the quartiles of (time of the fastest of `against` in a round) / (its own)."""
    times = table.pivot(index="round", columns="method", values="seconds")
    fastest = min(against, key=lambda name: float(np.median(times[name])))
    quartiles = (1 / times.div(times[fastest], axis=0)).quantile([0.25, 0.5, 0.75]).T
    quartiles.columns = pd.Index(["ratio_q1", "ratio_median", "ratio_q3"])
    quartiles["milliseconds"] = 1e3 * times.median()
    quartiles["fastest_dense"] = quartiles.index == fastest
    return quartiles.rename_axis("method").reset_index()


def summarise(table: pd.DataFrame, rotation: Rotation, *, threads: int) -> pd.DataFrame:
    """One row per method: median ratio to the fastest dense peer, quartiles, GB/s, roof share.

    GB/s counts the bytes `traffic` says the method must read, so a ratio that falls short of its
    limit shows as a share of the roof below one.
    """
    layer = rotation.layers[0]
    neurons, width = layer.gate.shape
    kinds = dict(zip(table["method"].astype(str), table["kind"].astype(str), strict=True))
    timed = table.dropna(subset="seconds")
    dense = [name for name in timed["method"].unique() if kinds[name] == "dense"]
    measured = ratios(timed, dense).to_dict("records")
    found = {str(row["method"]): row for row in measured}
    roof = layer.nbytes / float(found["read roof"]["milliseconds"]) / 1e6
    rows = []
    for name, kind in kinds.items():
        row: dict[str, Any] = {
            "d": width, "h": neurons, "threads": threads, "sparsity": rotation.sparsity,
            "method": name, "kind": kind, "correct": name in found,
        }  # fmt: skip
        if name in found:
            row |= {str(key): value for key, value in found[name].items()}
            moved = _bytes_moved(name, kind, width, neurons, rotation.sparsity)
            rate = moved / row["milliseconds"] / 1e6
            row |= {"gbps": rate, "roof_fraction": rate / roof}
        rows.append(row)
    return pd.DataFrame(rows)


def machine(threads: int) -> dict[str, Any]:
    """What a reader needs to judge the figures: processor, cache, pages, threads, versions."""
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    threads_of: Any = numba_threads
    try:
        layer = str(threads_of.threading_layer())
    except ValueError:  # no parallel kernel has run yet
        layer = "none"
    return {
        "cpu": _cpu_name(), "cores": os.cpu_count(), "threads": threads, "threading_layer": layer,
        "last_level_cache_mb": last_level_cache() / 2**20,
        "huge_pages": pages.read_text().strip() if pages.exists() else "unknown",
        "numba": numba.__version__, "torch": torch.__version__, "numpy": np.__version__,
    }  # fmt: skip


def last_level_cache() -> int:
    """Bytes of the largest cache of the first core; 32 MiB where the system does not say."""
    sizes = [32 << 20]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20}.get(text[-1], 0))
    return max(sizes[1:] or sizes)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _check(functions: Sequence[Forward], rotation: Rotation) -> float:
    """Run every layer's function once, which compiles it; returns the first layer's error."""
    for function in functions:
        if isinstance(function, Oracle):
            function.prepare(rotation.inputs[0])
    results = [function(rotation.inputs[0]) for function in functions]
    return error(results[0], reference(rotation.layers[0], rotation.inputs[0]))


def _mixed(names: Iterable[str]) -> list[str]:
    """Alternate early and late methods: no run of sparse ones may leave a layer in the cache."""
    names = list(names)
    half = (len(names) + 1) // 2
    pairs = zip(names[:half], [*names[half:], None], strict=False)
    return [name for pair in pairs for name in pair if name is not None]


def _roofs(rotation: Rotation, space: Floats, threads: int) -> dict[str, Callable[[int], Any]]:
    def read(layer: int) -> None:
        traffic.read_only(rotation.layers[layer].stacked.reshape(-1), threads)
        traffic.read_only(rotation.layers[layer].down_rows.reshape(-1), threads)

    def triad(layer: int) -> None:
        weights = rotation.layers[layer]
        traffic.triad(space, weights.gate.reshape(-1), weights.up.reshape(-1), threads)

    return {"read roof": read, "triad": triad}


def _bytes_moved(name: str, kind: str, width: int, neurons: int, sparsity: float) -> float:
    if name == "triad":
        return 16.0 * width * neurons
    method = "dense" if kind == "roof" else kind
    return traffic.bytes_read(method, width, neurons, sparsity)
