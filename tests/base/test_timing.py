import time

import pandas as pd
import pytest
import torch

from stocha.base.timing import one_thread, ratios, time_rounds, torch_threads


def test_ways_take_turns_and_warm_rounds_do_not_count():
    calls = []
    seen = []
    table = time_rounds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        2,
        warm=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert calls == ["a", "b"] * 3
    assert table[["round", "way"]].to_numpy().tolist() == [[0, "a"], [0, "b"], [1, "a"], [1, "b"]]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_seconds_are_those_of_the_call_and_the_pause_is_not_in_them():
    table = time_rounds({"rest": lambda: time.sleep(0.02)}, 1, warm=0, pause=0.2)
    assert 0.02 <= table["seconds"][0] < 0.2


@pytest.fixture
def times():
    rows = {"slow": [4, 8, 160], "fast": [2, 4, 80], "mine": [1, 2, 20]}  # a slow last round
    return pd.DataFrame(
        [(i, way, float(s)) for way, each in rows.items() for i, s in enumerate(each)],
        columns=["round", "way", "seconds"],
    )


def test_a_ratio_says_how_many_times_faster_than_the_fastest_peer_of_the_same_round(times):
    table = ratios(times, "slow", "fast").set_index("way")
    assert list(table.index) == ["slow", "fast", "mine"]
    assert table["ratio"].to_dict() == {"slow": 0.5, "fast": 1.0, "mine": 2.0}
    assert table.loc["mine", ["ratio_q1", "ratio_q3"]].tolist() == [2.0, 3.0]
    assert table["peer"].to_dict() == {"slow": False, "fast": True, "mine": False}
    assert table.loc["mine", "milliseconds"] == 2000
    assert ratios(times, "mine").set_index("way").loc["slow", "ratio"] == 0.25


@pytest.mark.parametrize("peers", [[], ["other"], ["slow", "other"]])
def test_a_peer_that_was_not_timed_is_refused(times, peers):
    with pytest.raises(ValueError, match=r"peers=.*: allowed: one or more of slow, fast, mine"):
        ratios(times, *peers)


def test_threads_come_back_even_after_an_error():
    before = torch.get_num_threads()
    inside = []

    def fails():
        inside.append(torch.get_num_threads())
        raise KeyError

    with pytest.raises(KeyError), torch_threads(2), one_thread():
        fails()
    assert inside == [1]
    assert torch.get_num_threads() == before
