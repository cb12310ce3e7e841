"""What a language model is and how it is trained, as frozen values that hash.

A default here is part of what names a result (`stocha.base.identity`), as no page gives it: so it
is no `parameter` by name.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from stocha.base.parameters import check
from stocha.base.parameters import parameter as setting

T = TypeVar("T")


def fingerprint(value: Any) -> str:
    """Return the 12-hexadecimal hash of a JSON-able value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def taken(kind: type[T], config: Any, **given: Any) -> T:
    """Return the `kind` of configuration with the fields that `config` has too, and `given`."""
    own: Any = kind
    names = {field.name for field in fields(own)} & {field.name for field in fields(config)}
    return kind(**{name: getattr(config, name) for name in names} | given)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Llama-family decoder; the default is the study's *tiny*, 1.2M parameters.

    `heads` query heads share `kv_heads` key-value heads (grouped-query attention); `head_width`
    is `width / heads` and must be even for RoPE. With `shifted_keys` the second half of each key is
    that of the position before, which costs no parameter (chapter *What makes runs comparable*);
    `head_width` must then be a multiple of 4. Raises ValueError for an impossible shape. Chapter
    *Protocol*.
    """

    vocabulary: int = setting(2048, "tokens", "[1, inf)")
    width: int = setting(128, "of the residual stream", "[1, inf)")
    layers: int = setting(4, "blocks", "[1, inf)")
    heads: int = setting(2, "query heads", "[1, inf)")
    kv_heads: int = setting(1, "key-value heads they share", "[1, inf)")
    ffn: int = setting(512, "neurons of a block's feed-forward", "[1, inf)")
    context: int = setting(256, "tokens a sequence", "[1, inf)")
    rope_base: float = setting(10_000.0, "base of the rotation's wavelengths", "(0, inf)")
    eps: float = setting(1e-5, "added to the mean square in a norm", "(0, inf)")
    tied: bool = setting(True, "one matrix for embedding and head")
    shifted_keys: bool = setting(False, "half of each key is the previous position's")

    def __post_init__(self) -> None:
        check(self)
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

    `micro_batch` 0 takes the largest number up to 16 that divides the batch. Raises ValueError for
    an impossible value. Chapter *Protocol*.
    """

    tokens: int = setting(6_000_000, "trained on in all, rounded down to whole steps", "[1, inf)")
    batch: int = setting(16, "sequences a step, over all ranks", "[1, inf)")
    micro_batch: int = setting(0, "sequences at a time", "[0, inf)")
    lr: float = setting(3e-3, "peak learning rate", "(0, inf)")
    floor: float = setting(0.01, "what the schedule ends at, as a fraction of it", "[0, inf)")
    schedule: str = setting("cosine", "wsd: stable, then linear over `decay`", "{cosine, wsd}")
    warmup: int = setting(50, "steps with a linearly rising learning rate", "[0, inf)")
    decay: float = setting(0.2, "wsd: the last share of the steps", "[0, 1)")
    weight_decay: float = setting(0.1, "AdamW's, on matrices only", "[0, inf)")
    beta1: float = setting(0.9, "AdamW's", "[0, 1)")
    beta2: float = setting(0.95, "AdamW's", "[0, 1)")
    adam_eps: float = setting(1e-8, "AdamW's", "[0, inf)")
    clip: float = setting(1.0, "largest norm of the gradient", "(0, inf)")
    seed: int = setting(0, "of initialisation, data order and activation noise", "[0, inf)")

    def __post_init__(self) -> None:
        check(self)
        if not self.micro_batch:
            divisors = (n for n in range(1, 17) if self.batch % n == 0)
            object.__setattr__(self, "micro_batch", max(divisors))
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
