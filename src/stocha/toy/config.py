"""Every option of the toy experiment, checked when it is written down."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from stocha.activations import make
from stocha.arms import Arm, Constant, Phase

CLUSTERS_PER_CLASS = 2  # scikit-learn's default in make_classification
VALIDATION_FRACTION = 0.2
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class ToyConfig:
    """One activation's ensemble in the toy experiment; the defaults are the post's values.

    Parameters:
        activation: name in `stocha.activations.names()`, used after every hidden layer.
        options: the activation's own options, such as `{"p": 0.5}`; StochA's draw decides for all
            x (positive="mixed") unless told otherwise, as in the post.
        schedule: which activation is in force at each step; None uses `activation` throughout.
            Validation uses what the epoch's last step used.
        inference: activations without a gate that every validation is repeated with, in place of
            the trained one; recorded in `History.swapped`.
        n_samples, n_features, n_classes: the generated problem; every feature is informative.
        widths: units of each hidden layer. The post gives four layers and a bottleneck of 4, not
            every width; the reading taken is that all four layers have the bottleneck's width.
        lr: Adam's learning rate.
        weight_decay: Adam's L2 coefficient.
        gate_weight_decay: the same for the gates' own parameters; None takes `weight_decay`.
        epochs: passes over the training samples.
        runs: independent networks; run r uses seed `seed + r` for its initialisation, its batch
            order and its activation noise.
        seed: the first run's seed.
        data_seed: seed of the samples and of their split, apart from the runs' seeds.
        batch_size: samples a step; an epoch's last batch may be smaller.
        threshold: an activation of smaller magnitude counts as zero in `sparsity`.
        more_thresholds: further thresholds recorded beside it.
        device, dtype: where and in which precision everything is computed.

    Raises:
        ValueError: one line naming the parameter, its value and what is allowed.

    Source: the toy post, chapter *Method and deviations*. Chapter: 11_toy_classification.
    """

    activation: str = "relu"
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Arm | None = None
    inference: tuple[str, ...] = ()
    n_samples: int = 5000
    n_features: int = 30
    n_classes: int = 2
    widths: tuple[int, ...] = (4, 4, 4, 4)
    lr: float = 1e-3
    weight_decay: float = 0.01
    gate_weight_decay: float | None = None
    epochs: int = 100
    runs: int = 10
    seed: int = 0
    data_seed: int = 0
    batch_size: int = 128
    threshold: float = 1e-3
    more_thresholds: tuple[float, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        make(self.activation, runs=None, width=1, **self.options)  # refuses a bad name or option
        for name in ("epochs", "runs", "batch_size", "n_features"):
            _check_int(name, getattr(self, name), 1)
        _check_int("n_samples", self.n_samples, 10)
        _check_int("n_classes", self.n_classes, 2)
        # scikit-learn seeds with 32 bits
        _check_int("data_seed", self.data_seed, 0, 2**32 - 1)
        _check_int("seed", self.seed, 0)
        widths = self.widths
        if not isinstance(widths, list | tuple) or not widths:
            raise ValueError(
                f"widths={widths!r}: allowed is one integer >= 1 for each hidden layer"
            )
        for width in widths:
            _check_int("widths", width, 1)
        object.__setattr__(self, "widths", tuple(widths))
        _check_float("lr", self.lr, above=0.0)
        _check_float("weight_decay", self.weight_decay)
        if self.gate_weight_decay is not None:
            _check_float("gate_weight_decay", self.gate_weight_decay)
        _check_float("threshold", self.threshold, above=0.0)
        for value in self.more_thresholds:
            _check_float("more_thresholds", value, above=0.0)
        object.__setattr__(self, "more_thresholds", tuple(self.more_thresholds))
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r}: allowed is one of {', '.join(DTYPES)}")
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(
                f"device={self.device!r}: allowed is a torch device such as 'cpu' or 'cuda:0'"
            ) from None
        for name in self.inference:
            if list(make(name, width=1).parameters()):
                raise ValueError(f"inference={name!r}: allowed are activations without a gate")
        # make_classification places each cluster on its own vertex of a hypercube
        if self.n_features < 62 and self.n_classes * CLUSTERS_PER_CLASS > 2**self.n_features:
            raise ValueError(
                f"n_classes={self.n_classes}: allowed is at most {2**self.n_features // 2} "
                f"with n_features={self.n_features}"
            )

    @property
    def arm(self) -> Arm:
        """What is in force at each step."""
        reading = {"positive": "mixed"} if self.activation == "stocha" else {}
        options = tuple((reading | dict(self.options)).items())
        return self.schedule or Constant(Phase(self.activation, options))

    @property
    def n_layers(self) -> int:
        """Hidden layers."""
        return len(self.widths)

    @property
    def run_seeds(self) -> tuple[int, ...]:
        """The seed of each run."""
        return tuple(range(self.seed, self.seed + self.runs))

    @property
    def train_samples(self) -> int:
        """Samples left for training by the split (scikit-learn rounds the validation share up)."""
        return self.n_samples - math.ceil(self.n_samples * VALIDATION_FRACTION)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the last, smaller one included."""
        return math.ceil(self.train_samples / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * self.steps_per_epoch

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


def _check_int(name: str, value: object, least: int, most: int | None = None) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        upper = "" if most is None else f" and <= {most}"
        raise ValueError(f"{name}={value!r}: allowed is an integer >= {least}{upper}")


def _check_float(name: str, value: object, above: float | None = None) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    valid = number and math.isfinite(value) and (value > above if above is not None else value >= 0)  # type: ignore[arg-type, operator]
    if not valid:
        limit = f"> {above:g}" if above is not None else ">= 0"
        raise ValueError(f"{name}={value!r}: allowed is a finite number {limit}")
