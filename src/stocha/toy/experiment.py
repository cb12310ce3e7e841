"""One configuration of the toy network, the unit of a sweep (chapter 14_toy_run)."""

from dataclasses import dataclass

from stocha import activations
from stocha.arms import Constant
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.ensemble import train
from stocha.toy.readings import Reading

NAMES = ", ".join(activations.names())


@dataclass(frozen=True)
class Config(Reading):
    """One activation at one bottleneck.

    Point `seed` of a sweep uses the networks `runs·seed` to `runs·seed + runs − 1`, so that seeds
    do not overlap.
    """

    activation: str = parameter("stocha", "in every hidden layer", f"{{{NAMES}}}")
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    positive: str = parameter("mixed", "StochA: reading of x ≥ 0", "{identity, silu, mixed}")
    granularity: str = parameter(
        "element", "StochA: what one draw covers", "{element, token, layer}"
    )
    test: str = parameter(
        "sample", "StochA: what validation uses", "{sample, expectation, silu, relu}"
    )
    width: int = parameter(4, "units of the bottleneck", "[1, inf)")


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train the ensemble.

    Returns the tables `curves` (a row a run and epoch) and `final` (a row a network: what it ends
    with, and `alpha`, the mean of its gates).
    """
    options = {name: getattr(config, name) for name in ("p", "positive", "granularity", "test")}
    drawn = config.activation == "stocha"
    arm = Constant(config.phase(config.activation, **(options if drawn else {})))
    history = train(
        config.network(config.width, arm.name, seed=config.runs * config.seed),
        watch=lambda epoch, _: progress and progress(epoch, config.epochs, "epochs"),
    )
    last = history.gates().query("epoch == @config.epochs")
    alpha = last.groupby("run")["mean"].mean()
    final = history.runs().assign(alpha=lambda frame: frame["run"].map(alpha))
    final = final.rename(columns={"seed": "network"}).drop(columns="run")
    metrics = {name: float(final[name].mean()) for name in ("val_loss", "sparsity")}
    return Result({"curves": history.curves(), "final": final}, metrics)
