"""Draws at test time as approximate Bayesian inference, against what is usually done.

Chapter 18_uncertainty; question Q4.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import generator, stream_seed
from stocha.toy.config import ToyConfig
from stocha.toy.data import ToyData
from stocha.toy.ensemble import Ensemble, RunNoise, fit

P = (0.1, 0.3, 0.5, 0.7, 0.9)
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
TEMPERATURES = (0.5, 1.0, 1.5, 2.5, 4.0)
PRECISIONS = (0.1, 1.0, 10.0, 100.0, 1000.0)
FEW = 5
"""Draws that cost what the ensemble does."""
SHIFT = 3.0
"""Standard deviations by which every feature is moved, in a direction that a split draws."""
BINS = 10

Probabilities = NDArray[np.float64]
Draws = Callable[[Tensor], Tensor]
"""x [N, features] → logits [draws, N, classes]."""


@dataclass(frozen=True)
class Config:
    """Which data sets, how often split, and how every network is trained."""

    data: tuple[str, ...] = parameter(
        ("toy", "digits", "cancer", "wine"),
        "scikit-learn's",
        "{toy, digits, cancer, wine}",
        smoke=("wine",),
    )
    splits: int = parameter(20, "of each data set", "[2, inf)", smoke=2, book=2)
    members: int = parameter(5, "networks of the ensemble", "[2, inf)")
    draws: int = parameter(20, "at test time", "[5, inf)")
    width: int = parameter(32, "of both hidden layers", "[1, inf)")
    epochs: int = parameter(40, "passes over the training data", "[1, inf)", smoke=3, book=20)
    batch_size: int = parameter(64, "samples a step", "[1, inf)")
    lr: float = parameter(3e-3, "Adam's learning rate", "(0, inf)")
    seed: int = parameter(0, "of splits, networks and draws", "[0, 4294967295]")
    peers: bool = parameter(
        True, "train stochact's networks too (pip install 'stocha[peers]')", smoke=False, book=False
    )

    def __post_init__(self) -> None:
        check(self)
        if self.peers:
            try:
                import stochact  # noqa: F401
            except ImportError:
                raise ValueError("peers=True: allowed with pip install 'stocha[peers]'") from None


@dataclass(frozen=True)
class Problem:
    """One split: training, validation and test samples, and inputs from outside."""

    data: ToyData
    x_test: Tensor
    y_test: Tensor
    x_out: Tensor
    classes: int


def problem(name: str, split: int, seed: int) -> Problem:
    """Return split number `split` of a data set: 60 % training, 20 % validation, 20 % test.

    Features are standardised by the training samples'. Of the digits two classes, other ones in
    each split, are held out and are the inputs from outside; of the others these are the test
    inputs, every feature moved by `SHIFT` deviations up or down. The toy data are new in each
    split: 1,000 samples of `make_classification` with 10 informative features.
    """
    source = stream_seed(seed, "split", name, split) % 2**32
    if name == "toy":
        x, y = datasets.make_classification(
            1000, 10, n_informative=10, n_redundant=0, random_state=source
        )
    else:
        load = {
            "digits": datasets.load_digits,
            "cancer": datasets.load_breast_cancer,
            "wine": datasets.load_wine,
        }
        x, y = load[name](return_X_y=True)
    outside = np.zeros(len(y), dtype=bool)
    if name == "digits":
        outside = np.isin(y, [split % 10, (split + 1) % 10])
    classes, y = np.unique(y[~outside], return_inverse=True)
    x, held = x[~outside], x[outside]
    part = partial(train_test_split, random_state=source)
    x, x_test, y, y_test = part(x, y, test_size=0.2, stratify=y)
    x, x_val, y, y_val = part(x, y, test_size=0.25, stratify=y)
    mean, deviation = x.mean(0), x.std(0) + 1e-6 * (x.std(0) == 0)
    x, x_val, x_test, held = ((part - mean) / deviation for part in (x, x_val, x_test, held))
    if not outside.any():
        signs = np.random.default_rng(source).choice([-SHIFT, SHIFT], x.shape[1])
        held = x_test + signs
    features = partial(torch.tensor, dtype=torch.float32)
    labels = partial(torch.tensor, dtype=torch.int64)
    data = ToyData(features(x), labels(y), features(x_val), labels(y_val))
    return Problem(data, features(x_test), labels(y_test), features(held), len(classes))


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train every method on every split and measure it.

    Tables: `scores`, a row a data set, split and method: the `setting` that its search chose, the
    forward `passes` a prediction takes, `nll` (nats), `brier`, `accuracy`, `ece` and `ece_bias`
    (what a perfectly calibrated forecaster with the same probabilities gets from as many samples),
    `aurc`, and `auroc_entropy` and `auroc_information` of inside against outside; `search`, the
    validation loss of every candidate. Every method chooses among five settings by validation
    loss, and nothing else: the deterministic network and the ensemble have none.
    """
    scores: list[dict[str, Any]] = []
    search: list[dict[str, Any]] = []
    todo = [(name, split) for name in config.data for split in range(config.splits)]
    for done, (name, split) in enumerate(todo):
        posed = problem(name, split, config.seed)
        about = {"data": name, "split": split}
        for method, passes, candidates in methods(config, posed, split):
            tried = {
                setting: nll(mean(draws(posed.data.x_val)), posed.data.y_val.numpy())
                for setting, draws in candidates.items()
            }
            best = min(tried, key=lambda setting: tried[setting])
            found = measures(candidates[best], posed, config.seed)
            scores.append(about | {"method": method, "setting": best, "passes": passes} | found)
            search += [
                about | {"method": method, "setting": setting, "val_nll": value}
                for setting, value in tried.items()
            ]
        if progress is not None:
            progress(done + 1, len(todo), "splits")
    return Result({"scores": pd.DataFrame(scores), "search": pd.DataFrame(search)})


Method = tuple[str, int, dict[float, Draws]]
"""Name, passes a prediction, setting → draws of logits."""


def methods(config: Config, posed: Problem, split: int) -> Iterator[Method]:
    """Yield every method on one split, its candidates trained."""
    network, trained = trained_with(config, posed, "silu", config.members, split)
    logits = network_logits(network, trained, 1)
    yield "single", 1, {1.0: lambda x: logits(x)[:1]}
    yield "ensemble", config.members, {1.0: logits}
    yield "temperature", 1, {t: partial(_cooled, logits, t) for t in TEMPERATURES}
    yield "laplace", 1, laplace(network, posed.data, config)

    sampled, few, expected = {}, {}, {}
    for p in P:
        network, trained = trained_with(config, posed, f"stocha({p:g})", 1, split)
        sampled[p] = network_logits(network, trained, config.draws)
        few[p] = network_logits(network, trained, FEW)
        mean_arm = replace(trained, arm=f"expected({p:g})")
        expected[p] = network_logits(_rearmed(network, mean_arm), mean_arm, 1)
    yield "stocha", config.draws, sampled
    yield "stocha few", FEW, few
    yield "stocha mean", 1, expected

    dropped = {}
    for rate in RATES:
        arm = f"dropout(rate={rate:g},test=sample)"
        dropped[rate] = network_logits(*trained_with(config, posed, arm, 1, split), config.draws)
    yield "dropout", config.draws, dropped
    if config.peers:
        yield "stochact", config.draws, {p: theirs(config, posed, p, split) for p in P}


def trained_with(
    config: Config, posed: Problem, arm: str, runs: int, split: int
) -> tuple[Ensemble, ToyConfig]:
    """Return `runs` networks trained with an arm, and their configuration."""
    n, features = posed.data.x_train.shape
    chosen = ToyConfig(
        arm=arm,
        widths=(config.width,) * 2,
        features=features,
        classes=posed.classes,
        samples=n + n // 4 + 2,  # of which the split takes a fifth
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        weight_decay=1e-4,
        runs=runs,
        seed=(config.seed + split) * config.members,
    )
    return fit(chosen, posed.data)[0], chosen


def network_logits(network: Ensemble, config: ToyConfig, draws: int) -> Draws:
    """Return what gives the logits of all networks, `draws` times each [draws·R, N, classes]."""

    @torch.no_grad()
    def logits(x: Tensor) -> Tensor:
        network.eval()
        stacked, noise = x.mT.expand(config.runs, -1, -1), RunNoise(config)
        return torch.cat([network(stacked, noise.at("test", d)).mT for d in range(draws)])

    return logits


def _rearmed(network: Ensemble, config: ToyConfig) -> Ensemble:
    """Return a network with the weights of `network` and the activation of `config`."""
    other = Ensemble(config)
    other.load_state_dict(network.state_dict())
    return other


def _cooled(logits: Draws, temperature: float, x: Tensor) -> Tensor:
    return logits(x)[:1] / temperature


@torch.no_grad()
def laplace(network: Ensemble, data: ToyData, config: Config) -> dict[float, Draws]:
    """Return the last layer's Laplace approximation by prior precision (Kristiadi et al. 2020).

    The posterior of the first network's last layer is N(W, H⁻¹), H the generalised Gauss–Newton
    matrix Σ φφᵀ ⊗ (diag π − ππᵀ) plus the precision; a draw is one of the logits, whose covariance
    is φᵀ H⁻¹ φ, so it costs no pass through the network.
    """

    def features(x: Tensor) -> tuple[Tensor, Tensor]:
        record: list[Tensor] = []
        stacked = x.mT.expand(config.members, -1, -1)
        logits = network(stacked, lambda layer: [], record)[0].mT.double()
        h = record[-1][0].double()
        return torch.cat([h, torch.ones_like(h[:, :1])], 1), logits

    phi, logits = features(data.x_train)
    chance = logits.softmax(1)
    curved = torch.diag_embed(chance) - chance[:, :, None] * chance[:, None, :]
    classes, size = chance.shape[1], phi.shape[1]
    hessian = torch.einsum("nij,nk,nl->ikjl", curved, phi, phi).reshape(classes * size, -1)

    @torch.no_grad()
    def drawn(covariance: Tensor, x: Tensor) -> Tensor:
        phi, logits = features(x)
        spread = torch.einsum("ikjl,nk,nl->nij", covariance, phi, phi)
        root = torch.linalg.cholesky(spread + 1e-8 * torch.eye(classes, dtype=spread.dtype))
        source = generator(config.seed, "laplace")
        shape = (100, *logits.shape)
        noise = torch.randn(shape, generator=source, dtype=torch.float64)
        return logits + torch.einsum("nij,snj->sni", root, noise)

    found: dict[float, Draws] = {}
    for precision in PRECISIONS:
        inverse = torch.linalg.inv(hessian + precision * torch.eye(len(hessian), dtype=phi.dtype))
        found[precision] = partial(drawn, inverse.view(classes, size, classes, size))
    return found


def theirs(config: Config, posed: Problem, p: float, split: int) -> Draws:
    """Train a network with stochact's own activations and return its draws.

    The package draws from PyTorch's global generator: it is seeded here, and restored.
    """
    import stochact

    data, width, seed = posed.data, config.width, stream_seed(config.seed, "stochact", split)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            *(nn.Linear(data.x_train.shape[1], width), nn.ReLU()),
            *(nn.Linear(width, width), nn.ReLU()),
            nn.Linear(width, posed.classes),
        )
        model = stochact.StochasticModel(layers, granularity="node", p=p)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=1e-4)
        model.train()
        for _ in range(config.epochs):
            for rows in torch.randperm(len(data.y_train)).split(config.batch_size):  # type: ignore[no-untyped-call]
                optimizer.zero_grad()
                F.cross_entropy(model(data.x_train[rows]), data.y_train[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        model.eval()

    @torch.no_grad()
    def logits(x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.stack([model(x) for _ in range(config.draws)])

    return logits


# Measures


def mean(logits: Tensor) -> Probabilities:
    """Return the mean probabilities [N, classes] of draws of logits."""
    return np.asarray(logits.double().softmax(-1).mean(0).numpy())


def nll(chance: Probabilities, y: NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood in nats."""
    return float(-np.log(np.maximum(chance[np.arange(len(y)), y], 1e-12)).mean())


def entropy(chance: Probabilities) -> Probabilities:
    """Return the entropy in nats over the last dimension."""
    return np.asarray(-(chance * np.log(np.maximum(chance, 1e-12))).sum(-1))


def ece(chance: Probabilities, y: NDArray[np.int64]) -> float:
    """Return the expected calibration error over ten bins of equal width (Guo et al. 2017)."""
    sure, right = chance.max(1), chance.argmax(1) == y
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps: Iterable[float] = (
        abs(float((right[place == b] - sure[place == b]).sum())) for b in range(BINS)
    )
    return sum(gaps) / len(y)


def ece_bias(chance: Probabilities, seed: int, draws: int = 100) -> float:
    """Return the mean `ece` of labels drawn from `chance` itself: that of perfect calibration."""
    source, edges = np.random.default_rng(seed), chance.cumsum(1)
    u = source.random((draws, len(chance), 1))
    drawn = np.minimum((u > edges).sum(-1), chance.shape[1] - 1)
    return float(np.mean([ece(chance, y) for y in drawn]))


def aurc(chance: Probabilities, y: NDArray[np.int64]) -> float:
    """Return the area under the risk–coverage curve: the mean error of the surest k, over all k."""
    order = np.argsort(-chance.max(1), kind="stable")
    wrong = (chance.argmax(1) != y)[order]
    return float((wrong.cumsum() / np.arange(1, len(y) + 1)).mean())


def measures(draws: Draws, posed: Problem, seed: int) -> dict[str, float]:
    """Return every measure of one method: see `run`."""
    inside, outside = (draws(x).double().softmax(-1).numpy() for x in (posed.x_test, posed.x_out))
    chance, y = inside.mean(0), posed.y_test.numpy()
    total, spread = [], []
    for drawn in (inside, outside):
        whole = entropy(drawn.mean(0))
        total.append(whole)
        spread.append(whole - entropy(drawn).mean(0))
    known = np.repeat([0, 1], [len(part) for part in total])
    alone = len(inside) == 1  # nothing to disagree with
    return {
        "nll": nll(chance, y),
        "brier": float(((chance - np.eye(posed.classes)[y]) ** 2).sum(1).mean()),
        "accuracy": float((chance.argmax(1) == y).mean()),
        "ece": ece(chance, y),
        "ece_bias": ece_bias(chance, seed),
        "aurc": aurc(chance, y),
        "auroc_entropy": float(roc_auc_score(known, np.concatenate(total))),
        "auroc_information": np.nan
        if alone
        else float(roc_auc_score(known, np.concatenate(spread))),
    }
