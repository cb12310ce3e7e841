"""All runs of one activation trained at once, as stacked matrices.

Nearly all of a training step of a width-4 network is the cost of calling small operations. The
ensemble calls each operation once for all runs, and where `stocha.toy.fast` has kernels for it, a
step is some twenty calls. The runs share nothing but the call: every run has
its own initialisation, batch order and activation noise, and Adam is elementwise. What each choice
below is worth in time is measured in chapter 41_performance.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations import Gate
from stocha.arms import Phase
from stocha.base.streams import generator, stream_seed
from stocha.base.timing import one_thread
from stocha.toy.activated import ActivatedLayers
from stocha.toy.config import ToyConfig
from stocha.toy.data import ToyData, make_data
from stocha.toy.fast.adam import FlatAdam
from stocha.toy.fast.step import Step, has_kernel
from stocha.toy.pool import training_pool
from stocha.toy.records import History

Noise = Callable[[int], Sequence[torch.Generator]]
"""For a layer (0 = first), one generator per run."""


class Ensemble(nn.Module):
    """R multilayer perceptrons of one shape, stacked.

    Linear layer l computes W h + b with W `[R, out, in]`, b `[R, out, 1]`, h `[R, in, batch]`:
    with the batch last, the product of small matrices runs over contiguous memory. The activations
    see `[R, batch, width]`, as everywhere else in the library.
    """

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        sizes = (config.features, *config.widths, config.classes)
        shapes = list(pairwise(sizes))
        self.weights = nn.ParameterList([torch.empty(config.runs, o, i) for i, o in shapes])
        self.biases = nn.ParameterList([torch.empty(config.runs, o, 1) for _, o in shapes])
        # a ParameterList looks its entries up by name, which is felt in every step
        self.linears = list(zip(self.weights, self.biases, strict=True))
        self.activations = ActivatedLayers(config, runs=config.runs)
        self.reset(config)
        self.to(config.device, config.torch_dtype)

    def reset(self, config: ToyConfig) -> None:
        """Draw each run's linear layers, then its gates, from its own stream "init"."""
        sources = [generator(seed, "init") for seed in config.run_seeds]
        with torch.no_grad():
            for weight, bias in zip(self.weights, self.biases, strict=True):
                bound = weight.shape[2] ** -0.5  # nn.Linear's default, for weights and biases
                for r, source in enumerate(sources):
                    weight[r].uniform_(-bound, bound, generator=source)
                    bias[r].uniform_(-bound, bound, generator=source)
        self.activations.reset_parameters(sources)

    def forward(self, x: Tensor, noise: Noise, record: list[Tensor] | None = None) -> Tensor:
        """Return the logits `[R, classes, batch]` of x `[R, features, batch]`.

        Parameters: `record`, which every hidden layer's output `[R, batch, width]` is added to.
        """
        h = x
        *hidden, (last_weight, last_bias) = self.linears
        for layer, ((weight, bias), activation) in enumerate(
            zip(hidden, self.activations, strict=True)
        ):
            z = torch.baddbmm(bias, weight, h).mT
            a = activation(z, noise(layer) if activation.stochastic else None)
            if record is not None:
                record.append(a)
            h = a.mT
        return torch.baddbmm(last_bias, last_weight, h)


Watch = Callable[[int, Ensemble], object]
"""Called after each epoch with its number and the networks."""


class RunNoise:
    """One generator a run, moved to the stream of whatever is drawn next."""

    def __init__(self, config: ToyConfig) -> None:
        self.seeds = config.run_seeds
        self.generators = [torch.Generator(config.device) for _ in self.seeds]

    def at(self, *moment: str | int) -> Noise:
        """Return the noise of `(seed, "activation", *moment, layer)`, for each layer."""

        def layer_noise(layer: int) -> Sequence[torch.Generator]:
            return [
                # reseeding costs half of what a new generator does
                g.manual_seed(stream_seed(seed, "activation", *moment, layer))
                for g, seed in zip(self.generators, self.seeds, strict=True)
            ]

        return layer_noise


def train(config: ToyConfig, data: ToyData | None = None, watch: Watch | None = None) -> History:
    """Train all runs of `config` and return their history (chapter 11_toy_classification).

    Parameters: `data`, generated from `config` if None; `watch`, called after every epoch.
    """
    return fit(config, data, watch)[1]


def fit(
    config: ToyConfig, data: ToyData | None = None, watch: Watch | None = None
) -> tuple[Ensemble, History]:
    """Train as `train` does and return the trained networks too, in evaluation mode."""
    with one_thread():
        return _fit(config, make_data(config) if data is None else data, watch)


def _fit(config: ToyConfig, data: ToyData, watch: Watch | None) -> tuple[Ensemble, History]:
    start = time.perf_counter()
    history = History(config, config.run_seeds)
    network, noise = Ensemble(config), RunNoise(config)
    decoupled = config.optimizer == "adamw"
    linears = [*network.weights, *network.biases]
    adam = FlatAdam(linears, config.lr, config.weight_decay, decoupled)
    gates = {
        name: FlatAdam(parameters, config.lr, config.gate_decay, decoupled)
        for name, parameters in network.activations.learnt().items()
    }
    gradients = by_kernels(network, data) or by_autograd(network, data)
    samples = len(data.y_train)
    step = 0
    validate(network, data, noise.at("validation", 0), history, 0)
    for epoch in range(1, config.epochs + 1):
        network.train()
        order = epoch_order(config, epoch, samples)
        loss_sum = torch.zeros(config.runs, dtype=config.torch_dtype, device=config.device)
        for first in range(0, samples, config.batch_size):
            network.activations.at(step)
            loss_sum += gradients(order[:, first : first + config.batch_size], noise.at(step))
            adam.step()
            # a gate that is out of force stands still, its moments too
            if used := network.activations.phase.learns:
                gates[used].step()
            step += 1
        history.train_loss[:, epoch] = (loss_sum / samples).cpu()
        validate(network, data, noise.at("validation", epoch), history, epoch)
        if watch is not None:
            watch(epoch, network)
    history.seconds = time.perf_counter() - start
    return network, history


Gradients = Callable[[Tensor, Noise], Tensor]
"""Called with each run's samples `[R, n]` and the noise: adds every run's gradient of its mean loss
to the parameters', and returns the losses summed over samples `[R]`, nats."""


def by_autograd(network: Ensemble, data: ToyData) -> Gradients:
    """Return the gradients of `network`, by definition."""

    def gradients(order: Tensor, noise: Noise) -> Tensor:
        # index_select is several times faster than indexing here
        x = data.x_train.index_select(0, order.flatten()).view(*order.shape, -1)
        y = data.y_train.index_select(0, order.flatten()).view_as(order)
        loss = F.cross_entropy(network(x.mT, noise), y, reduction="none")
        # every run's own mean over the batch, differentiated without building it
        torch.autograd.backward(loss, torch.full_like(loss, 1 / loss.shape[1]))
        return loss.detach().sum(1)

    return gradients


def by_kernels(network: Ensemble, data: ToyData) -> Gradients | None:
    """Return the same to float32 rounding, several times faster; None where there is no kernel.

    The gradients replace what the parameters have, where those are not of another activation.
    """
    weight = network.weights[0]
    layers = network.activations
    used = (phase.make(width=1) for _, _, phase in layers.arm.phases(layers.total_steps))
    if weight.dtype != torch.float32 or not weight.is_cpu or not all(map(has_kernel, used)):
        return None
    made = Step(list(network.weights), list(network.biases))
    samples, labels = data.x_train.T.contiguous().numpy(), data.y_train.numpy()

    def gradients(order: Tensor, noise: Noise) -> Tensor:
        in_force = network.activations.in_force
        return torch.from_numpy(
            made.gradients(samples, labels, order.contiguous().numpy(), in_force, noise)
        )

    return gradients


def epoch_order(config: ToyConfig, epoch: int, samples: int) -> Tensor:
    """Return each run's order of the training samples in `epoch` `[R, samples]`."""
    orders = [
        torch.randperm(samples, generator=generator(seed, "order", epoch))
        for seed in config.run_seeds
    ]
    return torch.stack(orders).to(config.device)


@torch.no_grad()
def validate(network: Ensemble, data: ToyData, noise: Noise, history: History, epoch: int) -> None:
    """Run the validation samples through all networks and record the result as `epoch`'s."""
    network.eval()
    x = data.x_val.mT.expand(len(history.seeds), -1, -1)

    def observe(into: History) -> None:
        hidden: list[Tensor] = []
        seen.clear()
        logits = network(x, noise, hidden)
        alphas: list[Tensor | None] = [torch.sigmoid(logit) for logit in seen]
        into.observe(epoch, logits.mT, data.y_val, hidden, alphas or [None] * len(hidden))

    # a gate is most of the cost: its logits are taken on their way, not computed again
    seen: list[Tensor] = []
    gates = [module for module in network.modules() if isinstance(module, Gate)]
    hooks = [gate.register_forward_hook(lambda *call: seen.append(call[2])) for gate in gates]
    observe(history)
    trained_with = network.activations.phase
    for name, swapped in history.swapped.items():
        network.activations.put_in_force(Phase(name))
        observe(swapped)
    network.activations.put_in_force(trained_with)
    for hook in hooks:
        hook.remove()


def train_all(
    configs: Sequence[ToyConfig],
    workers: int = 1,
    watch: Callable[[int, History], object] | None = None,
) -> list[History]:
    """Train several configurations, `workers` at a time, each in one thread of one process.

    Parameters: `watch`, called in order with the number done and the newest history.
    Returns the histories in the order of `configs`; with one worker nothing is started.
    Raises ValueError for workers < 1. Chapter 41_performance.
    """
    histories: list[History] = []
    with ExitStack() as stack:
        results: Iterator[History]
        if workers == 1:
            results = map(train, configs)
        else:
            pool = stack.enter_context(training_pool(workers))
            results = (future.result() for future in submit_all(configs, pool))
        for history in results:
            histories.append(history)
            if watch is not None:
                watch(len(histories), history)
    return histories


def submit_all(configs: Sequence[ToyConfig], pool: Executor) -> list[Future[History]]:
    """Submit the trainings to `pool`, the costliest first, so that no long one is left for last.

    Returns their futures in the order of `configs`.
    """
    futures: dict[int, Future[History]] = {}
    for i in sorted(range(len(configs)), key=lambda i: -_relative_cost(configs[i])):
        futures[i] = pool.submit(train, configs[i])
    return [futures[i] for i in range(len(configs))]


def _relative_cost(config: ToyConfig) -> float:
    """A guess at what a training takes: a gate costs most, then the noise (41_performance)."""
    phase = config.plan.begins
    per_unit = 1.0 + phase.make(width=1).stochastic + 2.0 * bool(phase.learns)
    return per_unit * (20 + sum(config.widths)) * config.total_steps * config.runs
