"""Each experiment as a function: what its page shows is what it returns."""

import io

import numpy as np
import pandas as pd
import pytest

from stocha.arms import Arm
from stocha.base.parameters import at_scale
from stocha.base.paths import project_root, results_root
from stocha.study.notebooks import read_notebook
from stocha.toy import classification, experiment, gates, gradual
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
        (classification, "11_toy_classification", {"layers": 2, "other_widths": (5, 3)}),
        (gates, "12_gates", {"bottlenecks": (3, 5), "layers": 2}),
        (gradual, "13_gradual_or_sudden", {"widths": (3, 3), "every": (1, 2)}),
    ],
    ids=["classification", "gates", "gradual"],
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
    assert set(found.tables) == set(recorded)
    for name, table in found.tables.items():
        assert list(table.columns) == list(recorded[name].columns), name
        assert len(table), name
    again = module.run(config)
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])


def test_the_three_sets_differ_in_decay_and_shape_alone() -> None:
    sets = classification.Config(**SMALL, p=0.3, temperature=0.5, gate_input="layer").ensembles()
    decayed, free, other = sets.values()
    assert [one.arm for one in decayed] == [
        "relu",
        "silu",
        "stocha(0.3,positive=mixed)",
        "learnable_stoch(input=layer)",
        "gumbel_stoch(input=layer,temperature=0.5)",
    ]
    assert {one.weight_decay for one in free} == {0.0}
    assert {one.widths for one in decayed + free} == {(4, 4, 4, 4)}
    assert {one.widths for one in other} == {(30, 30, 4, 30)}


def test_gates_are_decayed_or_free_and_their_parameters_shrink_by_decay() -> None:
    config = gates.Config(**SMALL | {"epochs": 40}, runs=2, bottlenecks=(4,), workers=1)
    cases = config.cases()
    assert [one.gate_decay for one in cases.values()] == [0.01, 0.0, 0.01, 0.0]
    sizes = gates.run(config).tables["gate_parameters"]
    last = sizes[sizes.epoch == 40].groupby(["gate", "parameter"])["rms"].mean()
    assert last["decayed gate", "weight_out"] < 0.9 * last["free gate", "weight_out"]


def test_arms_are_paired_with_what_they_are_compared_with() -> None:
    config = gradual.Config(
        **SMALL | {"batch_size": 20}, runs=3, widths=(3,), every=(1,), workers=1
    )
    arms = config.change() | config.often()
    assert all(Arm.parse(arm.name) == arm for arm in arms.values())
    tables = gradual.run(config).tables
    final = tables["final"].set_index(["arm", "run"])["val_loss_relu"]
    assert config.flip == "flip 0.1"
    row = tables["paired"].query("arm == 'anneal linear' and reference == 'flip 0.1' and run == 2")
    wanted = final["anneal linear", 2] - final["flip 0.1", 2]
    assert row["difference"].item() == wanted
    assert len(tables["paired"]) == 3 * (8 + 2 + 3)
