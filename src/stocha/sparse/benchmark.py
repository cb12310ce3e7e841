"""Time ways to compute a sparse layer against one another, on cold caches, after checking each.

Methods take turns within every round, each on the next layer of a rotation whose weights are at
least ten times the last-level cache, and inputs change with every call.  A ratio compares two times
of one round, so that a slow moment of the machine touches both.  Chapter: The sparse FFN,
explained.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
import numba.np.ufunc.parallel as numba_threads
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stocha.base import timing
from stocha.base.machine import cores, cpu_model
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


def library_threads(count: int) -> ExitStack:
    """A context in which torch and numpy's BLAS run on `count` threads."""
    stack = ExitStack()
    stack.enter_context(timing.torch_threads(count))
    stack.enter_context(threadpool_limits(count, user_api="blas"))
    return stack


def time_layers(
    rotation: Rotation, *, threads: int = 1, repeats: int = 9, peers: Sequence[Peer] | None = None
) -> pd.DataFrame:
    """Time each peer on the rotation and return one row per call.

    Columns: round, way, seconds, kind, error.  Ways named "read roof" and "triad" are the memory's
    own.  A peer whose result is wrong is listed with its error and without times.
    """
    with library_threads(threads):
        chosen = available() if peers is None else tuple(peers)
        # An oracle's copies of the active neurons would need as much memory again as the layers.
        chosen = tuple(p for p in chosen if p.kind != "oracle" or rotation.sparsity >= 0.5)
        made = {
            peer.name: [peer.make(layer, threads) for layer in rotation.layers] for peer in chosen
        }
        errors = {name: _check(functions, rotation) for name, functions in made.items()}
        kinds = {peer.name: peer.kind for peer in chosen} | {"read roof": "roof", "triad": "roof"}
        layers, inputs = len(rotation.layers), rotation.inputs

        def call_of(name: str) -> Call:
            def call(number: int, turn: int) -> None:
                x = inputs[0 if kinds[name] == "oracle" else turn % len(inputs)]
                made[name][number % layers](x)

            return call

        right = [name for name in made if errors[name] <= TOLERANCE]
        calls = {name: call_of(name) for name in _mixed(right)} | roofs(rotation, threads)
        table = interleave(calls, repeats=repeats, threads=threads)
    wrong = pd.DataFrame({"way": [name for name in made if name not in right]})
    table = pd.concat([table, wrong], ignore_index=True) if len(wrong) else table
    return table.assign(kind=table["way"].map(kinds), error=table["way"].map(errors))


def interleave(
    calls: Mapping[str, Call], *, repeats: int, threads: int = 1, pause: float | None = None
) -> pd.DataFrame:
    """Time calls in turn, `repeats` rounds of them; returns round, way and seconds of each.

    A call gets a number that grows from call to call, with which to pick the next of what it
    rotates over, and the round.
    """
    ticks = itertools.count()

    def next_of(call: Call) -> Callable[[], None]:
        def run() -> None:
            turn, place = divmod(next(ticks), len(calls))
            call(turn * (len(calls) + 1) + place, turn)

        return run

    ways = {name: next_of(call) for name, call in calls.items()}
    if pause is None:  # on several threads numba, torch and numpy each have a pool that must rest
        pause = PAUSE if threads > 1 else 0.0
    return timing.time_rounds(ways, repeats, pause=pause)


def ratios(times: pd.DataFrame, dense: Sequence[str]) -> pd.DataFrame:
    """`timing.ratios` to the fastest of the dense ways, under the names of the recorded tables."""
    names = {"way": "method", "ratio": "ratio_median", "peer": "fastest_dense"}
    return timing.ratios(times, *dense).rename(columns=names)


def summarise(times: pd.DataFrame, rotation: Rotation, *, threads: int) -> pd.DataFrame:
    """One row per method: median ratio to the fastest dense peer, quartiles, GB/s, roof share.

    GB/s counts the bytes `traffic` says the method must read, so a ratio that falls short of its
    limit shows as a share of the roof below one.
    """
    neurons, width = rotation.layers[0].gate.shape
    ways = times.drop_duplicates("way").set_index("way")["kind"].rename_axis("method")
    timed = times.dropna(subset="seconds")
    dense = [way for way in timed["way"].unique() if ways[way] == "dense"]
    table = ways.reset_index().merge(ratios(timed, dense), how="left", on="method")
    about = {"d": width, "h": neurons, "threads": threads, "sparsity": rotation.sparsity}
    for place, (name, value) in enumerate(about.items()):
        table.insert(place, name, value)
    table.insert(6, "correct", table["milliseconds"].notna())
    moved = [
        _bytes_moved(method, kind, width, neurons, rotation.sparsity)
        for method, kind in zip(table["method"], table["kind"], strict=True)
    ]
    table["gbps"] = moved / table["milliseconds"] / 1e6
    roof = float(table.loc[table["method"] == "read roof", "gbps"].iloc[0])
    return table.assign(roof_fraction=table["gbps"] / roof)


def machine(threads: int) -> dict[str, Any]:
    """What a reader needs to judge the figures: processor, cache, pages, threads, versions."""
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    threads_of: Any = numba_threads
    try:
        layer = str(threads_of.threading_layer())
    except ValueError:  # no parallel kernel has run yet
        layer = "none"
    return {
        "cpu": cpu_model(), "cores": cores(), "vectors": " ".join(vector_features()),
        "threads": threads, "threading_layer": layer,
        "last_level_cache_mb": last_level_cache() / 2**20,
        "huge_pages": pages.read_text().strip() if pages.exists() else "unknown",
        "numba": numba.__version__, "torch": torch.__version__, "numpy": np.__version__,
    }  # fmt: skip


def vector_features() -> list[str]:
    """The processor's vector instructions for which LLVM compiles kernels here."""
    known = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vnni", "avxvnni", "avx512bf16")
    return [name for name in known if llvm.get_host_cpu_features().get(name)]


def last_level_cache() -> int:
    """Bytes of the largest cache of the first core; 32 MiB where the system does not say."""
    sizes = [32 << 20]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20}.get(text[-1], 0))
    return max(sizes[1:] or sizes)


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


def roofs(rotation: Rotation, threads: int) -> dict[str, Call]:
    """Calls that only read a layer's weights, and that add two of its matrices into a third."""
    layers = rotation.layers
    space = np.zeros(layers[0].down.size, np.float32)

    def read(number: int, turn: int) -> None:
        layer = layers[number % len(layers)]
        traffic.read_only(layer.stacked.reshape(-1), threads)
        traffic.read_only(layer.down_rows.reshape(-1), threads)

    def triad(number: int, turn: int) -> None:
        layer = layers[number % len(layers)]
        traffic.triad(space, layer.gate.reshape(-1), layer.up.reshape(-1), threads)

    return {"read roof": read, "triad": triad}


def _bytes_moved(name: str, kind: str, width: int, neurons: int, sparsity: float) -> float:
    if name == "triad":
        return 16.0 * width * neurons
    method = "dense" if kind == "roof" else kind
    return traffic.bytes_read(method, width, neurons, sparsity)
