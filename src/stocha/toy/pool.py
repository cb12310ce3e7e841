"""Processes that train toy networks, one thread each."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager

import torch


@contextmanager
def training_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield `workers` spawned processes that have started and imported the library.

    Spawned, because a forked copy of a process with threads can hang; one thread each, because the
    processes share the cores already.

    Raises:
        ValueError: workers < 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: allowed: an integer >= 1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        wait([pool.submit(torch.get_num_threads) for _ in range(workers)])
        yield pool
