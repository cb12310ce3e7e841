"""The activation modules of a toy network's hidden layers, and which of them are in force."""

from collections.abc import Iterator, Mapping

from torch import nn

from stocha.activations import Activation, Learnt
from stocha.arms import Phase
from stocha.base.streams import Generators
from stocha.toy.config import ToyConfig


class ActivatedLayers(nn.Module):
    """One activation per hidden layer, exchanged as the arm says; what it learns outlives that.

    Phases that learn the same, a gate or a few numbers, share it, whatever their other options.

    Parameters: `config`; `runs`, the ensemble's stacked parameters, or None for a single network.
    """

    def __init__(self, config: ToyConfig, runs: int | None = None) -> None:
        super().__init__()
        self.arm, self.total_steps = config.plan, config.total_steps
        self.runs, self.widths = runs, config.widths
        self.gates = nn.ModuleDict()
        for _, _, phase in self.arm.phases(self.total_steps):
            if phase.learns and phase.learns not in self.gates:
                made = [phase.make(runs, width) for width in self.widths]
                self.gates[phase.learns] = nn.ModuleList([m.learnt for m in made])  # type: ignore[misc]
        self.at(0)

    def at(self, step: int) -> None:
        """Put in force what the arm has at `step`."""
        phase = self.arm.phase_at(step, self.total_steps)
        if phase != getattr(self, "phase", None):
            self.put_in_force(phase)

    def put_in_force(self, phase: Phase) -> None:
        """Put `phase`'s activation in force, whatever the arm says."""
        gates = self.gates[phase.learns] if phase.learns else [None] * len(self.widths)
        assert isinstance(gates, nn.ModuleList | list)
        self.phase = phase
        self.in_force: list[Activation] = [
            phase.make(self.runs, width, gate)  # type: ignore[arg-type]
            for width, gate in zip(self.widths, gates, strict=True)
        ]
        self.layers = nn.ModuleList(self.in_force).train(self.training)

    def learnt(self) -> Mapping[str, list[nn.Parameter]]:
        """The parameters that some phase learns, by `Phase.learns`."""
        return {name: list(gates.parameters()) for name, gates in self.gates.items()}

    def __iter__(self) -> Iterator[Activation]:
        return iter(self.in_force)

    def reset_parameters(self, generators: Generators) -> None:
        """Initialise all that is learnt, layer by layer."""
        for gates in self.gates.values():
            assert isinstance(gates, nn.ModuleList)
            for gate in gates:
                assert isinstance(gate, Learnt)
                gate.reset_parameters(generators)
