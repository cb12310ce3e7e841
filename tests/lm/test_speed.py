"""What the speed chapter compares is the same computation, and its ratios are round by round."""

import pandas as pd
import pytest
import torch

from stocha.lm import speed
from stocha.lm.config import ModelConfig
from stocha.lm.fast import operations as fused
from stocha.lm.fast.operations import Fused

SHAPE = ModelConfig(vocabulary=33, width=16, layers=1, heads=2, kv_heads=1, ffn=24, context=12)


def test_all_ways_compute_the_same() -> None:
    table = speed.agreement(SHAPE)
    assert set(table["against"]) == {"plain PyTorch", "Hugging Face Llama"}
    assert (table["loss"] < 1e-5).all()


def test_a_wrong_way_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fused, "rms_norm", lambda self, x, weight, eps: x * weight * 1.5)
    with pytest.raises(ArithmeticError, match="ours, SiLU"):
        speed.agreement(SHAPE)


def test_every_way_trains() -> None:
    calls = speed.whole_steps(SHAPE, 4, [4, 2])
    assert len(calls) == 8
    table = speed.time_rounds(calls, 2)
    assert {way: list(n) for way, n in table.groupby("way")["round"]} == {w: [1, 2] for w in calls}
    assert (table["seconds"] > 0).all()


def test_ratios_are_taken_within_a_round() -> None:
    times = pd.DataFrame(
        {
            "round": [1, 1, 1, 2, 2, 2],
            "way": ["b", "a", speed.ROOF] * 2,
            "seconds": [1.0, 3.0, 0.5, 10.0, 20.0, 5.0],  # the machine slowed down tenfold
        }
    )
    table = speed.ratios(times, "b", flops=speed.ROOF_FLOPS).set_index("way")
    assert list(table.index) == ["b", "a", speed.ROOF]
    assert table.loc["a", "ratio"] == 2.5
    assert table.loc["b", "of_roof"] == 0.5
    assert table.loc[speed.ROOF, "of_roof"] == 1


def test_both_formulations_of_every_decision_run_and_settings_come_back() -> None:
    before = fused.ROWS, fused.FFN_ROWS, fused.HEAD_ROWS
    table = speed.time_decisions(SHAPE, 2, 1)
    assert (table[["first", "kept", "ratio"]] > 0).all(axis=None)
    assert before == (fused.ROWS, fused.FFN_ROWS, fused.HEAD_ROWS)


def test_parts_count_the_flops_of_a_step() -> None:
    found = speed.parts(SHAPE, 4, 2)
    forward = sum(part.flops * part.count for part in found.values())
    assert 3 * forward == SHAPE.flops_per_token() * 4 * SHAPE.context
    assert len(speed.time_parts(SHAPE, 4, 2, 1)) == len(found)


def test_threads_come_back() -> None:
    before = torch.get_num_threads()
    with speed.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
