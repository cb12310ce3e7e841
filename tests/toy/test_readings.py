"""One reading: what it trains, and the statistics that it asks of each network, by hand."""

import numpy as np
import pytest

from stocha.toy.config import ToyConfig
from stocha.toy.readings import Config, statistics
from stocha.toy.records import History

SMALL = {"samples": 200, "features": 6, "epochs": 2, "runs": 2}


def test_a_reading_says_which_layers_are_narrow() -> None:
    assert Config().widths(4) == (4, 4, 4, 4)
    assert Config(layers=6).widths(3) == (3,) * 6
    assert Config(wide=30, narrow=(3,)).widths(4) == (30, 30, 4, 30)
    assert Config(wide=64, narrow=(2, 3, 4)).widths(16) == (64, 16, 16, 16)
    with pytest.raises(ValueError, match=r"^narrow=\(5,\): allowed: layers from 1 to 4$"):
        Config(wide=16, narrow=(5,))
    with pytest.raises(ValueError, match=r"^wide=None: allowed: an int, with narrow=\(1,\)$"):
        Config(narrow=(1,))


def test_a_reading_reaches_every_ensemble() -> None:
    config = Config(
        **SMALL, optimizer="adamw", scaled=True, gate_decays=False, gate_input="layer",
        gate_start="even", draw="below",
    )  # fmt: skip
    ensembles = config.ensembles()
    assert [one.arm for one in ensembles] == [
        "relu",
        "silu",
        "stocha(0.5)",
        "learnable_stoch(input=layer,positive=identity,start=even)",
        "gumbel_stoch(input=layer,positive=identity,start=even)",
    ]
    assert {(one.optimizer, one.scaled, one.gate_decay) for one in ensembles} == {
        ("adamw", True, 0.0)
    }
    assert Config().ensembles()[2].arm == "stocha(0.5,positive=mixed)"


def test_statistics_by_hand() -> None:
    config = ToyConfig(arm="learnable_stoch", widths=(2, 3), epochs=30, runs=2, seed=7)
    history = History(config, (7, 8))
    epochs = np.arange(31.0)
    history.train_loss[:] = history.val_loss[:] = epochs
    history.sparsity[..., 0] = epochs[:, None] / 100 + np.array([0.0, 0.5])
    history.gate[..., 0] = 0.5 - 0.01 * np.minimum(epochs, 30 - epochs)[:, None]
    history.gate[..., 1], history.gate[..., 5] = 0.2, 0.9
    history.constant[1, -1] = True
    table = statistics(history)
    assert table[["network", "layer"]].to_numpy().tolist() == [[7, 1], [7, 2], [8, 1], [8, 2]]
    assert table["dead"].tolist() == [False, False, True, True]
    second = table.iloc[1].drop(["activation", "network", "layer", "dead"]).astype(float)
    assert second.to_dict() == pytest.approx(
        {
            "train_loss": 25.5,
            "val_loss": 25.5,
            "sparsity_first": 0.51,
            "sparsity_early": 0.555,
            "sparsity_last": 0.755,
            "sparsity_mean": 0.655,
            "alpha_start": 0.5,
            "alpha_1": 0.49,
            "alpha_2": 0.48,
            "alpha_5": 0.45,
            "alpha_10": 0.40,
            "alpha_20": 0.40,
            "alpha_later": 0.45,
            "alpha_last": 0.455,
            "alpha_travel": 0.15,
            "alpha_spread": 0.7,
        }
    )
    assert statistics(History(ToyConfig(epochs=30, runs=2), (0, 1)))["alpha_last"].isna().all()
