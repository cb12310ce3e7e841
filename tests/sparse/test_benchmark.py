"""The harness times right results only, covers every peer and turns times into ratios."""

import numpy as np
import pandas as pd
import pytest

from stocha.sparse import benchmark, traffic
from stocha.sparse.peers import Peer, available
from stocha.sparse.workload import make_inputs, make_layer


@pytest.fixture(scope="module")
def rotation():
    layers = tuple(make_layer(72, 320, 0.8, seed=i) for i in range(2))
    return benchmark.Rotation(layers, make_inputs(72, 2, seed=0), 0.8)


@pytest.fixture(scope="module")
def table(rotation):
    return benchmark.time_layers(rotation, threads=1, repeats=3)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_every_peer_is_right_and_timed_once_a_round(table):
    counts = table.groupby("way")["seconds"].count()
    assert set(counts.index) == {peer.name for peer in available()} | {"read roof", "triad"}
    assert (counts == 3).all()
    assert (table["seconds"] > 0).all()


def test_a_wrong_method_is_listed_and_not_timed(rotation):
    wrong = Peer("wrong", "sparse", lambda layer, threads: lambda x: np.ones_like(x))
    table = benchmark.time_layers(rotation, repeats=2, peers=[*available()[:1], wrong])
    row = table[table["way"] == "wrong"]
    assert row["seconds"].isna().all()
    assert (row["error"] > 0.01).all()
    summary = benchmark.summarise(table, rotation, threads=1).set_index("method")
    assert not summary.loc["wrong", "correct"]
    assert summary["correct"].sum() == 3


def test_layers_and_inputs_change_from_call_to_call(rotation):
    seen = []

    def make(layer, threads):
        def forward(x):
            seen.append((id(layer), x.tobytes()))
            return benchmark.reference(layer, x).astype(np.float32)

        return forward

    benchmark.time_layers(rotation, repeats=4, peers=[Peer("spy", "dense", make)])
    assert len(set(seen)) >= 3


def test_ratios_are_those_of_one_round_to_the_fastest_dense(rotation):
    times = {"slow": [4, 8, 16], "fast": [2, 4, 8], "mine": [1, 2, 2], "read roof": [2, 4, 8]}
    kinds = {"slow": "dense", "fast": "dense", "mine": "sparse", "read roof": "roof"}
    rows = [
        {"way": m, "round": i, "seconds": s, "kind": kinds[m], "error": 0.0}
        for m, values in times.items()
        for i, s in enumerate(values)
    ]
    summary = benchmark.summarise(pd.DataFrame(rows), rotation, threads=1).set_index("method")
    assert summary.loc["mine", "ratio_median"] == 2
    assert summary.loc["mine", "ratio_q3"] == 3
    assert summary.loc["slow", "ratio_median"] == 0.5
    assert summary.loc["fast", "fastest_dense"]
    assert summary.loc["fast", "roof_fraction"] == pytest.approx(1)
    share = traffic.bytes_read("sparse", 72, 320, 0.8) / traffic.bytes_read("dense", 72, 320, 0.8)
    assert summary.loc["mine", "roof_fraction"] == pytest.approx(2 * share)


def test_rotation_fills_the_caches(monkeypatch):
    monkeypatch.setattr(benchmark, "last_level_cache", lambda: 1 << 20)
    rotation = benchmark.make_rotation(64, 256, 0.5, caches=10)
    assert sum(layer.stacked.nbytes + layer.down.nbytes for layer in rotation.layers) >= 10 << 20


def test_reference_is_the_definition():
    layer, x = make_layer(20, 30, 0.5, seed=0), make_inputs(20, 1, seed=0)[0].astype(float)
    expected = (np.maximum(layer.gate @ x, 0) * (layer.up @ x)) @ layer.down_rows
    np.testing.assert_allclose(benchmark.reference(layer, x), expected, rtol=1e-5)


def test_machine_names_what_a_reader_needs():
    found = benchmark.machine(1)
    assert {"cpu", "threads", "threading_layer", "huge_pages", "last_level_cache_mb"} <= set(found)
    assert found["last_level_cache_mb"] > 0
