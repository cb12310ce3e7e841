from contextlib import contextmanager, nullcontext

import pandas as pd

from stocha.base.parameters import at_scale
from stocha.toy import speed_by_reading
from stocha.toy.config import ToyConfig
from stocha.toy.pool import training_pool
from stocha.toy.speed import ACTIVATIONS, Config, record, run


def test_a_recording_that_was_cut_short_goes_on_where_it_stopped(tmp_path, monkeypatch):
    table = pd.DataFrame({"method": ["reference"], "activation": ["relu"], "seconds": [1.0]})
    measured: list[str] = []

    def one(config, pool):
        measured.append(config.activation)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return table

    monkeypatch.setattr("stocha.toy.speed.time_reference", one)
    monkeypatch.setattr("stocha.toy.speed.time_ensemble", lambda configs, pool: table)
    monkeypatch.setattr("stocha.toy.speed.training_pool", nullcontext)
    path = tmp_path / "speed.csv"
    for _ in range(2):
        try:
            record(path, ToyConfig(), workers=1)
        except KeyboardInterrupt:
            continue
    assert measured == [*ACTIVATIONS[:3], *ACTIVATIONS[2:]]
    assert list(pd.read_csv(path)["piece"].unique()) == list(ACTIVATIONS)
    assert path.with_suffix(".json").is_file()


def test_both_ways_are_warm_and_every_part_and_decision_is_timed(monkeypatch):
    """A process's first optimizer imports for seconds: counted, it was 158.7 of a ratio."""
    mapped = []

    @contextmanager
    def watched(workers):
        with training_pool(workers) as pool:
            plain = pool.map
            pool.map = lambda way, *given: mapped.append(way.__name__) or plain(way, *given)
            yield pool

    monkeypatch.setattr("stocha.toy.speed.training_pool", watched)
    found = run(at_scale(Config, "smoke")).tables
    assert mapped == ["train", *["train_run"] * (1 + len(ACTIVATIONS))]
    live = found["live"]
    assert set(live.loc[live.method == "reference", "activation"]) == set(ACTIVATIONS)
    assert set(live.loc[live.method == "ensemble", "activation"]) == {*ACTIVATIONS, "all"}
    assert (live["busy"] > 0).all()
    parts = found["parts"].set_index("activation")
    assert list(parts.index) == list(ACTIVATIONS)
    assert (parts[["Adam", "shuffling", "recording"]] > 0).all(axis=None)
    assert len(found["decisions"]) == 12
    assert (found["decisions"][["first / µs", "kept / µs"]] > 0).all(axis=None)


def test_every_reading_is_timed_three_ways(tmp_path, monkeypatch):
    monkeypatch.setattr("stocha.toy.speed_by_reading.ACTIVATIONS", ("relu", "gumbel_stoch"))
    path = tmp_path / "steps.csv"
    config = speed_by_reading.Config(runs=2, rounds=1, wide=(5,))
    speed_by_reading.record(path, config)
    steps = pd.read_csv(path)
    # four layers of one width: eight; fifteen among wider ones, of which the search had three pairs
    assert len(steps) == (8 + 3 * 5) * 2 * 2
    key = ["optimizer", "gate_input", "draw", "wide", "narrow", "width", "activation"]
    assert not steps.duplicated(key).any()
    assert (steps[["loop", "torch", "ensemble", "to_loop", "to_torch"]] > 0).all(axis=None)
    assert path.with_suffix(".json").is_file()
    assert len(list(speed_by_reading.Config().readings())) == 8 + 3 * 15
