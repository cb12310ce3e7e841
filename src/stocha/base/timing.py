"""Time ways to do one thing against each other.

Every way is called once a round, one after the other, and a ratio compares two times of one round:
the speed of a shared machine changes more between rounds than within one. A ratio always says how
many times faster a way is than its peer. Chapters 31, 32, 41 and 43.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch

Call = Callable[[], Any]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, and on as many as before afterwards."""
    with torch_threads(1):
        yield


def time_rounds(
    calls: Mapping[str, Call],
    rounds: int,
    *,
    warm: int = 1,
    pause: float = 0.0,
    progress: Callable[[int, int], Any] | None = None,
) -> pd.DataFrame:
    """Call every way once a round, in the order given.

    Args:
        calls: by the name of the way. What a call rotates over (layers, inputs) is its own affair.
        rounds: how many are counted.
        warm: rounds before them that are not: they compile, and fill caches and pools.
        pause: seconds before each call, for a way's thread pool to rest before the next one's.
        progress: called with (rounds done, rounds in all), those that are not counted included.

    Returns:
        Rows (round, way, seconds) in the order of the calls; rounds count from 0.
    """
    rows = []
    for number in range(-warm, rounds):
        for way, call in calls.items():
            if pause:
                time.sleep(pause)
            begun = time.perf_counter()
            call()
            rows.append((number, way, time.perf_counter() - begun))
        if progress is not None:
            progress(number + warm + 1, rounds + warm)
    table = pd.DataFrame(rows, columns=["round", "way", "seconds"])
    return table[table["round"] >= 0].reset_index(drop=True)


def ratios(times: pd.DataFrame, *peers: str) -> pd.DataFrame:
    """How many times faster every way is than the fastest of `peers`, round by round.

    Args:
        times: rows (round, way, seconds), as `time_rounds` gives them.
        peers: ways; the one with the lowest median is the peer of all.

    Returns:
        One row a way, in the order of the first round: `way`, `milliseconds` (median), `ratio` (the
        peer's seconds over the way's own in the same round, median), its quartiles `ratio_q1` and
        `ratio_q3`, and `peer`, whether it is the peer, whose ratio is 1.

    Raises:
        ValueError: no peer is given, or one was not timed.
    """
    wide = times.pivot(index="round", columns="way", values="seconds")
    ways = list(dict.fromkeys(times["way"].astype(str)))
    if not peers or not set(peers) <= set(ways):
        raise ValueError(f"peers={list(peers)}: allowed: one or more of {', '.join(ways)}")
    wide = wide[ways]
    peer = str(wide[list(peers)].median().idxmin())
    faster = (1 / wide.div(wide[peer], axis=0)).quantile([0.25, 0.5, 0.75])
    table = pd.DataFrame(
        {
            "milliseconds": wide.median() * 1e3,
            "ratio": faster.loc[0.5],
            "ratio_q1": faster.loc[0.25],
            "ratio_q3": faster.loc[0.75],
            "peer": wide.columns == peer,
        }
    )
    return table.rename_axis("way").reset_index()
