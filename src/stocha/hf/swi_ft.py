"""Swi+FT of a Hugging Face model: a callback for its `Trainer`, a function for one's own loop."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from stocha.arms import Arm, Phase
from stocha.hf.exchange import (
    Keyed,
    current,
    exchange,
    family,
    hooked,
    layers,
    own_name,
    recomputing,
)


def at_step(
    model: PreTrainedModel,
    arm: Arm | str,
    t: int,
    total: int,
    *,
    micro: int = 0,
    seed: int = 0,
    rank: int = 0,
) -> Phase:
    """Put the activation of step `t` of `total` in force; call it before every forward pass.

    Parameters: `arm`, or its name, such as "stocha(0.7)+ft(0.1)"; `micro` counts the batches whose
    gradients a step accumulates; `rank` is the process, `seed` of the draws, which are a function
    of (seed, rank, t, micro, layer) and nothing else.
    Returns the phase. Raises ValueError for a t outside 0 … total − 1, an architecture that is not
    known, or a phase that has parameters of its own.
    """
    arm = Arm.parse(arm) if isinstance(arm, str) else arm
    phase = _checked(arm.phase_at(t, total))
    if current(model) != own_name(phase):
        exchange(model, phase, seed)
    for layer in layers(model):
        if isinstance(layer.act_fn, Keyed):
            layer.act_fn.seek(seed, "rank", rank, "step", t, "micro", micro)
    return phase


def _checked(phase: Phase) -> Phase:
    if phase.learns:
        raise ValueError(
            f"activation={phase.activation!r}: no optimizer would see what it learns; "
            "allowed: an activation without parameters"
        )
    return phase


class SwiFT(TrainerCallback):
    """Run an arm while a `Trainer` trains: `Trainer(…, callbacks=[SwiFT("stocha(0.7)+ft(0.1)")])`.

    Parameters: `arm`, or its name; `seed` of the draws; `around`, how many steps before and after a
    switch are logged one by one.

    Every log entry with a loss gets `zeros`, the share of zeros in the activations of the step
    before it, and `zeros/0`, `zeros/1`, … by layer (this process's). What it does is a function of
    the step alone: a checkpoint of the `Trainer` holds all that is needed to resume to the same
    bits. The learning rate is the `Trainer`'s business; the paper's is a cosine down to a
    hundredth: `lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.01}`.
    Claims L3 to L5; chapter *Making it sparse*. Raises ValueError as `at_step` does.
    """

    def __init__(self, arm: Arm | str, seed: int = 0, around: int = 5) -> None:
        self.arm = Arm.parse(arm) if isinstance(arm, str) else arm
        self.seed, self.around = seed, around
        self._micro = 0
        self._switches: list[int] = []
        self._counting: AbstractContextManager[list[list[Tensor]]] | None = None
        self._counted: list[list[Tensor]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        family(kwargs["model"])
        phases = [(start, _checked(phase)) for start, _, phase in self.arm.phases(state.max_steps)]
        self._switches = [
            start
            for (_, before), (start, after) in pairwise(phases)
            if before.activation != after.activation
        ]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._micro = 0
        self._at(args, state, kwargs["model"])
        self._stop_counting()
        if self._near(state.global_step) or (state.global_step + 1) % state.logging_steps == 0:
            self._counting = zeros_counted(kwargs["model"])
            self._counted = self._counting.__enter__()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._micro += 1
        self._at(args, state, kwargs["model"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._stop_counting()
        if self._near(state.global_step - 1):
            control.should_log = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if "loss" in kwargs["logs"] and self._counted:
            shares = [float(torch.stack(layer).mean()) for layer in self._counted]
            found = {"zeros": sum(shares) / len(shares)}
            found |= {f"zeros/{index}": share for index, share in enumerate(shares)}
            kwargs["logs"].update(found)
            state.log_history[-1].update(found)  # a copy of logs was stored before this call

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._stop_counting()

    def _at(self, args: TrainingArguments, state: TrainerState, model: PreTrainedModel) -> None:
        at_step(
            model,
            self.arm,
            state.global_step,
            state.max_steps,
            micro=self._micro,
            seed=self.seed,
            rank=args.process_index,
        )

    def _near(self, t: int) -> bool:
        return any(-self.around <= t - switch < self.around for switch in self._switches)

    def _stop_counting(self) -> None:
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self._counting = None


@contextmanager
def zeros_counted(model: PreTrainedModel) -> Iterator[list[list[Tensor]]]:
    """Collect, by layer, the share of zeros that each forward pass in the block finds.

    Yields one list a layer, of scalar tensors; a layer computed a second time by gradient
    checkpointing counts once.
    """
    counted: list[list[Tensor]] = [[] for _ in layers(model)]

    def count(layer: int, y: Tensor) -> None:
        if not recomputing():
            counted[layer].append((y.detach() == 0).float().mean())

    with hooked(model, count):
        yield counted
