"""Fine-tune a Hugging Face model by an arm, resumable to the same bits.

For what a `Trainer` does beyond it (several processes, data sets, loggers) there is the callback
`stocha.hf.SwiFT`. Chapter *Making it sparse*.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from stocha.arms import Arm
from stocha.base.result import Progress
from stocha.hf.evaluation import PRECISIONS, logits, states
from stocha.hf.exchange import exchange, hooked, layers
from stocha.hf.swi_ft import at_step
from stocha.hf.text import Ids
from stocha.lm.batches import Batches

SAVE_EVERY = 300.0
"""Seconds between two states: a state is some three times the size of the model."""

RISE, PULL = 0.7, 30.0
"""Share of the steps in which the aim of `Course.sparsity` rises, and how hard it is pulled at."""


@dataclass(frozen=True)
class Course:
    """What a fine-tuning run does: all that its bits depend on, beside model, text and machine.

    Parameters: `arm`'s name; `steps` of `batch` windows of `context` tokens; AdamW with peak rate
    `lr`, which rises linearly over the first `warmup` of all steps and follows one cosine down to
    `floor`·lr, whatever the arm does; gradients clipped to norm `clip`; `precision` of the matrix
    products (weights and optimizer are float32); `frozen` embeddings, and the head where it is
    tied to them, are a fifth of a small model and need no gradient for this.

    The objective is the text's loss, or part of it: `distil` in [0, 1] is the share that the
    divergence from the model as it was before, KL(before ‖ now), has in it; in the first `local` of
    all steps there is neither, but every feed-forward layer learns, by itself, what that model's
    layer returns for the same input. `sparsity`, if not 0, is the share of zeros that an L1 term on
    the activations aims at: the aim rises linearly from a half to `sparsity` over `RISE` of the
    steps, and the term weighs `PULL` times what a step's zeros lack of it (ProSparse, Song et al.
    2024, lets the weight itself grow).
    """

    arm: str
    steps: int
    batch: int = 4
    context: int = 256
    lr: float = 3e-4
    warmup: float = 0.03
    floor: float = 0.01
    clip: float = 1.0
    weight_decay: float = 0.0
    precision: str = "float32"
    frozen: bool = True
    seed: int = 0
    distil: float = 0.0
    local: float = 0.0
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        Arm.parse(self.arm)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: allowed: {', '.join(PRECISIONS)}")
        for name in ("distil", "local", "sparsity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: allowed: a number in [0, 1]")
        for name in ("steps", "batch", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: allowed: an int in [1, inf)")

    def rate(self, t: int) -> float:
        """Return the learning rate of step `t`."""
        rise = max(1, round(self.warmup * self.steps))
        if t < rise:
            return self.lr * (t + 1) / rise
        done = (t - rise + 1) / (self.steps - rise)
        return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)


@dataclass
class Progressed:
    """How far a run is: steps done, the text's loss in each (nats; NaN in a `local` step), rows."""

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    observed: list[dict[str, Any]] = field(default_factory=list)


Observe = Callable[[PreTrainedModel, int], list[dict[str, Any]]]


def finetune(
    model: PreTrainedModel,
    ids: Ids,
    course: Course,
    state: Path,
    *,
    observe: Observe | None = None,
    observed_at: tuple[int, ...] = (),
    progress: Progress | None = None,
) -> Progressed:
    """Train `model` in place on `ids` and leave the arm's last activation in it.

    Parameters:
        state: file that holds the run so far; an interrupted run goes on from it, to the same bits
            as if it had not been interrupted. It belongs to one model, text and course: the caller
            names it by them.
        observe: called with the model, which has the arm's last activation then, and the number of
            steps done, after each number of steps in `observed_at`; the rows it returns are kept.
        progress: called with (tokens done, all, what is going on).

    Batch t and the draws of step t are functions of (seed, t). Raises ValueError for a text
    shorter than a window, an architecture that is not known, or a state that is not whole.
    """
    arm = Arm.parse(course.arm)
    batches = Batches(cast(Any, ids), course.context, course.batch, course.seed)
    taught = course.distil or course.local
    before = copy.deepcopy(model).requires_grad_(False) if taught else None
    last = arm.phase_at(course.steps - 1, course.steps)
    if course.frozen:
        model.get_input_embeddings().weight.requires_grad_(False)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), course.lr, (0.9, 0.95), weight_decay=course.weight_decay, fused=True
    )
    done = _restore(state, trained, optimizer)

    def look() -> None:
        if observe is not None and done.steps in observed_at:
            exchange(model, last, course.seed)
            done.observed += observe(model, done.steps)

    first, saved = done.steps, time.monotonic()
    if first == 0:
        look()
    model.train()
    for t in range(first, course.steps):
        at_step(model, arm, t, course.steps, seed=course.seed)
        for group in optimizer.param_groups:
            group["lr"] = course.rate(t)
        loss = _backward(model, before, batches, course, t)
        torch.nn.utils.clip_grad_norm_(trained.values(), course.clip)
        optimizer.step()
        optimizer.zero_grad()
        done.losses.append(loss)
        done.steps = t + 1
        look()
        if progress is not None:
            each = course.batch * course.context
            progress(done.steps * each, course.steps * each, f"loss {loss:.3f}")
        if time.monotonic() - saved > SAVE_EVERY and done.steps < course.steps:
            _store(state, done, trained, optimizer)
            saved = time.monotonic()
    if done.steps > first:
        _store(state, done, trained, None)
    exchange(model, last, course.seed)
    model.train(False)
    return done


def _backward(
    model: PreTrainedModel,
    before: PreTrainedModel | None,
    batches: Batches,
    course: Course,
    t: int,
) -> float:
    """Leave the gradient of step `t` in the parameters; return the text's loss, nats."""
    inputs, targets = batches.at(t)
    if before is not None and t < round(course.local * course.steps):
        _match_layers(model, before, inputs, course.precision)
        return math.nan
    found: list[Tensor] = []
    collected = hooked(model, lambda _, y: found.append(y)) if course.sparsity else nullcontext()
    with collected:
        now = logits(model, inputs, course.precision).flatten(0, 1)
    loss = F.cross_entropy(now, targets.flatten().to(now.device))
    objective = loss
    if before is not None and course.distil:
        with torch.no_grad():
            then = logits(before, inputs, course.precision).flatten(0, 1).log_softmax(-1)
        apart = F.kl_div(now.log_softmax(-1), then, reduction="batchmean", log_target=True)
        objective = torch.lerp(loss, apart, course.distil)
    if found:
        zeros = torch.stack([(y.detach() == 0).float().mean() for y in found]).mean()
        aim = 0.5 + (course.sparsity - 0.5) * min(1, t / max(1, RISE * course.steps))
        weight = PULL * (aim - zeros).clamp(min=0)
        objective = objective + weight * torch.stack([y.float().abs().mean() for y in found]).sum()
    objective.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def _match_layers(
    model: PreTrainedModel, before: PreTrainedModel, inputs: Tensor, precision: str
) -> None:
    """Leave, in each feed-forward layer, the gradient of its squared error relative to before's."""

    def hook(own: nn.Module) -> Any:
        def match(_: Any, x: tuple[Tensor], y: Tensor) -> None:
            with torch.enable_grad():
                apart = (own(x[0]).float() - y.float()).square().mean() / y.float().square().mean()
                apart.backward()

        return match

    with ExitStack() as hooks, torch.no_grad():
        for own, was in zip(layers(model), layers(before), strict=True):
            hooks.callback(was.register_forward_hook(hook(own)).remove)
        states(before, inputs, precision)


def _store(
    path: Path, done: Progressed, trained: dict[str, torch.nn.Parameter], optimizer: Any | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    weights = {name: parameter.detach() for name, parameter in trained.items()}
    state = None if optimizer is None else optimizer.state_dict()  # a finished run needs none
    torch.save({"done": vars(done), "weights": weights, "optimizer": state}, partial)
    partial.replace(path)


def _restore(
    path: Path, trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> Progressed:
    if not path.is_file():
        return Progressed()
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if found["optimizer"] is not None:
            optimizer.load_state_dict(found["optimizer"])
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(found["weights"][name])
        return Progressed(**found["done"])
    except Exception as error:
        raise ValueError(f"state={path}: truncated or of another run; delete it") from error
