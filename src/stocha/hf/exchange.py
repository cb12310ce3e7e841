"""The activation of a Hugging Face model's gated feed-forward layers, exchanged.

Draws never touch the global random state: each is keyed by (seed, step, layer), as everywhere in
this study, so that a recomputed layer, a second process and a resumed run draw what they should.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from stocha.activations import make, names
from stocha.arms import Arm, Constant, Phase
from stocha.base.streams import generator

FAMILIES = {
    "gemma": "hidden_act",
    "gemma2": "hidden_activation",
    "gemma3_text": "hidden_activation",
    "llama": "hidden_act",
    "mistral": "hidden_act",
    "qwen2": "hidden_act",
    "qwen3": "hidden_act",
    "smollm3": "hidden_act",
}
"""`model_type` of the configurations that are known, and where each names its activation."""

THEIRS = frozenset(ACT2FN)
"""The names that Hugging Face has of its own: a model that uses one needs no `stocha` to load."""

_unplaced = itertools.count()


class Keyed(nn.Module):
    """An activation of the study in a layer of a Hugging Face model: forward(x), x of any shape.

    A call's draws come from the stream (seed, "activation", *key, layer, mode, call): `key` is what
    `seek` was given last, call counts the forwards since. While gradient checkpointing computes a
    layer a second time, within a backward pass, the draws of the last call are repeated.
    Raises RuntimeError if it cannot know which draws to repeat: two forwards since `seek`, or since
    the last backward, each to be computed again.
    """

    def __init__(
        self, phase: Phase | str, layer: int | None = None, seed: int = 0, width: int | None = None
    ) -> None:
        super().__init__()
        self.phase = parsed(phase) if isinstance(phase, str) else phase
        self.activation = self.phase.make(width=width)
        if self.activation.both:
            raise ValueError(
                f"activation={self.phase.activation!r}: acts on the up projection too, which these "
                "layers give to no activation; allowed: another"
            )
        # made by its name alone, it cannot see which layer it is in: the order of making tells
        self.layer: int | str = f"unplaced {next(_unplaced)}" if layer is None else layer
        self.seek(seed)

    def seek(self, seed: int, *key: int | str) -> None:
        """Draw from the stream of `seed` and `key` from now on."""
        self.seed, self.key = seed, key
        self.calls = self.pending = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.activation.stochastic:
            return self.activation(x)  # type: ignore[no-any-return]
        if recomputing():
            if self.pending > 1:
                raise RuntimeError(
                    "gradient checkpointing after several forward passes: allowed: one backward "
                    "pass a forward pass, or stocha.hf.at_step before each"
                )
            self.pending = 0
        else:
            self.calls += 1
            self.pending += self.training
        mode = "train" if self.training else "test"
        names = ("activation", *self.key, self.layer, mode, self.calls)
        return self.activation(x, generator(self.seed, *names, device=x.device))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"layer={self.layer}, seed={self.seed}"


def use(
    model: PreTrainedModel, activation: str, *, seed: int = 0, **options: Any
) -> PreTrainedModel:
    """Exchange the activation of every gated feed-forward layer, in place; weights stay.

    Parameters:
        model: one of the families Llama (SmolLM2 too), Mistral, Qwen2, Qwen3, SmolLM3, Gemma.
        activation: a name of this study ("stocha", "bernoulli_silu", …; also with its options,
            "stocha(0.7)") or of `transformers.activations.ACT2FN` ("relu", "silu", …).
        seed: of the draws, where there are any.
        options: of that activation: `p=0.7`.

    The configuration names the activation afterwards, so that the saved model loads with it: with
    one of Hugging Face's own names anywhere, with one of the study's after `register(name)`.
    Returns the model. Raises ValueError for another architecture, name or option.
    Chapter *Use it on your own model*.
    """
    family(model)
    if activation in THEIRS and not (options and activation in names()):
        if options:
            option, value = next(iter(options.items()))
            raise ValueError(f"{option}={value!r}: {activation} has no such option; allowed: none")
        exchange(model, activation, seed)
        return model
    phase = parsed(activation, **options)
    exchange(model, phase, seed)
    register(Constant(phase).name)
    return model


def register(name: str) -> None:
    """Make `config.hidden_act = name` work, `name` an activation with its options: "stocha(0.7)".

    Those without options are registered when this module is imported. Raises ValueError for a name
    that is none.
    """
    if name not in THEIRS:
        ACT2FN[name] = (Keyed, {"phase": parsed(name)})


def parsed(activation: str, **options: Any) -> Phase:
    """Return the phase of a name, with its options in it or given; ValueError for a bad one."""
    if "(" not in activation:
        if activation not in names():
            allowed = ", ".join(sorted(THEIRS.union(names())))
            raise ValueError(f"activation={activation!r}: allowed: {allowed}")
        return Phase(activation, tuple(options.items()))
    arm = Arm.parse(activation)
    if options or not isinstance(arm, Constant):
        raise ValueError(f"activation={activation!r}: allowed: one activation, its options once")
    return arm.phase


def family(model: PreTrainedModel) -> tuple[Any, str]:
    """Return the configuration that names the model's activation, and its field for it.

    Raises ValueError for an architecture that is not known.
    """
    config = model.config.get_text_config()
    if config.model_type not in FAMILIES:
        raise ValueError(f"model_type={config.model_type!r}: allowed: {', '.join(FAMILIES)}")
    return config, FAMILIES[config.model_type]


def current(model: PreTrainedModel) -> str:
    """Return the name of the activation that the model's configuration states."""
    config, field = family(model)
    return str(getattr(config, field))


def layers(model: PreTrainedModel) -> list[Any]:
    """Return the gated feed-forward layers, in order: `down_proj(act_fn(gate_proj) * up_proj)`.

    Raises ValueError if they are not as many as the configuration has layers.
    """
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    found = [
        m for m in model.modules() if all(isinstance(getattr(m, p, None), nn.Module) for p in parts)
    ]
    expected = family(model)[0].num_hidden_layers
    if len(found) != expected:
        raise ValueError(
            f"model: {len(found)} gated feed-forward layers; allowed: as many as it has layers, "
            f"{expected}"
        )
    return found


@contextmanager
def hooked(model: PreTrainedModel, see: Callable[[int, Tensor], Any]) -> Iterator[None]:
    """Call `see(layer, activations)` in every forward pass of the block; a result replaces them."""
    handles = [
        layer.act_fn.register_forward_hook(lambda _, __, y, index=index: see(index, y))
        for index, layer in enumerate(layers(model))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def exchange(model: PreTrainedModel, activation: Phase | str, seed: int = 0) -> None:
    """Put a phase's activation, or one of Hugging Face's own by name, into every layer."""
    config, field = family(model)
    name = activation if isinstance(activation, str) else own_name(activation)
    read_back = type(config).from_dict(config.to_dict() | {field: name})
    if getattr(read_back, field) != name:
        raise ValueError(
            f"activation={name!r}: its configuration reads that as {getattr(read_back, field)}; "
            "allowed: another"
        )
    for index, layer in enumerate(layers(model)):
        weight = layer.gate_proj.weight
        if name in THEIRS:
            act = ACT2FN[name]
        else:
            assert isinstance(activation, Phase)
            act = Keyed(activation, index, seed, width=weight.shape[0])
        layer.act_fn = act.to(weight.device, weight.dtype).train(layer.training)
    setattr(config, field, name)


def own_name(phase: Phase) -> str:
    """Return the name under which a configuration states a phase."""
    return Constant(phase).name


def recomputing() -> bool:
    """Whether a backward pass is running here: a forward now is gradient checkpointing's."""
    return torch._C._current_graph_task_id() != -1


for _name in names():
    if not make(_name).both:
        register(_name)
