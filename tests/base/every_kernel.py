"""Run every compiled kernel and print the hash of what it returned, by case, as JSON.

`python every_kernel.py [reversed]`: the order in which kernels are called must not matter either.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from stocha.activations import Activation, StochA, make
from stocha.base.streams import generator
from stocha.lm.config import ModelConfig
from stocha.lm.fast import kernels as lm
from stocha.lm.model import Decoder
from stocha.sparse import SparseFFN, matvec, traffic
from stocha.toy.fast.step import Step

MODULES = [
    f"stocha.{name}"
    for name in ("base.elementwise", "lm.fast.kernels", "toy.fast.kernels", "sparse.kernels",
                 "sparse.vector", "sparse.matvec", "sparse.screening", "sparse.traffic")
]  # fmt: skip


def bits(arrays: Iterable[Any]) -> str:
    found = (np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(b"".join(found)).hexdigest()[:16]


def language_model(activation: Activation, shifted: bool) -> str:
    shape = ModelConfig(128, 32, 1, heads=2, kv_heads=1, ffn=80, context=72, shifted_keys=shifted)
    model = Decoder(shape, activation, seed=1)
    ids = torch.randint(0, 128, (3, 73), generator=generator(0, "ids"))
    noise = [generator(0, "activation", row) for row in range(3)]
    loss = model.loss(ids[:, :-1], ids[:, 1:], lambda layer: noise)
    torch.autograd.backward(loss)
    return bits([loss.detach(), *(p.grad for p in model.parameters())])


def toy(activation: Activation) -> str:
    draw = generator(0, "toy")
    shapes = [(3, 24, 5), (3, 4, 24)], [(3, 24, 1), (3, 4, 1)]
    weights, biases = ([nn.Parameter(torch.randn(s, generator=draw)) for s in group]
                       for group in shapes)  # fmt: skip
    parameters = [*weights, *biases, *activation.parameters()]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((60, 5), np.float32)
    order = rng.integers(0, 60, (3, 21))
    noise = [generator(0, "activation", run) for run in range(3)]
    loss = Step(weights, biases).gradients(
        samples.T.copy(), rng.integers(0, 4, 60), order, [activation], lambda layer: noise
    )
    return bits([loss, *(p.grad for p in parameters)])


def sparse(method: str, activation: str, threads: int, weights: str | None = None) -> str:
    rng = np.random.default_rng(0)
    gate, up, down = (rng.standard_normal(s, np.float32) for s in ((150, 70), (150, 70), (70, 150)))
    layer = SparseFFN(
        gate, up, down, activation=activation, method=method, threads=threads, weights=weights
    )
    return bits([layer(rng.standard_normal((2, 70), np.float32))])


def products() -> str:
    rng = np.random.default_rng(0)
    matrix, x = rng.standard_normal((96, 64), np.float32), rng.standard_normal(64, np.float32)
    x[::3] = 0
    return bits([kind(matrix)(x) for kind in (matvec.Columns, matvec.CSR, matvec.CSC)])


def exponentials() -> str:
    x = np.linspace(-90, 90, 1001, dtype=np.float32)
    out = np.empty_like(x)
    lm.exps(x, out)
    return bits([out])


def memory() -> str:
    a, b, c = (np.full(2**16, value, np.float32) for value in (0, 1, 2))
    for threads in (1, 2):
        traffic.read_only(c, threads)
        traffic.triad(a, b, c, threads)
    return bits([a])


def cases() -> dict[str, Callable[[], str]]:
    found: dict[str, Callable[[], str]] = {
        "exponentials": exponentials, "products": products, "memory": memory,
    }  # fmt: skip
    drawn = [StochA(0.3, positive) for positive in ("identity", "silu", "mixed")]
    for act in (*map(make, ("relu", "silu", "gelu", "relu2", "bernoulli_silu")), *drawn,
                StochA(0.3, train="expectation")):  # fmt: skip
        found[f"lm {act}"] = lambda act=act: language_model(act, shifted="relu" in str(act))
    for act in (make("relu"), make("silu"), StochA(0.3, "mixed"),
                StochA(0.3, "mixed", train="expectation"),
                make("learnable_stoch", runs=3), make("gumbel_stoch", runs=3)):  # fmt: skip
        found[f"toy {act}"] = lambda act=act: toy(act)
    for case in (
        ("dense", "silu", 1), ("dense", "relu", 2), ("sparse", "relu", 1), ("sparse", "relu2", 2),
        ("screened", "relu", 1), ("screened", "relu", 2),
        ("sparse", "relu", 1, "int8"), ("dense", "silu", 2, "int8"),
        ("sparse", "relu", 1, "bfloat16"),
    ):  # fmt: skip
        found[f"sparse {case}"] = lambda case=case: sparse(*case)
    return found


def unused() -> list[str]:
    """Return the kernels that no case has compiled: all of them, when all came from a cache."""
    modules = map(importlib.import_module, MODULES)
    dispatchers = {
        id(value): f"{module.__name__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if hasattr(value, "nopython_signatures") and not value.nopython_signatures
    }
    return sorted(dispatchers.values())


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = list(cases().items())
    hashes = {name: run() for name, run in (chosen[::-1] if "reversed" in sys.argv else chosen)}
    print(json.dumps({"hashes": hashes, "unused": unused()}))
