"""Fine-tune a Hugging Face model by an arm, resumable to the same bits.

For what a `Trainer` does beyond it (several processes, data sets, loggers) there is the callback
`stocha.hf.SwiFT`. Chapter *Making it sparse*.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from stocha.arms import Arm
from stocha.base.result import Progress
from stocha.hf.evaluation import PRECISIONS, logits
from stocha.hf.exchange import exchange, layers
from stocha.hf.swi_ft import at_step
from stocha.hf.text import Ids
from stocha.lm.batches import Batches

SAVE_EVERY = 300.0
"""Seconds between two states: a state is some three times the size of the model."""


@dataclass(frozen=True)
class Course:
    """What a fine-tuning run does: all that its bits depend on, beside model, text and machine.

    Parameters: `arm`'s name; `steps` of `batch` windows of `context` tokens; AdamW with peak rate
    `lr`, which rises linearly over the first `warmup` of all steps and follows one cosine down to
    `floor`·lr, whatever the arm does; gradients clipped to norm `clip`; `precision` of the matrix
    products (weights and optimizer are float32); `frozen` embeddings, and the head where it is
    tied to them, are a fifth of a small model and need no gradient for this.

    Beside the text's loss: `distil` in [0, 1], the share of the divergence from the model as it was
    before, KL(before ‖ now), in the objective; `l1`, the weight that an L1 term on the activations
    reaches at the last step, growing linearly from 0: it is the mean magnitude of a layer's
    activations, summed over layers (as in ProSparse, Song et al. 2024).
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
    l1: float = 0.0

    def __post_init__(self) -> None:
        Arm.parse(self.arm)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}: allowed: {', '.join(PRECISIONS)}")
        if not 0 <= self.distil <= 1:
            raise ValueError(f"distil={self.distil}: allowed: a number in [0, 1]")
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
    """How far a run is: steps done, the training loss of each (nats), and what was observed."""

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
    before = copy.deepcopy(model).requires_grad_(False) if course.distil else None
    last = arm.phase_at(course.steps - 1, course.steps)
    if course.frozen:
        model.get_input_embeddings().weight.requires_grad_(False)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=course.lr, betas=(0.9, 0.95), weight_decay=course.weight_decay
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
    with _magnitudes(model, course.l1 > 0) as magnitudes:
        now = logits(model, inputs, course.precision).flatten(0, 1)
    loss = F.cross_entropy(now, targets.flatten().to(now.device))
    objective = loss
    if before is not None:
        with torch.no_grad():
            then = logits(before, inputs, course.precision).flatten(0, 1).log_softmax(-1)
        apart = F.kl_div(now.log_softmax(-1), then, reduction="batchmean", log_target=True)
        objective = torch.lerp(loss, apart, course.distil)
    if course.l1:
        weight = course.l1 * t / max(1, course.steps - 1)
        objective = objective + weight * torch.stack(magnitudes).sum()
    objective.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@contextmanager
def _magnitudes(model: PreTrainedModel, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect, if `wanted`, the mean magnitude of each layer's activations, differentiable."""
    found: list[Tensor] = []

    def collect(_: Any, __: Any, y: Tensor) -> None:
        found.append(y.float().abs().mean())

    handles = [layer.act_fn.register_forward_hook(collect) for layer in layers(model) if wanted]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


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
