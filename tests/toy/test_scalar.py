"""Chapter 10's numbers, against what follows by hand or from many draws."""

import math

import numpy as np
import pytest
import torch

from stocha import activations
from stocha.base.streams import generator
from stocha.toy import scalar

X = torch.linspace(-3, 3, 13, dtype=torch.float64)
NORMAL = torch.randn(20_000, generator=generator(0, "data"), dtype=torch.float64)
P = 0.3


def test_the_slope_jumps_at_zero_by_what_each_reading_has_there() -> None:
    kinks = scalar.kinks(NORMAL, P).set_index("positive")
    assert kinks["below 0"].to_numpy() == pytest.approx(P / 2)
    wanted = {"identity": 1, "silu": 0.5, "mixed": 1 - P / 2}
    assert kinks["above 0"].to_dict() == pytest.approx(wanted)
    assert kinks["mean output"].idxmin() == "silu"


def test_readings_leave_a_gap_at_the_kink_and_end_in_silu() -> None:
    table = scalar.readings(X, P)
    assert (table.loc[table["slope"].isna(), "x"] == 0).all()
    mixed = table[table["positive"] == "mixed"]
    torch.testing.assert_close(torch.tensor(mixed["at_one"].to_numpy()), activations.silu(X))


def test_noise_is_that_of_many_draws() -> None:
    told = scalar.noise(X, P).set_index("activation")
    many = X.repeat(40_000, 1)
    coins = (generator(1, "activation", name) for name in ("stocha", "bernoulli_silu"))
    drawn = {
        "stocha": activations.stocha(many, P, positive="mixed", generator=next(coins)),
        "bernoulli_silu": activations.bernoulli_silu(many, generator=next(coins)),
    }
    for name, values in drawn.items():
        np.testing.assert_allclose(told.loc[name, "sd"], values.std(0), atol=0.01)
    assert (told.loc["stocha", "bias"] == 0).all()
    # the mean gradient along a draw is σ(x); SiLU's slope has x σ(x) (1 − σ(x)) more
    sigma = torch.sigmoid(X)
    np.testing.assert_allclose(told.loc["bernoulli_silu", "bias"], -X * sigma * (1 - sigma))


def test_a_shared_coin_makes_a_rows_mean_scatter_and_a_single_value_not() -> None:
    spread = scalar.granularity(0.5, seed=0).set_index("granularity")
    one, shared = spread["sd of one value"]
    assert one == pytest.approx(shared, rel=0.05)
    one, shared = spread["sd of the row's mean"]
    assert shared > 3 * one


def test_gates_differ_by_initialisation_and_the_relaxation_by_temperature() -> None:
    starts = scalar.gates_at_start(X, seed=0, starts=3).pivot(index="x", columns="run")["alpha"]
    assert starts.shape == (13, 3)
    assert ((starts > 0) & (starts < 1)).all(axis=None)
    assert starts.iloc[0].nunique() == 3
    weights = scalar.relaxed((0.3, 1)).groupby("temperature")["weight"]
    # at temperature 1 the weight is the draw itself: uniform
    assert weights.std()["τ = 1"] == pytest.approx(math.sqrt(1 / 12), abs=1e-3)
    assert weights.std()["τ = 0.3"] > weights.std()["τ = 1"]


def test_zeros_of_normal_inputs() -> None:
    table = scalar.moments(NORMAL.float(), P, seed=0).set_index("activation")
    assert list(table.index) == list(activations.names())
    negative = float((NORMAL < 0).double().mean())
    assert table["zeros"]["relu"] == pytest.approx(negative)
    assert table["zeros"]["stocha"] == pytest.approx((1 - P) * negative, abs=0.01)
    assert table["zeros"]["silu"] == 0
    assert table["no gradient"]["relu"] == pytest.approx(negative)
    # what Bernoulli SiLU passes has SiLU's mean
    assert table["mean"]["bernoulli_silu"] == pytest.approx(table["mean"]["silu"], abs=0.02)
