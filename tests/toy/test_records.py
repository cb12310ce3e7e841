import numpy as np
import pandas as pd
import pytest
import torch

from stocha.toy.config import ToyConfig
from stocha.toy.records import QUANTILES, History, gate_statistics, sparsity, stack

CONFIG = ToyConfig(
    arm="relu", widths=(2, 3), epochs=1, runs=2, seed=5, threshold=0.1, more_thresholds=(1.0,)
)
LABELS = torch.tensor([0, 1, 1])
# run 0 answers 0, 1, 1; run 1 answers 0 throughout
LOGITS = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [0.0, 3.0]], [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
FIRST = torch.tensor([[[0.0, 0.05], [0.5, -2.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
SECOND = torch.full((2, 3, 3), 0.5)


def observed() -> History:
    history = History(CONFIG, (5, 6))
    history.observe(1, LOGITS, LABELS, [FIRST, SECOND], [None, torch.full((2, 3, 3), 0.25)])
    return history


def test_sparsity_by_hand():
    # |FIRST[0]|: 0, 0.05, 0.5, 2, 0, 3; a magnitude equal to the threshold is not below it
    expected = [[2 / 6, 3 / 6, 4 / 6], [1.0, 1.0, 1.0]]
    np.testing.assert_allclose(sparsity(FIRST, (0.05, 0.1, 1.0)), expected)


def test_losses_and_accuracy_by_hand():
    history = observed()
    right, wrong = np.log1p(np.exp(-3)), np.log1p(np.exp(3))
    assert history.val_loss[0, 1] == pytest.approx(right, rel=1e-6)
    by_hand = (np.log1p(np.exp(-1)) + np.log1p(np.exp(2)) + wrong) / 3
    assert history.val_loss[1, 1] == pytest.approx(by_hand, rel=1e-6)
    assert history.val_accuracy[:, 1] == pytest.approx([1, 1 / 3])


def test_a_run_is_dead_by_constant_prediction_or_by_a_zero_layer():
    history = observed()
    assert history.dead.tolist() == [False, True]
    runs = history.runs()
    assert runs["constant_prediction"].tolist() == [False, True]
    assert runs["zero_layers"].tolist() == [0, 1]
    alive_again = History(CONFIG, (5, 6))
    alive_again.observe(1, LOGITS[:1].expand(2, -1, -1), LABELS, [SECOND] * 2, [None, None])
    assert not alive_again.dead.any()


def test_gate_statistics_are_numpys_mean_and_quantiles():
    alpha = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0))
    flat = alpha.flatten(1).double().numpy()
    expected = np.column_stack([flat.mean(1), np.quantile(flat, QUANTILES, axis=1).T])
    np.testing.assert_allclose(gate_statistics(alpha), expected, rtol=1e-12)


def test_tables_are_tidy_and_agree_with_the_arrays():
    history = observed()
    table = history.layer_sparsity()
    assert list(table.columns) == ["activation", "run", "epoch", "layer", "threshold", "sparsity"]
    row = table.query("run == 0 and epoch == 1 and layer == 1 and threshold == 0.1")
    assert row["sparsity"].tolist() == pytest.approx([0.5])
    assert len(table) == 2 * 2 * 2 * 2
    assert list(history.curves().columns) == [
        "activation",
        "run",
        "epoch",
        "train_loss",
        "val_loss",
        "val_accuracy",
    ]
    gates = history.gates()
    assert list(gates.columns[-6:]) == ["mean", "q05", "q25", "q50", "q75", "q95"]
    assert gates.query("epoch == 1 and layer == 2")["q50"].tolist() == [0.25, 0.25]
    assert gates.query("layer == 1")["mean"].isna().all()


def test_stacked_runs_are_the_runs_in_order():
    one, two = History(CONFIG, (5,)), History(CONFIG, (6,))
    one.observe(1, LOGITS[:1], LABELS, [FIRST[:1], SECOND[:1]], [None, None])
    two.observe(1, LOGITS[1:], LABELS, [FIRST[1:], SECOND[1:]], [None, None])
    both = History(CONFIG, (5, 6))
    both.observe(1, LOGITS, LABELS, [FIRST, SECOND], [None, None])
    joined = stack([one, two])
    pd.testing.assert_frame_equal(joined.runs(), both.runs())
    pd.testing.assert_frame_equal(joined.layer_sparsity(), both.layer_sparsity())
    with pytest.raises(ValueError, match="one configuration"):
        stack([one, History(ToyConfig(), (0,))])
    with pytest.raises(ValueError, match="at least one"):
        stack([])
