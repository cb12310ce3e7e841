"""What chapters 31 to 33 show: the experiments at their smallest scale."""

import numpy as np
import pytest

from stocha.base.parameters import at_scale
from stocha.sparse import benchmark
from stocha.sparse.experiments import layer, products, screening
from stocha.sparse.peers import available


def test_products_times_every_method_of_every_problem_and_finds_where_it_pays():
    told = []
    config = at_scale(products.Config, "smoke", repeats=2)
    found = products.run(config, lambda *progress: told.append(progress))
    speed = found.tables["speed"]
    counts = speed.groupby(["problem", "sparsity"])["method"].nunique()
    assert counts.to_dict() == {
        (problem, sparsity): 3 + own
        for problem, own in (("weights", 5), ("inputs", 2), ("outputs", 2))
        for sparsity in config.sparsities
    }
    assert (speed.groupby(["problem", "sparsity"])["fastest_dense"].sum() == 1).all()
    points = found.tables["break_even"].set_index(["problem", "method"])["break_even"]
    always = speed.groupby(["problem", "method"])["ratio_median"].min() > 1
    assert len(points) == 9
    assert all(points[way] == min(config.sparsities) for way in points.index if always[way])
    assert found.tables["formats"]["largest error"].max() < 1e-5
    assert told == [(done, 6, "sparsities") for done in range(1, 7)]


def test_a_wrong_product_stops_the_measurement(monkeypatch):
    monkeypatch.setattr(products.matvec, "Rows", lambda matrix: lambda x, wanted: matrix @ x)
    with pytest.raises(AssertionError, match="numba rows"):
        products.run(at_scale(products.Config, "smoke"))


def test_layer_measures_every_peer_and_batch():
    config = at_scale(layer.Config, "smoke", repeats=2)
    found = layer.run(config).tables
    speed = found["ffn_speed"]
    assert speed["correct"].all()
    at_90 = speed[(speed["sparsity"] == 0.9) & (speed["d"] == 72)]
    assert set(at_90["method"]) == {peer.name for peer in available()} | {"read roof", "triad"}
    batches = found["batches"]
    assert list(batches["batch"].unique()) == list(config.batches)
    assert set(batches["peer"]) == {"F.linear", "dense"}
    np.testing.assert_allclose(batches["limit"], 3 / (1 + 2 * batches["active for any"]))
    for name, peer in (("bf16", "F.linear, bf16"), ("int8", "torch linear, int8")):
        ways = {peer, f"dense, {name}", f"sparse, {name}", "sparse, float32"}
        assert set(found[name]["method"]) == ways
    calls = found["calls"].set_index(["way", "pause"])
    assert calls.index.nunique() == 8
    assert (calls["q1"] <= calls["median"]).all()
    assert found["machine"]["vectors"].iloc[0].split() == benchmark.vector_features()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": (8,)}, r"shape=\(8,\): allowed: a width and"),
        ({"other_widths": (8, 9)}, r"other_neurons=.*: allowed: one for each width"),
        ({"batches": (17,)}, r"batches=.*: allowed: .* int in \[1, 16\]"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        layer.Config(**given)
    assert "\n" not in str(caught.value)


def test_screening_counts_every_case_once_and_certifies_none_wrongly():
    config = at_scale(screening.Config, "smoke", repeats=2)
    found = screening.run(config)
    assert found.metrics["certified_wrongly"] == 0
    assert 0 < found.metrics["used"] <= 1
    margin = found.tables["margin"].drop(columns="left_edge").to_numpy().sum()
    assert 0.99 < margin / found.metrics["cases"] <= 1  # some lie beyond the histogram
    counted = found.tables["candidates"]
    assert (counted["candidates"] - counted["predicted"]).abs().max() < 0.05
    sensitivity = found.tables["sensitivity"].set_index("layer")["candidates"]
    assert sensitivity.idxmax() == "rows with 8 large weights"
    assert set(found.tables["speed"]["method"]) == {*screening.TIMED, "read roof", "triad"}
