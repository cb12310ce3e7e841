"""The training loop: segments between shared checkpoints, exact in every interruption."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from stocha.arms import Arm
from stocha.base.identity import science
from stocha.lm import checkpoint
from stocha.lm.batches import Batches
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.model import Decoder, noise
from stocha.lm.schedule import multiplier
from stocha.lm.tokens import Tokens

SCIENCE = science(__name__)
"""The code that this process trains with: a change of it does not continue old checkpoints."""

EXPLODED = 4.0
"""A loss above this multiple of ln(vocabulary), the loss of knowing nothing, has diverged."""


class Diverged(RuntimeError):
    """The loss became NaN, infinite or absurd; the message names the last good checkpoint."""


@dataclass
class Record:
    """What training leaves behind besides weights, one entry a step."""

    loss: list[float] = field(default_factory=list)
    """Mean cross-entropy of the step's batch before its update, nats."""
    grad_norm: list[float] = field(default_factory=list)
    """Norm of the whole gradient before clipping."""
    watched: list[dict[str, float]] = field(default_factory=list)
    """Rows of `watch`, each with its `step`."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a step is computed, in which precision its products are, and whether it is compiled."""

    device: torch.device
    precision: torch.dtype = torch.float32
    compiled: bool = False


def place(device: str) -> Place:
    """Return the place that `device` names: "cpu", "cuda", or "auto", CUDA where there is one.

    On a CPU a step is float32 by `stocha.lm.fast`; on CUDA it is PyTorch's own operations,
    compiled, with products in bfloat16. Raises ValueError for another name, or without CUDA.
    """
    there = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not there):
        raise ValueError(f"device={device!r}: allowed: auto, cpu{', cuda' if there else ''}")
    if device == "cpu" or not there:
        return Place(torch.device("cpu"))
    return Place(torch.device("cuda"), torch.bfloat16, compiled=True)


Watch = Callable[[Decoder, int], list[dict[str, float]]]


@dataclass
class Run:
    """One training run. `train` brings it to its end; the model and the record are then complete.

    Parameters:
        model_config, config, arm, tokens: what is trained, how, with which activation, on what.
        store: where checkpoints are kept and shared.
        boundaries: steps whose checkpoints are kept for other runs (a trunk's switch steps).
        watch: called as watch(model, step) before the update of every step in `watch_steps`, with
            the step's activation in force and its gradients filled; its rows go to the record.
        progress: called with (steps done, steps in all).
        save_every: seconds between checkpoints inside a segment.
        device: see `place`. Streams have the same keys everywhere, but a CUDA generator draws
            other numbers from them: runs are comparable within one device.

    With torch.distributed initialised, each rank takes its share of every batch; the gradients of
    the whole batch's mean loss are summed over ranks, so that the loss curve is that of one rank.

    Raises ValueError for an impossible configuration and `Diverged`. Chapter *Protocol*.
    """

    model_config: ModelConfig
    config: TrainConfig
    arm: Arm
    tokens: Tokens
    store: checkpoint.Store
    boundaries: Sequence[int] = ()
    watch: Watch | None = None
    watch_steps: frozenset[int] = frozenset()
    progress: Callable[[int, int], None] | None = None
    save_every: float = 60.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.place = place(self.device)
        self.total = self.config.steps(self.model_config.context)
        vocabulary = self.tokens.tokenizer.get_vocab_size()
        if vocabulary != self.model_config.vocabulary:
            raise ValueError(
                f"vocabulary={self.model_config.vocabulary}: the corpus has {vocabulary} tokens"
            )
        text, context = self.tokens.splits["train"], self.model_config.context
        self.batches = Batches(text, context, self.config.batch, self.config.seed)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        if self.config.batch % (self.ranks * self.config.micro_batch):
            raise ValueError(
                f"batch={self.config.batch}: must divide into {self.ranks} ranks of whole "
                f"micro-batches of {self.config.micro_batch}"
            )
        self._check_learnt()
        self.phase = self.arm.phase_at(0, self.total)
        self.model = Decoder(self.model_config, self.phase.make(), self.config.seed)
        self.model.to(self.place.device)
        self.loss = torch.compile(self.model.loss) if self.place.compiled else self.model.loss
        self.optimizer = _adamw(self.model, self.config)
        self.record = Record()
        self.step = 0

    def key(self, step: int) -> list[Any]:
        """Return what decides the bits of the state after `step` steps."""
        return [
            asdict(self.model_config),
            asdict(self.config),
            self.arm.prefix(step, self.total),
            self.tokens.hash,
            [SCIENCE, self.ranks, torch.get_num_threads(), str(self.place)],
            step,
        ]

    def train(self) -> None:
        """Train to the last step, from the furthest checkpoint any run has left."""
        marks = sorted({*self.boundaries, self.total} - {0})
        for mark in reversed(marks):
            if self._restore(self.store.path(self.key(mark))):
                break
        for mark in marks:
            if mark <= self.step:
                continue
            if self.ranks > 1:
                self._segment(mark, self.store.path(self.key(mark)))
                continue
            with self.store.claim(self.key(mark)) as path:
                if not self._restore(path):
                    self._segment(mark, path)

    def _segment(self, end: int, path: Path) -> None:
        partial = _partial(path)
        self._restore(partial)
        saved = time.monotonic()
        while self.step < end:
            self._step()
            if self.progress is not None:
                self.progress(self.step, self.total)
            if time.monotonic() - saved > self.save_every and self.step < end:
                self._save(partial)
                saved = time.monotonic()
        self._save(path)
        if self.rank == 0:
            partial.unlink(missing_ok=True)

    def _step(self) -> None:
        begun = time.perf_counter()
        self.model.train()
        self._use(self.step)
        loss = self.gradients(self.step)
        if self.watch is not None and self.step in self.watch_steps:
            rows = self.watch(self.model, self.step)
            self.record.watched += [{"step": self.step, **row} for row in rows]
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        self._check(loss, norm)
        rate = self.config.lr * multiplier(self.step, self.total, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.record.loss.append(loss)
        self.record.grad_norm.append(norm)
        self.record.seconds += time.perf_counter() - begun
        self.step += 1

    def gradients(self, step: int) -> float:
        """Fill the gradients of `step`'s batch, and return its mean loss in nats."""
        share = self.config.batch // self.ranks
        tokens = self.config.batch * self.model_config.context
        self.optimizer.zero_grad()
        device, precision = self.place.device, self.place.precision
        loss = torch.zeros((), device=device)
        for start in range(self.rank * share, (self.rank + 1) * share, self.config.micro_batch):
            rows = range(start, start + self.config.micro_batch)
            ids, targets = (batch.to(device) for batch in self.batches.at(step, rows))
            drawn = noise(self.config.seed, rows, step, device=device)
            if self.place.compiled:  # a compiler would make constants of the step's keys
                drawn = torch.compiler.disable(drawn)  # type: ignore[no-untyped-call]
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                part = self.loss(ids, targets, drawn) / tokens
            torch.autograd.backward(part)
            loss += part.detach()
        if self.ranks > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            flat = nn.utils.parameters_to_vector([loss.view(1), *gradients])
            dist.all_reduce(flat)
            nn.utils.vector_to_parameters(flat[1:], gradients)
            loss = flat[0]
        return float(loss)

    def _check_learnt(self) -> None:
        """Refuse what no step would train: the optimizer holds what the first step learns."""
        learnt = [phase.learns for _, _, phase in self.arm.phases(self.total)]
        for before, after in pairwise(learnt):
            if after and after != before:
                raise ValueError(
                    f"arm={self.arm.name}: allowed: what it learns, from the first step on"
                )

    def _use(self, step: int) -> None:
        """Put the activation of `step` in force, unless it is; what is learnt outlives options."""
        phase = self.arm.phase_at(step, self.total)
        if phase != self.phase:
            kept = [
                own.learnt if phase.learns == self.phase.learns else None
                for own in self.model.activations
            ]
            self.model.use([phase.make(learnt=learnt) for learnt in kept])
            self.phase = phase

    def _check(self, loss: float, norm: float) -> None:
        limit = EXPLODED * math.log(self.model_config.vocabulary)
        if math.isfinite(loss) and math.isfinite(norm) and loss < limit:
            return
        marks = (self.store.path(self.key(mark)) for mark in {*self.boundaries, self.total})
        kept = (found for mark in marks for found in (mark, _partial(mark)) if found.is_file())
        steps = {int(checkpoint.load(path)["step"]): path for path in kept}
        last = f"that of step {max(steps)}, {steps[max(steps)]}" if steps else "the initialisation"
        raise Diverged(
            f"step {self.step}: loss {loss:.4g}, gradient norm {norm:.4g}: diverged; the last good "
            f"state is {last}; a smaller lr than {self.config.lr:g} may help"
        )

    def _save(self, path: Path) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "model_config": asdict(self.model_config),
            "config": asdict(self.config),
            "corpus": self.tokens.hash,
            "record": asdict(self.record),
        }
        if self.rank == 0:
            self.store.write(path, state)

    def _restore(self, path: Path) -> bool:
        state = self.store.read(path)
        if state is None:
            return False
        self.step = int(state["step"])
        self._use(max(self.step, 1) - 1)  # as when it was saved: its parameters are in the state
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.record = Record(**state["record"])
        return True


def _partial(path: Path) -> Path:
    """Where a segment that will end in `path` is saved on its way."""
    return path.with_suffix(".partial.pt")


def _adamw(model: Decoder, config: TrainConfig) -> torch.optim.AdamW:
    groups = [
        {
            "params": [p for p in model.parameters() if (p.ndim < 2) == vectors],
            "weight_decay": decay,
        }
        for vectors, decay in ((False, config.weight_decay), (True, 0.0))
    ]
    betas = config.beta1, config.beta2
    return torch.optim.AdamW(groups, config.lr, betas, config.adam_eps, fused=True)


def keep_heap() -> None:
    """Tell the C allocator to keep freed memory: each step asks for the same blocks again.

    Without it every large tensor is fresh pages from the kernel, a quarter of a step. Does nothing
    where there is no glibc.
    """
    import ctypes

    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    library.mallopt(m_mmap_threshold, 1 << 30)
    library.mallopt(m_trim_threshold, (1 << 31) - 1)
