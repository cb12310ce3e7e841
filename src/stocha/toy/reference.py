"""The plain loop one would write: one model, a DataLoader, one process for each run.

It is the ensemble's oracle (same initialisation, same batches, same noise, so the same trajectory)
and what the ensemble's speed is measured against in chapter 41_performance.
"""

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from stocha.arms import Phase
from stocha.base.streams import generator
from stocha.toy.activated import ActivatedLayers
from stocha.toy.config import ToyConfig
from stocha.toy.data import ToyData, make_data
from stocha.toy.pool import training_pool
from stocha.toy.records import History, stack


class Network(nn.Module):
    """A multilayer perceptron with an activation after each hidden linear layer."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        sizes = (config.features, *config.widths, config.classes)
        self.linears = [nn.Linear(i, o) for i, o in pairwise(sizes)]
        self.linear_modules = nn.ModuleList(self.linears)  # what parameters() and to() see
        self.activations = ActivatedLayers(config)

    def reset(self, source: torch.Generator) -> None:
        """Initialise the linear layers as `nn.Linear` does, then the gates, from `source`."""
        for linear in self.linears:
            bound = linear.in_features**-0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=source)
            nn.init.uniform_(linear.bias, -bound, bound, generator=source)
        self.activations.reset_parameters(source)

    def forward(
        self,
        x: Tensor,
        noise: Callable[[int], torch.Generator],
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the logits `[batch, classes]` of x `[batch, features]`."""
        *hidden, last = self.linears
        for layer, (linear, activation) in enumerate(zip(hidden, self.activations, strict=True)):
            z = linear(x)
            x = activation(z, noise(layer) if activation.stochastic else None)
            if record is not None:
                record += [z, x]
        logits: Tensor = last(x)
        return logits


def train_run(config: ToyConfig, seed: int, data: ToyData | None = None) -> History:
    """Train one run and return its history. Chapter 41_performance."""
    start = time.perf_counter()
    data = make_data(config) if data is None else data
    history = History(config, (seed,))

    def noise(*moment: str | int) -> Callable[[int], torch.Generator]:
        return lambda layer: generator(seed, "activation", *moment, layer, device=config.device)

    model = Network(config)
    model.reset(generator(seed, "init"))
    model.to(config.device, config.torch_dtype)
    linears, gates = model.linear_modules.parameters(), model.activations.parameters()
    optimizer = make_optimizer(config, linears, gates)
    validate(model, data, noise("validation", 0), history, 0)
    step = 0
    for epoch in range(1, config.epochs + 1):
        model.train()
        loss_sum = 0.0
        for x, y in batches(config, data, seed, epoch):
            model.activations.at(step)
            loss_sum += train_step(model, optimizer, x, y, noise(step)) * len(y)
            step += 1
        history.train_loss[0, epoch] = loss_sum / len(data.y_train)
        validate(model, data, noise("validation", epoch), history, epoch)
    history.seconds = time.perf_counter() - start
    return history


def make_optimizer(
    config: ToyConfig, linears: Iterable[Tensor], gates: Iterable[Tensor], **how: Any
) -> torch.optim.Optimizer:
    """Return torch's Adam or AdamW; `how`, its implementation: `fused`, `foreach`."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    groups = [
        {"params": list(linears), "weight_decay": config.weight_decay},
        {"params": list(gates), "weight_decay": config.gate_decay},
    ]
    optimizer: torch.optim.Optimizer = kind(groups, lr=config.lr, **how)
    return optimizer


def batches(
    config: ToyConfig, data: ToyData, seed: int, epoch: int
) -> DataLoader[tuple[Tensor, ...]]:
    """Return an epoch's batches (x, y) of one network."""
    dataset = TensorDataset(data.x_train, data.y_train)
    return DataLoader(
        dataset,
        batch_size=config.batch_size,
        sampler=RandomSampler(dataset, generator=generator(seed, "order", epoch)),
        generator=generator(seed, "loader"),  # or the loader would draw from the global one
    )


def train_step(
    model: Network,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    noise: Callable[[int], torch.Generator],
) -> float:
    """Train on one batch and return its mean loss."""
    loss = F.cross_entropy(model(x, noise), y)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def validate(
    model: Network,
    data: ToyData,
    noise: Callable[[int], torch.Generator],
    history: History,
    epoch: int,
) -> None:
    """Run the validation samples through the model and record the result as `epoch`'s."""
    model.eval()

    def observe(into: History) -> None:
        record: list[Tensor] = []
        logits = model(data.x_val, noise, record)
        gates = [a.gate(z) for a, z in zip(model.activations, record[0::2], strict=True)]
        into.observe(
            epoch,
            logits.unsqueeze(0),
            data.y_val,
            [h.unsqueeze(0) for h in record[1::2]],
            [None if g is None else g.unsqueeze(0) for g in gates],
        )

    observe(history)
    trained_with = model.activations.phase
    for name, swapped in history.swapped.items():
        model.activations.put_in_force(Phase(name))
        observe(swapped)
    model.activations.put_in_force(trained_with)


def train(config: ToyConfig, workers: int = 2) -> History:
    """Train every run of `config`, each in a process of its own, `workers` at a time.

    The processes are started once and reused, as one would do. Raises ValueError for workers < 1.
    """
    with training_pool(workers) as pool:
        return stack(list(pool.map(train_run, [config] * config.runs, config.run_seeds)))
