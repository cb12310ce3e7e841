"""Measures of uncertainty against other libraries and by hand, and methods on a small problem."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from stocha.base.parameters import at_scale
from stocha.toy import uncertainty as u

SMALL = at_scale(u.Config, "smoke", width=8)
RNG = np.random.default_rng(0)
CHANCE = RNG.dirichlet(np.ones(4), 500)
Y = RNG.integers(0, 4, 500)


def test_the_loss_is_scikit_learns() -> None:
    assert u.nll(CHANCE, Y) == pytest.approx(log_loss(Y, CHANCE, labels=range(4)))


def test_calibration_error_by_hand_and_its_bias_is_that_of_a_perfect_forecaster() -> None:
    chance = np.array([[0.95, 0.05]] * 4 + [[0.35, 0.65]] * 4)
    y = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    # a bin with 3 of 4 right at 0.95, one with 2 of 4 at 0.65, half of all each
    assert u.ece(chance, y) == pytest.approx((0.2 + 0.15) / 2)
    few, many = (u.ece_bias(CHANCE[:n], 0) for n in (50, 500))
    assert 0 < many < few < 0.2


def test_the_risk_of_the_surest_first() -> None:
    chance = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert u.aurc(chance, np.array([0, 1, 1])) == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert u.aurc(chance, np.array([1, 1, 0])) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_digits_of_two_classes_are_held_out_and_others_are_shifted() -> None:
    digits, wine = (u.problem(name, 3, 0) for name in ("digits", "wine"))
    assert digits.classes == 8
    assert len(digits.x_out) == 364  # of 3 and 4
    moved = (wine.x_out - wine.x_test)[0]
    torch.testing.assert_close(wine.x_out - wine.x_test, moved.expand_as(wine.x_test))
    assert set(moved.abs().round(decimals=4).tolist()) == {u.SHIFT}
    sizes = [len(wine.data.y_train), len(wine.data.y_val), len(wine.y_test)]
    assert sizes == [106, 36, 36]
    assert not torch.equal(u.problem("wine", 4, 0).x_test, wine.x_test)


def test_laplace_approaches_the_network_as_the_prior_tightens_and_doubts_what_is_far() -> None:
    posed = u.problem("wine", 0, 0)
    network, trained = u.trained_with(SMALL, posed, "silu", SMALL.members, 0)
    plain = u.mean(u.network_logits(network, trained, 1)(posed.x_test)[:1])
    drawn = u.laplace(network, posed.data, SMALL)
    off = [np.abs(u.mean(drawn[t](posed.x_test)) - plain).max() for t in u.PRECISIONS]
    assert off[-1] < off[0]
    assert off[-1] < 0.05
    spread = [drawn[1.0](x).std(0).mean() for x in (posed.x_test, 5 * posed.x_test)]
    assert spread[1] > spread[0]


def test_every_method_is_measured_and_the_same_bits_come_again() -> None:
    first, again = (u.run(SMALL).tables for _ in range(2))
    for name, table in first.items():
        assert table.equals(again[name])
    scores = first["scores"]
    wanted = ["single", "ensemble", "temperature", "laplace", "stocha", "stocha few"]
    assert list(scores["method"].unique()) == [*wanted, "stocha mean", "dropout"]
    assert scores.groupby("method")["split"].nunique().eq(2).all()
    # what is chosen is what the validation samples like best
    best = first["search"].groupby(["split", "method"])["val_nll"].idxmin()
    chosen = first["search"].loc[best].set_index(["split", "method"])["setting"]
    assert chosen.equals(scores.set_index(["split", "method"])["setting"].reindex(chosen.index))
    one = scores[scores["passes"] == 1]
    assert (one.loc[one["method"] != "laplace", "auroc_information"].isna()).all()


def test_stochact_is_called_where_it_is_installed() -> None:
    pytest.importorskip("stochact")
    posed = u.problem("wine", 0, 0)
    before = torch.get_rng_state()
    logits = u.theirs(SMALL, posed, 0.5, 0)
    first = logits(posed.x_test)
    assert first.shape == (SMALL.draws, 36, 3)
    assert torch.equal(first, logits(posed.x_test))
    assert not torch.equal(first[0], first[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_peers_that_are_not_installed_are_one_line(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "stochact", None)
    with pytest.raises(
        ValueError, match=r"^peers=True: allowed with pip install 'stocha\[peers\]'$"
    ):
        at_scale(u.Config, "full")
    with pytest.raises(ValueError, match=r"^data=.*moon.*: allowed"):
        at_scale(u.Config, "smoke", data=("moon",))
