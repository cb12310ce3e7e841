"""Every criterion of the search for a set-up, on networks made so that the verdict is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from stocha.claims.ledger import Verdict
from stocha.claims.toy_readings import READING, assess, in_words, matrix, met, shares, words
from stocha.toy import readings

MET = {
    "relu": {"train_loss": 0.20, "sparsity": (0.5, 0.5, 0.5)},
    "silu": {"train_loss": 0.10, "sparsity": (0.0, 0.0, 0.0)},
    "stocha": {"train_loss": 0.16, "sparsity": (0.25, 0.25, 0.25)},
    "learnable_stoch": {
        "train_loss": 0.12,
        "sparsity": (0.001, 0.001, 0.001),
        "alpha": (0.4, 0.42, 0.5, 0.5, 0.2),
    },
    "gumbel_stoch": {
        "train_loss": 0.14,
        "sparsity": (0.26, 0.2, 0.05),
        "alpha": (0.5, 0.4, 0.48, 0.5, 0.1),
    },
}
WIDE = {name: {**own, "alpha": (0.5, 0.5, 0.7, 0.8, 0.3)} for name, own in MET.items()}
ALPHA = [f"alpha_{when}" for when in ("start", 5, "later", "last", "travel")]


FIRST = {name: getattr(readings.Config(), name) for name in READING if name != "narrow"}
FIRST |= {"optimizer": "adam", "narrow": "[1, 2, 3, 4]"}


def networks(given, dead: int = 0) -> pd.DataFrame:
    rows = []
    for (name, own), network, layer in itertools.product(given.items(), range(20), range(1, 5)):
        noise = 0.004 * np.sin(3.0 * network + layer)
        first, early, last = own["sparsity"]
        row = {
            "activation": name,
            "network": network,
            "layer": layer,
            "dead": network < dead,
            "train_loss": own["train_loss"] + noise,
            "val_loss": own.get("val_loss", own["train_loss"] + 0.05) + noise,
            "sparsity_first": first + noise,
            "sparsity_early": early + noise,
            "sparsity_last": last + noise,
            "sparsity_mean": (early + last) / 2 + noise,
        }
        row |= {f"alpha_{epoch}": own.get("alpha", [np.nan])[0] + noise for epoch in (1, 2, 10, 20)}
        row |= dict(zip(ALPHA, own.get("alpha", [np.nan] * 5), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def changed(name: str, **own) -> dict:
    return MET | {name: MET[name] | own}


def test_a_reading_that_meets_them_all() -> None:
    found = assess(networks(MET), networks(WIDE))
    assert {claim: each.verdict for claim, each in found.items()} == dict.fromkeys(
        [*(f"T{n}" for n in range(1, 9)), *(f"T7.{layer}" for layer in range(1, 5))],
        Verdict.REPLICATED,
    )


@pytest.mark.parametrize(
    ("claim", "narrow", "verdict"),
    [
        ("T1", changed("relu", val_loss=0.01), Verdict.PARTLY),
        ("T2", changed("relu", sparsity=(0.9, 0.9, 0.9)), Verdict.CONTRADICTED),
        ("T2", changed("relu", sparsity=(0.5, 0.38, 0.58)), Verdict.PARTLY),
        ("T3", changed("stocha", sparsity=(0.25, 0.5, 0.5)), Verdict.CONTRADICTED),
        ("T4", changed("learnable_stoch", sparsity=(0, 0.1, 0.1)), Verdict.CONTRADICTED),
        ("T5", changed("gumbel_stoch", sparsity=(0.26, 0.2, 0.2)), Verdict.PARTLY),
        ("T5", changed("gumbel_stoch", sparsity=(0.4, 0.4, 0.4)), Verdict.CONTRADICTED),
        ("T6", changed("learnable_stoch", alpha=(0.5, 0.5, 0.5, 0.5, 0.01)), Verdict.PARTLY),
        ("T6", changed("learnable_stoch", alpha=(0.4, 0.4, 0.7, 0.7, 0.3)), Verdict.PARTLY),
        ("T6", changed("learnable_stoch", alpha=(0.46, 0.5, 0.5, 0.5, 0.04)), Verdict.REPLICATED),
        ("T7", changed("gumbel_stoch", alpha=(0.6, 0.55, 0.6, 0.7, 0.2)), Verdict.PARTLY),
        ("T7", changed("gumbel_stoch", alpha=(0.5, 0.4, 0.4, 0.4, 0.2)), Verdict.PARTLY),
        ("T7", changed("gumbel_stoch", alpha=(0.46, 0.47, 0.5, 0.5, 0.1)), Verdict.PARTLY),
    ],
)
def test_what_breaks_a_claim_breaks_that_claim(claim, narrow, verdict) -> None:
    found = assess(networks(narrow), networks(WIDE))
    assert found[claim].verdict is verdict
    others = {each.verdict for name, each in found.items() if not name.startswith(claim)}
    assert others == {Verdict.REPLICATED}


def test_the_wide_bottleneck_is_asked_of_both_gates() -> None:
    one = WIDE | {"gumbel_stoch": WIDE["gumbel_stoch"] | {"alpha": (0.5,) * 5}}
    assert assess(networks(MET), networks(one))["T8"].verdict is Verdict.PARTLY
    assert assess(networks(MET), networks(MET))["T8"].verdict is Verdict.CONTRADICTED


def test_the_matrix_counts_what_each_reading_meets_and_leaves_out_half_a_reading() -> None:
    def point(given, width, optimizer, wide=np.nan, dead=0):
        return networks(given, dead).assign(
            **FIRST | {"optimizer": optimizer, "wide": wide}, width=width
        )

    points = pd.concat(
        [
            point(changed("relu", sparsity=(0.9, 0.9, 0.9)), 4, "adam"),
            point(WIDE, 16, "adam"),
            point(MET, 4, "adamw", dead=5),
            point(WIDE, 16, "adamw"),
            point(MET, 4, "adamw", wide=30),
            point(WIDE, 16, "adamw", wide=30),
            point(MET, 4, "adam", wide=64),
        ]
    )
    table = matrix(points)
    assert table["met"].tolist() == [8, 8, 7]
    assert table["dead"].tolist() == [0.0, 0.25, 0.0]
    assert table["optimizer"].tolist() == ["adamw", "adamw", "adam"]
    assert table.loc[2, "T2"] == Verdict.CONTRADICTED
    # what a sweep fixes is no column of its table
    unvaried = matrix(points.drop(columns=["draw", "scaled", "narrow"]))
    assert unvaried[["draw", "scaled", "narrow", "met"]].values.tolist() == [
        ["all", False, "1-2-3-4", count] for count in table["met"]
    ]
    assert list(in_words(unvaried)) == [
        "decoupled decay, narrow 1-2-3-4 among 30",
        "decoupled decay",
        "as fixed before the data",
    ]
    assert met(unvaried)["T2"].tolist() == [True, True, False]
    by_decay = shares(unvaried).loc["decay"]
    assert by_decay["readings"].to_dict() == {"L2": 1, "decoupled": 2}
    assert by_decay["T2"].to_dict() == {"L2": 0, "decoupled": 1}


def test_a_reading_in_words_is_where_it_differs() -> None:
    assert words(FIRST | {"wide": np.nan}) == "as fixed before the data"
    other = {"wide": 30.0, "narrow": "[3]", "optimizer": "adamw", "gate_input": "layer"}
    told = words(FIRST | other | {"gate_decays": False})
    assert told == ("decoupled decay, not of the gates, gate sees its layer, narrow [3] among 30")
    assert words(FIRST | {"wide": np.nan, "weight_decay": 0.0}) == "no decay"


def test_the_criteria_read_what_a_reading_returns() -> None:
    small = {"samples": 200, "features": 6, "epochs": 3, "runs": 3, "layers": 2}
    tables = [
        readings.run(readings.Config(**small, width=width)).tables["networks"] for width in (4, 16)
    ]
    assert set(assess(*tables)) >= {f"T{n}" for n in range(1, 9)}
