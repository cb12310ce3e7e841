"""The classification problem of the toy post: informative Gaussian clusters, split once."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from torch import Tensor

from stocha.toy.config import VALIDATION_FRACTION, ToyConfig


@dataclass(frozen=True)
class ToyData:
    """Training and validation samples: x `[samples, features]`, y `[samples]` (int64 classes)."""

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor


def make_data(config: ToyConfig) -> ToyData:
    """Generate the data set and its fixed 80/20 split from `config.data_seed` alone.

    Every feature is informative, everything else is scikit-learn's default (two clusters a class
    on a hypercube's vertices, 1 % of labels flipped). The features are standardised, by mean and
    standard deviation of the training samples, only with `config.scaled`: the post does not say
    that they were. Source: `sources`, part 1. Chapter: 11_toy_classification.
    """
    x, y = make_classification(
        n_samples=config.samples,
        n_features=config.features,
        n_informative=config.features,
        n_redundant=0,
        n_repeated=0,
        n_classes=config.classes,
        random_state=config.data_seed,
    )
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, test_size=VALIDATION_FRACTION, random_state=config.data_seed
    )

    if config.scaled:
        mean, deviation = x_train.mean(0), x_train.std(0)
        x_train, x_val = (x_train - mean) / deviation, (x_val - mean) / deviation

    def features(a: np.ndarray) -> Tensor:
        return torch.from_numpy(a).to(config.device, config.torch_dtype)

    def labels(a: np.ndarray) -> Tensor:
        return torch.from_numpy(a).to(config.device, torch.int64)

    return ToyData(features(x_train), labels(y_train), features(x_val), labels(y_val))
