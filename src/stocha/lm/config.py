"""What a language model is and how it is trained, as frozen values that hash."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any


def _at_least(minimum: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= minimum:
            raise ValueError(f"{name}={value}: allowed: a number >= {minimum}")


def fingerprint(value: Any) -> str:
    """Return the 12-hexadecimal hash of a JSON-able value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Llama-family decoder; the default is the study's *tiny*, 1.2M parameters.

    `heads` query heads share `kv_heads` key-value heads (grouped-query attention); `head_width`
    is `width / heads` and must be even for RoPE. With `shifted_keys` the second half of each key is
    that of the position before, which costs no parameter (chapter *What makes runs comparable*);
    `head_width` must then be a multiple of 4. Raises ValueError for an impossible shape. Chapter
    *Protocol*.
    """

    vocabulary: int = 2048
    width: int = 128
    layers: int = 4
    heads: int = 2
    kv_heads: int = 1
    ffn: int = 512
    context: int = 256
    rope_base: float = 10_000.0
    eps: float = 1e-5
    tied: bool = True
    shifted_keys: bool = False

    def __post_init__(self) -> None:
        _at_least(
            1,
            vocabulary=self.vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            ffn=self.ffn,
            context=self.context,
        )
        if self.width % (2 * self.heads):
            raise ValueError(
                f"heads={self.heads}: width {self.width} must divide into heads of even width"
            )
        if self.shifted_keys and self.head_width % 4:
            raise ValueError(
                f"shifted_keys=True: allowed for a head width that 4 divides, not {self.head_width}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"kv_heads={self.kv_heads}: must divide the number of query heads, {self.heads}"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def qkv(self) -> int:
        """Width of the stacked query, key and value projection."""
        return (self.heads + 2 * self.kv_heads) * self.head_width

    @property
    def matrix_parameters(self) -> int:
        """Number of weights that every token is multiplied with, the head counted once."""
        layer = self.width * (self.qkv + self.heads * self.head_width + 3 * self.ffn)
        return self.layers * layer + self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """Number of trained parameters (activations with learned gates add theirs)."""
        norms = (2 * self.layers + 1) * self.width
        return self.matrix_parameters + norms + (0 if self.tied else self.vocabulary * self.width)

    def flops_per_token(self, attention: bool = False) -> int:
        """Return the model FLOPs of one training token: 6 a weight, forward and backward.

        Parameters: `attention`, whether to add the score and value products of causal attention,
        6·layers·context·width; without it the count is the usual 6N and the stricter one.
        """
        scores = 6 * self.layers * self.context * self.width if attention else 0
        return 6 * self.matrix_parameters + scores


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained: everything that changes the bits of a run, but for its data.

    Parameters:
        tokens: trained on in all, rounded down to whole steps of `batch` sequences.
        batch: sequences a step, over all ranks; `micro_batch`, how many of them at a time, where 0
            takes the largest number up to 16 that divides the batch.
        lr: peak learning rate; `floor`, what the schedule ends at, as a fraction of it.
        schedule: "cosine" or "wsd" (warm-up, stable, then linear over the last `decay`).
        warmup: steps with a linearly rising learning rate.
        weight_decay: AdamW's, on matrices only; `beta1`, `beta2`, `adam_eps`, its others.
        clip: maximum norm of the gradient.
        seed: of initialisation, data order and activation noise.

    Raises ValueError for an impossible value. Chapter *Protocol*.
    """

    tokens: int = 6_000_000
    batch: int = 16
    micro_batch: int = 0
    lr: float = 3e-3
    floor: float = 0.01
    schedule: str = "cosine"
    warmup: int = 50
    decay: float = 0.2
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    adam_eps: float = 1e-8
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(1, batch=self.batch, tokens=self.tokens)
        if not self.micro_batch:
            divisors = (n for n in range(1, 17) if self.batch % n == 0)
            object.__setattr__(self, "micro_batch", max(divisors))
        _at_least(1, micro_batch=self.micro_batch)
        _at_least(0, weight_decay=self.weight_decay, floor=self.floor, warmup=self.warmup)
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: allowed: a number > 0")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: allowed: a fraction in [0, 1)")
        if self.schedule not in ("cosine", "wsd"):
            raise ValueError(f"schedule={self.schedule!r}: allowed: cosine, wsd")
        if self.batch % self.micro_batch:
            raise ValueError(
                f"micro_batch={self.micro_batch}: must divide the batch of {self.batch} sequences"
            )

    def steps(self, context: int) -> int:
        """Return the number of optimizer steps; ValueError if none is left after the warm-up."""
        steps = self.tokens // (self.batch * context)
        if steps <= self.warmup:
            raise ValueError(
                f"tokens={self.tokens}: that is {steps} steps of {self.batch} x {context} tokens; "
                f"the warm-up alone takes warmup={self.warmup}"
            )
        return steps
