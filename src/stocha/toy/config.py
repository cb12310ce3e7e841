"""Every setting of the toy experiments, declared once and checked when it is written down."""

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

from stocha.arms import Arm, Phase
from stocha.base.parameters import check, parameter

CLUSTERS_PER_CLASS = 2  # scikit-learn's default in make_classification
VALIDATION_FRACTION = 0.2
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Training:
    """What every toy experiment can vary: the generated problem and how it is trained on.

    The defaults are the post's values. Network r of an ensemble uses seed `seed + r` for its
    initialisation, its batch order and its activation noise; the samples and their split depend on
    `data_seed` alone. An epoch's last batch may be smaller.

    Raises ValueError, one line `name=value: allowed: …`. Source: `sources`, part 1; chapter
    11_toy_classification.
    """

    samples: int = parameter(5000, "generated, a fifth of them for validation", "[10, inf)")
    features: int = parameter(30, "inputs, all informative", "[1, inf)")
    classes: int = parameter(2, "classes", "[2, inf)")
    scaled: bool = parameter(False, "standardise the features by the training samples'")
    lr: float = parameter(1e-3, "Adam's learning rate", "(0, inf)")
    weight_decay: float = parameter(0.01, "coefficient of the decay", "[0, inf)")
    optimizer: str = parameter(
        "adam", "its decay: L2 in the gradient (adam) or decoupled (adamw)", "{adam, adamw}"
    )
    batch_size: int = parameter(128, "samples a step", "[1, inf)")
    epochs: int = parameter(100, "passes over the training data", "[1, inf)", smoke=3, book=30)
    runs: int = parameter(10, "independent networks of each ensemble", "[1, inf)", smoke=2, book=5)
    seed: int = parameter(0, "first network's seed; the others follow", "[0, 4294967295]")
    data_seed: int = parameter(0, "seed of the samples and of their split", "[0, 4294967295]")
    threshold: float = parameter(
        1e-3, "an activation of smaller magnitude counts as zero", "(0, inf)"
    )
    device: str = parameter("cpu", "where to train, as torch names it")

    def __post_init__(self) -> None:
        check(self)
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(
                f"device={self.device!r}: allowed: a torch device such as 'cpu' or 'cuda:0'"
            ) from None
        # make_classification places each cluster on its own vertex of a hypercube
        if self.features < 62 and self.classes * CLUSTERS_PER_CLASS > 2**self.features:
            raise ValueError(
                f"classes={self.classes}: allowed: at most {2**self.features // 2} "
                f"with features={self.features}"
            )

    def ensemble(self, **own: Any) -> "ToyConfig":
        """Return the ensemble with these settings, changed and completed by `own`."""
        shared = {field.name: getattr(self, field.name) for field in fields(Training)}
        return ToyConfig(**(shared | own))

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return tuple(range(self.seed, self.seed + self.runs))

    @property
    def train_samples(self) -> int:
        """Samples left for training by the split (scikit-learn rounds the validation share up)."""
        return self.samples - math.ceil(self.samples * VALIDATION_FRACTION)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the last, smaller one included."""
        return math.ceil(self.train_samples / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class ToyConfig(Training):
    """One ensemble: `runs` networks of one shape, trained with one arm.

    `inference` names activations without a gate that every validation is repeated with, in place of
    the trained one; recorded in `History.swapped`. Validation uses what the epoch's last step used.
    The post gives four hidden layers and a bottleneck of 4, not every width; the default reading is
    that all four have the bottleneck's width.
    """

    arm: str = parameter("relu", "in force in every hidden layer (`stocha.arms`)")
    widths: tuple[int, ...] = parameter((4, 4, 4, 4), "units of each hidden layer", "[1, inf)")
    gate_weight_decay: float | None = parameter(
        None, "of the gates' own parameters; as the others' if None", "[0, inf)"
    )
    inference: tuple[str, ...] = parameter((), "activations to repeat every validation with")
    more_thresholds: tuple[float, ...] = parameter((), "recorded beside `threshold`", "(0, inf)")
    dtype: str = parameter("float32", "precision", "{float32, float64}")

    def __post_init__(self) -> None:
        super().__post_init__()
        Arm.parse(self.arm)
        for name in self.inference:
            if Phase(name).learns:
                raise ValueError(f"inference={name!r}: allowed: activations that learn nothing")

    @cached_property
    def plan(self) -> Arm:
        """What is in force at each step."""
        return Arm.parse(self.arm)

    @property
    def activation(self) -> str:
        """The activation that training begins with."""
        return self.plan.begins.activation

    @property
    def n_layers(self) -> int:
        """Hidden layers."""
        return len(self.widths)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """`threshold` and every other recorded threshold, ascending, without repeats."""
        return tuple(sorted({self.threshold, *self.more_thresholds}))

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as torch names it."""
        return DTYPES[self.dtype]

    @property
    def gate_decay(self) -> float:
        """The weight decay in force on the gates' own parameters."""
        return self.weight_decay if self.gate_weight_decay is None else self.gate_weight_decay
