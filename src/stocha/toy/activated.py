"""The activation modules of a toy network's hidden layers, and which of them are in force."""

from collections.abc import Iterator

from torch import nn

from stocha.activations import Activation, StochA, make
from stocha.base.streams import Generators
from stocha.switching import Phase, Schedule, constant
from stocha.toy.config import ToyConfig


class ActivatedLayers(nn.Module):
    """One activation per hidden layer for every activation that schedule or inference names.

    `options` go to the activation they were written for, `config.activation`.

    Parameters: `config`; `runs`, the ensemble's stacked gates, or None for a single network.
    """

    def __init__(self, config: ToyConfig, runs: int | None = None) -> None:
        super().__init__()
        self.schedule: Schedule = config.schedule or constant(
            config.activation, p=config.options.get("p", 0.5)
        )
        names = {phase.name for _, _, phase in self.schedule.phases(config.total_steps)}
        self.stacks = nn.ModuleDict()
        for name in sorted(names | set(config.inference)):
            options = config.options if name == config.activation else {}
            layers = [make(name, runs=runs, width=width, **options) for width in config.widths]
            self.stacks[name] = nn.ModuleList(layers)
        self.total_steps = config.total_steps
        self.at(0)

    def at(self, step: int) -> None:
        """Put in force what the schedule has at `step`."""
        phase = self.schedule.at(step, self.total_steps)
        if phase != getattr(self, "phase", None):
            self.put_in_force(phase)

    def put_in_force(self, phase: Phase) -> None:
        """Put `phase`'s activation in force, whatever the schedule says."""
        stack = self.stacks[phase.name]
        assert isinstance(stack, nn.ModuleList)
        self.phase = phase
        self.in_force = [layer for layer in stack if isinstance(layer, Activation)]
        if phase.p is not None:
            for layer in self.in_force:
                assert isinstance(layer, StochA)
                layer.p = phase.p

    def __iter__(self) -> Iterator[Activation]:
        return iter(self.in_force)

    def reset_parameters(self, generators: Generators) -> None:
        """Initialise every gate, layer by layer."""
        for stack in self.stacks.values():
            assert isinstance(stack, nn.ModuleList)
            for layer in stack:
                assert isinstance(layer, Activation)
                layer.reset_parameters(generators)
