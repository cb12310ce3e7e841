import json

import numpy as np
import pandas as pd
import pytest

from stocha.base.result import Result
from stocha.study.handoff import RUN_FOLDER, badge_text, read_progress
from stocha.study.session import open_run

SCALES = {"smoke": {"epochs": 2}, "book": {"epochs": 10}, "full": {"epochs": 10}}


@pytest.fixture
def namespace():
    return {"scale": "smoke", "epochs": None, "p": 0.5, "scales": SCALES}


def test_glue_names_every_value_of_a_series(store, namespace, monkeypatch):
    shown = {}

    def display(data, raw, metadata):
        shown[metadata["scrapbook"]["name"]] = next(iter(data.values()))

    monkeypatch.setattr("stocha.study.session.display", display)
    run = open_run("50_small", namespace)
    index = pd.MultiIndex.from_tuples([("relu", 4), ("silu", 16)])
    run.glue("loss-{}-{}", pd.Series([0.3, -0.5], index), "{:.1f}")
    run.glue("zeros-{}", pd.Series({"relu": 0.5}), "{:.0%}")
    assert shown == {"loss-relu-4": "'0.3'", "loss-silu-16": "'−0.5'", "zeros-relu": "'50%'"}


def test_a_chapter_argues_from_the_recorded_full_scale(store, namespace, tmp_path, monkeypatch):
    monkeypatch.setattr("stocha.study.session.results_root", lambda: tmp_path)
    recorded = tmp_path / "50_small" / "loss.csv"
    recorded.parent.mkdir()
    recorded.write_text("epoch,loss\n1,0.5\n")
    found = Result({"loss": pd.DataFrame({"epoch": [1], "loss": [0.7]})}, {})
    run = open_run("50_small", namespace)
    tables, before = run.at_full_scale(found)
    assert (list(tables), tables["loss"]["loss"].item()) == (["loss"], 0.5)
    assert (run.folder / "tables" / f"{before}loss.csv").read_text() == recorded.read_text()
    full = open_run("50_small", namespace | {"scale": "full"})
    assert full.at_full_scale(found) == (found.tables, "")


def test_parameters_left_open_are_filled_from_the_scale(store, namespace):
    run = open_run("50_small", namespace)
    assert namespace["epochs"] == 2
    assert run.reduced == {"epochs": (2, 10)}
    namespace["epochs"] = 7
    open_run("50_small", namespace)
    assert namespace["epochs"] == 7


def test_an_unknown_scale_is_told_in_plain_papermill_too(store, namespace):
    with pytest.raises(ValueError, match="scale='huge': must be one of smoke, book, full"):
        open_run("50_small", namespace | {"scale": "huge"})


def test_by_hand_tables_go_beside_the_runs(store, namespace):
    run = open_run("50_small", namespace)
    run.table("curve", pd.DataFrame({"loss": [1 / 3, 2.0]}))
    written = store / "by-hand" / "50_small" / "tables" / "curve.csv"
    assert written.read_text() == "loss\n0.33333333\n2\n"


def test_under_the_runner_everything_goes_to_the_runs_folder(
    store, namespace, tmp_path, monkeypatch
):
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path / "run"))
    run = open_run("50_small", namespace)
    run.metric(loss=np.float64(0.5), dead=np.bool_(True))
    run.metric(steps=3)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {
        "loss": 0.5,
        "dead": True,
        "steps": 3,
    }
    run.progress(3, 10)
    assert read_progress(tmp_path / "run") == (3, 10, "epochs")
    run.progress(4, 10)  # too soon after the last to be worth a write
    run.progress(10, 10)
    assert read_progress(tmp_path / "run") == (10, 10, "epochs")


def test_glue_formats_for_prose_and_records_the_number(store, namespace, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "stocha.study.session.display", lambda data, **more: shown.append((data, more))
    )
    run = open_run("50_small", namespace)
    run.glue("loss", np.float32(0.25), "{:.1%}")
    run.glue("change", -0.5, "{:.2f}")
    run.glue("word", "x-axis")
    (data, more), (minus, _), (word, _) = shown
    assert data == {"application/papermill.record/text/plain": "'25.0%'"}
    assert minus == {"application/papermill.record/text/plain": "'−0.50'"}
    assert word == {"application/papermill.record/text/plain": "'x-axis'"}
    assert more["metadata"]["scrapbook"]["name"] == "loss"
    recorded = json.loads((run.folder / "metrics.json").read_text())
    assert recorded == {"loss": 0.25, "change": -0.5, "word": "x-axis"}


def test_a_figure_without_its_table_is_a_programming_error(store, namespace):
    with pytest.raises(AssertionError, match="no table"):
        open_run("50_small", namespace).figure_data("curve")


def test_the_badge_says_what_is_smaller():
    assert "full size" in badge_text("book", {})
    assert "epochs 2 instead of 10" in badge_text("smoke", {"epochs": (2, 10)})
