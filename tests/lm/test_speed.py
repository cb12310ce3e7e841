"""What the speed chapter compares is the same computation, and its ratios are round by round."""

import pandas as pd
import pytest
import torch

from stocha.base.parameters import at_scale
from stocha.base.timing import time_rounds
from stocha.lm import speed
from stocha.lm.fast import operations as fast

SMOKE = at_scale(speed.Config, "smoke")


def test_all_ways_compute_the_same() -> None:
    table = speed.agreement(SMOKE.shape)
    assert set(table["against"]) == {"plain PyTorch", "Hugging Face Llama"}
    assert (table["loss"] < 1e-5).all()


def test_a_wrong_way_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast.Fused, "rms_norm", lambda self, x, weight, eps: x * weight * 1.5)
    with pytest.raises(ArithmeticError, match="ours, SiLU"):
        speed.run(SMOKE)


def test_every_way_trains() -> None:
    calls = speed.steps(SMOKE)
    assert len(calls) == 8
    table = time_rounds(calls, 2)
    assert {way: list(n) for way, n in table.groupby("way")["round"]} == {w: [0, 1] for w in calls}
    assert (table["seconds"] > 0).all()


def test_ratios_are_taken_within_a_round() -> None:
    times = pd.DataFrame(
        {
            "round": [1, 1, 1, 2, 2, 2],
            "way": [speed.SILU, "a", speed.ROOF] * 2,
            "seconds": [1.0, 3.0, 0.5, 10.0, 20.0, 5.0],  # the machine slowed down tenfold
        }
    )
    table = speed.compared(times, speed.ROOF_FLOPS).set_index("way")
    assert list(table.index) == [speed.SILU, "a", speed.ROOF]
    assert 2 < table.loc["a", "ratio_q1"] < table.loc["a", "ratio"] < table.loc["a", "ratio_q3"] < 3
    assert table.loc[speed.SILU, "of_roof"] == 0.5
    assert table.loc[speed.ROOF, "of_roof"] == 1
    assert speed.compared(times, speed.ROOF_FLOPS / 2).set_index("way").loc["a", "of_roof"] < 0.12


def test_everything_is_measured_on_one_thread_and_settings_come_back() -> None:
    before = fast.ROWS, fast.FFN_ROWS, fast.HEAD_ROWS, torch.get_num_threads()
    tables = speed.run(SMOKE).tables
    assert list(tables) == ["agreement", "steps", "parts", "decisions"]
    assert (tables["decisions"][["first", "kept", "ratio"]] > 0).all(axis=None)
    assert before == (fast.ROWS, fast.FFN_ROWS, fast.HEAD_ROWS, torch.get_num_threads())


def test_parts_count_the_flops_of_a_step() -> None:
    forward = sum(part.flops * part.count for part in speed.parts(SMOKE).values())
    assert 3 * forward == SMOKE.shape.flops_per_token() * SMOKE.batch * SMOKE.context


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="micro_batch=3"):
        speed.Config(micro_batches=(3,))
