"""Each experiment as a function: what its page shows is what it returns."""

import io

import numpy as np
import pandas as pd
import pytest

from stocha.arms import Arm
from stocha.base.parameters import at_scale
from stocha.base.paths import project_root, results_root
from stocha.study.notebooks import read_notebook
from stocha.toy import classification, experiment, gradual
from stocha.toy.ensemble import train

SMALL = {"samples": 200, "features": 6, "epochs": 2, "batch_size": 40}


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(table.to_csv(index=False, float_format="%.8g")))


@pytest.mark.notebooks
def test_the_function_and_page_14_give_the_same_tables(stocha, store) -> None:
    given = {"activation": "gumbel_stoch", "width": 3, "seed": 1, "samples": 300}
    options = [part for name, value in given.items() for part in ("-p", f"{name}={value}")]
    path = project_root() / "notebooks" / "14_toy_run.py"
    done = stocha("run", path, "-p", "scale=smoke", *options)
    assert done.returncode == 0, done.stderr
    notebook = read_notebook(path)
    page = notebook.run(notebook.declaration.resolve({"scale": "smoke", **given}))
    found = experiment.run(at_scale(experiment.Config, "smoke", **given))
    assert {path.stem for path in (page.folder / "tables").iterdir()} == set(found.tables)
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(as_written(table), pd.read_csv(page.table(name)))


def test_one_configuration_is_the_ensemble_it_describes() -> None:
    told: list[tuple[int, int, str]] = []
    config = experiment.Config(
        **SMALL, p=0.3, test="relu", width=3, layers=2, runs=2, seed=4, lr=0.01
    )
    found = experiment.run(config, lambda *state: told.append(state))
    arm = "stocha(0.3,positive=mixed,test=relu)"
    history = train(config.ensemble(arm=arm, widths=(3, 3), seed=8))
    final = found.tables["final"]
    assert final["network"].tolist() == [8, 9]
    np.testing.assert_array_equal(final["val_loss"], history.val_loss[:, -1])
    assert found.metrics["val_loss"] == final["val_loss"].mean()
    assert final["alpha"].isna().all()
    assert told == [(1, 2, "epochs"), (2, 2, "epochs")]
    gated = experiment.Config(**SMALL, activation="learnable_stoch", runs=1)
    assert experiment.run(gated).tables["final"]["alpha"].between(0, 1).all()


@pytest.mark.parametrize(
    ("module", "page", "own"),
    [
        (classification, "11_toy_classification", {"layers": 2, "width": 3, "wider": 5}),
        (gradual, "13_gradual_or_sudden", {"layers": 2, "width": 3, "every": (1, 2)}),
    ],
    ids=["classification", "gradual"],
)
def test_an_experiment_returns_the_tables_that_are_recorded(module, page, own) -> None:
    config = module.Config(**SMALL | {"batch_size": 20}, **own, runs=2, workers=1)
    done: list[int] = []
    found = module.run(config, lambda count, total, _: done.append(total - count))
    assert done == sorted(done, reverse=True)
    assert done[-1] == 0
    recorded = {
        path.stem: pd.read_csv(path, nrows=1) for path in results_root().glob(f"{page}/*.csv")
    }
    drawn = {"literal"} & set(recorded)  # of the first reading, for one figure
    assert set(found.tables) == set(recorded) - drawn
    for name, table in found.tables.items():
        assert list(table.columns) == list(recorded[name].columns), name
        assert len(table), name
    again = module.run(config)
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])


def test_both_bottlenecks_have_every_activation_as_the_reading_has_it() -> None:
    config = classification.Config(
        **SMALL, p=0.3, temperature=0.5, gate_input="layer", gate_decays=False, layers=2, wider=8
    )
    ensembles = config.ensembles()
    assert [one.arm for one in ensembles.values()] == 2 * [
        "relu",
        "silu",
        "stocha(0.3,positive=mixed)",
        "learnable_stoch(input=layer)",
        "gumbel_stoch(input=layer,temperature=0.5)",
    ]
    assert [one.widths for one in ensembles.values()] == 5 * [(4, 4)] + 5 * [(8, 8)]
    assert {one.gate_decay for one in ensembles.values()} == {0.0}


def test_what_is_kept_of_the_epochs_is_what_the_networks_did() -> None:
    small = {"width": 3, "wider": 5, "layers": 2, "workers": 1}
    config = classification.Config(**SMALL | {"epochs": 25}, runs=22, **small)
    tables = classification.run(config).tables
    history = train(config.ensembles()[5, "gumbel_stoch"])
    case = "bottleneck == 5 and activation == 'gumbel_stoch'"
    epochs = tables["epochs"].query(f"{case} and measure == 'sparsity' and epoch == 25")
    main = history.config.thresholds.index(config.threshold)
    last = history.sparsity[:, -1, 0, main]
    assert epochs["mean"].item() == pytest.approx(last.mean(), abs=1e-5)
    assert epochs["median"].item() == pytest.approx(np.median(last), abs=1e-5)
    lines = tables["lines"].query(case)
    assert lines["run"].max() == classification.LINES - 1
    assert sorted(set(lines["epoch"])) == [*range(21), 25]
    alpha = lines.query("run == 7 and epoch == 25")["alpha"].item()
    assert alpha == pytest.approx(history.gate[7, -1, :, 0].mean(), abs=1e-5)
    gates = tables["gates"].query(f"{case} and layer == 2 and epoch == 3")
    assert gates["q95"].item() == pytest.approx(history.gate[:, 3, 1, -1].mean(), abs=1e-5)
    silent = tables["thresholds"].query(f"{case} and layer == 1 and threshold == 1e-3")
    assert silent["sparsity"].item() == epochs["mean"].item()


def test_every_arm_is_one_of_the_reading_s() -> None:
    small = SMALL | {"batch_size": 20, "runs": 3, "layers": 1, "width": 3, "workers": 1}
    config = gradual.Config(**small, every=(1,), draw="below")
    arms = config.change() | config.often() | config.gates()
    assert all(Arm.parse(arm.name) == arm for arm in arms.values())
    assert arms["p 0.25"].name == "stocha(0.25)"
    assert arms["gumbel_stoch"].name == "gumbel_stoch(positive=identity)"
    assert config.flip == "flip 0.1"
    tables = gradual.run(config).tables
    assert len(tables["final"]) == 3 * len(arms)
    learning = tables["learning"].query("arm == 'silu' and epoch == 2").set_index("run")["val_loss"]
    assert learning[-1] == pytest.approx(learning[[0, 1, 2]].mean(), abs=1e-5)
