"""One run as a function: what the page shows is what it returns, and impossible values wait for
nothing."""

import io
from pathlib import Path

import pandas as pd
import pytest
import torch

from stocha.activations import make
from stocha.base.parameters import at_scale
from stocha.lm import experiment

ARM = {"activation": "stocha", "p": 0.7, "alpha": 0.2}


@pytest.mark.notebooks
def test_the_function_and_the_page_give_the_same_tables(stocha, tmp_path, monkeypatch) -> None:
    given = [f"{name}={value}" for name, value in ARM.items()]
    options = [part for value in ("scale=smoke", *given) for part in ("-p", value)]
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path / "page"))
    done = stocha("run", "notebooks/21_lm_run.py", *options)
    assert done.returncode == 0, done.stderr
    tables = Path(done.stdout.strip()) / "tables"
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path / "function"))
    found = experiment.run(at_scale(experiment.Config, "smoke", **ARM))
    assert {path.stem for path in tables.iterdir()} == set(found.tables)
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(as_written(table), pd.read_csv(tables / f"{name}.csv"))
    assert found.tables["summary"]["loss"].item() == found.metrics["val_loss"]
    assert set(found.tables["evaluation"]["form"]) == {"own", "sampled", "expected", "silu", "relu"}


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    text = table.to_csv(index=False, float_format="%.8g")
    return pd.read_csv(io.StringIO(text))


def test_a_trained_activation_is_evaluated_with_what_it_learnt(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    arm = {"activation": "xielu", "schedule": "constant", "lr": 0.05}
    run = experiment._Run(at_scale(experiment.Config, "smoke", **arm), lambda *_: None)
    found = run.result().tables["evaluation"].query("split == 'validation' and form == 'own'")
    sizes, held = run.sizes, run.held["validation"]
    own = experiment.evaluation.score(run.model, held, sizes)["loss"]
    fresh = experiment.evaluation.score(run.model, held, sizes, make("xielu"))["loss"]
    assert found["loss"].item() == own != fresh


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"context": 2}, "context=2: allowed"),
        ({"threads": 100_000}, "threads=100000: allowed"),
        ({"lr": float("inf")}, "lr=inf: allowed"),
        ({"alpha": 0.999}, "alpha=0.999: none of"),
        ({"heads": 3}, "heads=3: width"),
        ({"activation": "sine"}, "activation='sine': allowed"),
        ({"activation": "xielu"}, "activation='xielu': learns; allowed: with schedule=constant"),
    ],
)
def test_an_impossible_configuration_is_one_clear_line(given, message, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=message) as caught:
        at_scale(experiment.Config, "smoke", **given)
    assert "\n" not in str(caught.value)
    assert not Path(tmp_path / "cache").exists()


def test_a_cache_that_is_no_folder_is_one_clear_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"^STOCHA_CACHE=.*file: cannot be written") as caught:
        experiment.run(at_scale(experiment.Config, "smoke"))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_where_there_is_no_cuda_auto_is_the_cpu_and_cuda_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    found = {
        device: experiment.run(at_scale(experiment.Config, "smoke", device=device, **ARM))
        for device in ("cpu", "auto")
    }
    for name, table in found["cpu"].tables.items():
        pd.testing.assert_frame_equal(table, found["auto"].tables[name])
    assert found["auto"].metrics["device"] == "cpu"
    with pytest.raises(ValueError, match=r"^device='cuda': allowed: auto, cpu$"):
        experiment.run(at_scale(experiment.Config, "smoke", device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_run_on_cuda_has_the_same_tables_and_nearly_the_losses(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    here, there = (
        experiment.run(at_scale(experiment.Config, "smoke", device=device, activation="silu"))
        for device in ("cpu", "cuda")
    )
    assert there.metrics["device"] == "cuda"
    assert set(there.tables) == set(here.tables)
    assert there.metrics["val_loss"] == pytest.approx(here.metrics["val_loss"], rel=0.02)
    again = experiment.run(at_scale(experiment.Config, "smoke", device="auto", activation="silu"))
    pd.testing.assert_frame_equal(again.tables["evaluation"], there.tables["evaluation"])
