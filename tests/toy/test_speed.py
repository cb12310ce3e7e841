from contextlib import nullcontext

import pandas as pd

from stocha.toy.config import ToyConfig
from stocha.toy.speed import ACTIVATIONS, record


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
