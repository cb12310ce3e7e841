"""Every toy claim, on tables made so that the verdict is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from stocha.claims import toy
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Tables, Verdict, assess, estimates, ledger
from stocha.claims.page import claim_tables

RUNS, EPOCHS = range(10), range(101)
ACTIVATIONS = ("relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch")
BY_ID = {claim.id: claim for claim in CLAIMS}


def noise(run: int, epoch: int) -> float:
    return 0.01 * np.sin(7.0 * run + 0.3 * epoch)


def write(root, notebook: str, name: str, rows: list[dict]) -> None:
    folder = root / notebook
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def write_sparsity(root, levels) -> None:
    """`levels[activation](epoch)` is the first layer's sparsity; other rows are decoys."""
    rows = [
        {
            "activation": activation,
            "run": run,
            "epoch": epoch,
            "layer": layer,
            "threshold": threshold,
            "sparsity": (
                level(epoch) + noise(run, epoch)
                if layer == 1 and threshold == 1e-3 and epoch > 0
                else 0.9
            ),
        }
        for (activation, level), run, epoch, layer, threshold in itertools.product(
            levels.items(), RUNS, EPOCHS, (1, 2), (1e-6, 1e-3)
        )
    ]
    write(root, toy.FIRST_CLASSIFICATION, "sparsity", rows)


def write_gates(root, alpha) -> None:
    """`alpha(activation, bottleneck, decay, epoch)` is the mean of α."""
    write(
        root,
        toy.FIRST_GATES,
        "gates",
        [
            {
                "activation": activation,
                "bottleneck": bottleneck,
                "gate_decay": decay,
                "run": run,
                "epoch": epoch,
                "layer": layer,
                "mean": alpha(activation, bottleneck, decay, epoch) + noise(run, layer),
            }
            for activation, bottleneck, decay, run, epoch, layer in itertools.product(
                ACTIVATIONS[3:], (4, 16), (True, False), RUNS, range(0, 101, 5), (1, 2)
            )
        ],
    )


def write_curves(root, training: float, validation: float) -> None:
    """The activations' final losses lie `training` and `validation` apart; runs spread by 0.01."""
    write(
        root,
        toy.FIRST_CLASSIFICATION,
        "curves",
        [
            {
                "activation": activation,
                "run": run,
                "epoch": epoch,
                "train_loss": 0.3 + training * rank + noise(run, rank),
                "val_loss": 0.4 + validation * rank + noise(run, 2 * rank),
            }
            for (rank, activation), run, epoch in itertools.product(
                enumerate(ACTIVATIONS), RUNS, EPOCHS
            )
        ],
    )


def verdict(root, claim: str) -> Verdict:
    return assess(BY_ID[claim], Tables(root)).verdict


@pytest.mark.parametrize(
    ("claim", "activation", "level", "expected"),
    [
        ("T2", "relu", lambda t: 0.5, Verdict.REPLICATED),
        ("T2", "relu", lambda t: 0.3, Verdict.CONTRADICTED),
        ("T2", "relu", lambda t: 0.4, Verdict.NOT_RESOLVED),
        ("T2", "relu", lambda t: 0.7 if t < 10 else 0.5, Verdict.PARTLY),
        ("T3", "stocha", lambda t: 0.25, Verdict.REPLICATED),
        ("T3", "stocha", lambda t: 0.35, Verdict.CONTRADICTED),
        ("T4", "learnable_stoch", lambda t: 0.0, Verdict.REPLICATED),
        ("T4", "learnable_stoch", lambda t: 0.1, Verdict.CONTRADICTED),
    ],
)
def test_sparsity_in_a_band(tmp_path, claim, activation, level, expected):
    write_sparsity(tmp_path, {activation: level})
    assert verdict(tmp_path, claim) is expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.25, 0.05, Verdict.REPLICATED),
        (0.25, 0.25, Verdict.PARTLY),
        (0.45, 0.05, Verdict.PARTLY),
        (0.45, 0.45, Verdict.CONTRADICTED),
    ],
)
def test_gumbel_starts_near_stocha_and_settles_lower(tmp_path, start, end, expected):
    write_sparsity(
        tmp_path,
        {"stocha": lambda t: 0.25, "gumbel_stoch": lambda t: start if t == 1 else end},
    )
    assert verdict(tmp_path, "T5") is expected


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        (0.02, 0.0, Verdict.REPLICATED),
        (0.02, 0.02, Verdict.PARTLY),
        (0.0, 0.02, Verdict.NOT_RESOLVED),
    ],
)
def test_training_ordered_validation_alike(tmp_path, training, validation, expected):
    write_curves(tmp_path, training, validation)
    assert verdict(tmp_path, "T1") is expected


def test_gates_as_the_post_saw_them(tmp_path):
    def alpha(activation, bottleneck, decay, epoch):
        if bottleneck == 16:
            return 0.8
        if activation == "gumbel_stoch" and 0 < epoch <= 15:
            return 0.4
        return 0.5 if epoch else 0.0

    write_gates(tmp_path, alpha)
    assert [verdict(tmp_path, claim) for claim in ("T6", "T7", "T8")] == [Verdict.REPLICATED] * 3


def test_gates_that_do_the_opposite(tmp_path):
    write_gates(tmp_path, lambda activation, bottleneck, decay, epoch: 0.2 if decay else 0.9)
    assert verdict(tmp_path, "T6") is Verdict.CONTRADICTED
    assert verdict(tmp_path, "T7") is Verdict.PARTLY
    assert verdict(tmp_path, "T8") is Verdict.CONTRADICTED


def test_without_tables_a_claim_is_not_yet_studied(tmp_path):
    table = ledger(CLAIMS, Tables(tmp_path))
    assert set(table["verdict"]) == {Verdict.NOT_STUDIED.value}
    assert [f"T{n}" for n in range(1, 9)] == list(table["id"][:8])
    assert [f"L{n}" for n in range(1, 12)] == list(table["id"][8:19])


def points(alpha: float, relu: dict[int, float]) -> pd.DataFrame:
    """Networks of data sets at both bottlenecks; `relu` is ReLU's sparsity by data set."""
    rows = []
    sets = itertools.product(relu, (4, 16), ACTIVATIONS, range(20), (1, 2))
    for data_seed, width, activation, network, layer in sets:
        jitter = 0.002 * np.sin(3.0 * network + layer)
        row = {"data_seed": data_seed, "width": width, "activation": activation}
        row |= {"network": network, "layer": layer, "train_loss": jitter, "val_loss": jitter}
        shares = ("sparsity_first", "sparsity_early", "sparsity_last", "sparsity_mean")
        row |= dict.fromkeys(shares, relu[data_seed] + jitter)
        whens = ("start", 1, 2, 5, 10, 20, "later", "last", "travel")
        row |= {f"alpha_{when}": alpha + jitter for when in whens}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("relu", "expected"),
    [
        ({11: 0.5, 12: 0.45, 13: 0.55}, Verdict.REPLICATED),
        ({11: 0.5, 12: 0.3, 13: 0.5}, Verdict.NOT_RESOLVED),
        ({11: 0.3, 12: 0.2, 13: 0.7}, Verdict.CONTRADICTED),
    ],
)
def test_the_second_verdict_is_one_that_every_data_set_gives(tmp_path, relu, expected):
    write_sparsity(tmp_path, {"relu": lambda t: 0.9})
    write(tmp_path, toy.CONFIRM, "points", points(0.8, relu).to_dict("records"))
    found = assess(BY_ID["T2"], Tables(tmp_path))
    assert found.verdict is expected
    assert found.first is not None
    assert found.first.verdict is Verdict.CONTRADICTED
    assert [(part.name[:11], part.n) for part in found.parts] == [
        (f"data set {seed}", 20) for seed in relu
    ]
    row = ledger([BY_ID["T2"]], Tables(tmp_path)).iloc[0]
    assert (row["verdict"], row["first"]) == (expected.value, "contradicted")
    assert "first verdict, contradicted: 0.9" in row["beside"]
    rows = estimates([BY_ID["T2"]], Tables(tmp_path))
    assert rows["mean"].tolist() == pytest.approx(list(relu.values()), abs=0.002)
    assert rows["verdict"].tolist() == [part.verdict.value for part in found.parts]
    assert set(zip(rows["band_low"], rows["band_high"], rows["n"], strict=True)) == {(0.4, 0.6, 20)}


def test_the_second_verdict_of_the_wide_bottleneck(tmp_path):
    write_gates(tmp_path, lambda *_: 0.5)
    write(tmp_path, toy.CONFIRM, "points", points(0.8, {11: 0.5, 12: 0.5}).to_dict("records"))
    found = assess(BY_ID["T8"], Tables(tmp_path))
    assert found.verdict is Verdict.REPLICATED
    assert found.estimate.endswith("data sets 11, 12: each replicated")


def test_what_would_decide_is_said_where_more_networks_would_not(tmp_path):
    table = points(0.505, {11: 0.5, 12: 0.5, 13: 0.5})
    rank = table["activation"].map(ACTIVATIONS.index)
    # in training an order with a tie at its end, in validation the other way round
    table["train_loss"] += 0.1 * rank.clip(upper=3) + 0.001 * (rank == 4)
    table["val_loss"] -= 0.1 * rank * (table["data_seed"] == 12)
    table["val_loss"] += table["train_loss"] * (table["data_seed"] != 12)
    write(tmp_path, toy.CONFIRM, "points", table.to_dict("records"))
    write_curves(tmp_path, 0.02, 0.0)
    write_gates(tmp_path, lambda activation, bottleneck, decay, epoch: 0.5)
    found = {claim: assess(BY_ID[claim], Tables(tmp_path)) for claim in ("T1", "T7", "T8")}
    assert {claim: one.verdict for claim, one in found.items()} == {
        "T1": Verdict.NOT_RESOLVED,
        "T7": Verdict.NOT_RESOLVED,
        "T8": Verdict.CONTRADICTED,
    }
    assert "on data set 12 10 pairs change places, more than 2" in found["T1"].would
    assert "Gumbel StochA and learnable mixture, are a tie" in found["T1"].would
    assert "data set 11" not in found["T1"].would
    assert "the mean 0.505" in found["T7"].would
    assert found["T8"].would == ""
    shown = ledger([BY_ID["T1"]], Tables(tmp_path))
    assert shown["would"].item() == found["T1"].would
    assert found["T1"].would in claim_tables([(BY_ID["T1"], found["T1"])])
