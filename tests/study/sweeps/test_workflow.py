import shlex
import sys
from pathlib import Path

import pytest

from stocha.base.errors import UserError
from stocha.study.runs import Entry
from stocha.study.sweeps.commands import run
from stocha.study.sweeps.workflow import read_workflow

PARAMETERS = """\
# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book}
p: float = 0.5  # a probability [0, 1]

# %% tags=["scales"]
scales = {"smoke": {}, "book": {}}
"""


@pytest.fixture
def sweep(tmp_path, store):
    (tmp_path / "50_all_types.py").write_text(PARAMETERS)
    path = tmp_path / "sweep.yml"
    path.write_text(f"notebook: {tmp_path}/50_all_types.py\ngrid: {{p: [0, 0.5, 1]}}\n")
    return path


def finish(run_id: str) -> Entry:
    run = Entry("50_all_types", run_id)
    (run.start() / "metrics.json").write_text("{}\n")
    run.finish()
    return run


def test_only_unfinished_points_are_wanted_and_a_damaged_one_is_unfinished(sweep, store):
    found = read_workflow({"sweep": str(sweep), "outside": True})
    first, second, third = (point.id for point in found.sweep.runs)
    assert found.label(second) == f"{second}  p=0.5"
    markers = [str(store / "50_all_types" / run_id / "DONE") for run_id in (first, second, third)]
    assert list(found.targets) == markers
    finish(first)
    damaged = finish(third)
    (damaged.folder / "metrics.json").write_text("{")
    assert Path(markers[2]).is_file()
    again = read_workflow({"sweep": str(sweep), "outside": True})
    assert list(again.targets) == markers[1:]
    assert [again.sweep.place(point) for point in (first, second, third)] == [0, 1, 2]


def test_the_command_is_that_of_one_point(sweep):
    words = shlex.split(read_workflow({"sweep": str(sweep), "outside": True}).command)
    program = str(Path(sys.executable).with_name("stocha"))
    assert words == [program, "sweep", "run", str(sweep), "--outside"]


def test_a_point_handed_out_before_its_notebook_changed_is_named(sweep, tmp_path):
    before = read_workflow({"sweep": str(sweep), "outside": True}).sweep.runs[0].id
    (tmp_path / "50_all_types.py").write_text(PARAMETERS + "\n# %%\nchanged = True\n")
    after = read_workflow({"sweep": str(sweep), "outside": True})
    with pytest.raises(UserError, match=f"run {before}: .* has changed since"):
        after.label(before)
    with pytest.raises(UserError, match=f"run {before}: .* has changed since"):
        run(sweep, point=before, outside=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"--config sweep=SWEEP\.yml is wanted"),
        ({"sweep": 3}, r"--config sweep=SWEEP\.yml is wanted"),
        ({"sweeps": "x.yml"}, r"--config sweeps: unknown key; known are sweep, threads"),
        ({"sweep": "x.yml", "threads": 0}, r"--config threads=0: must be an int, at least 1"),
        ({"sweep": "x.yml", "threads": "two"}, r"--config threads=two: must be"),
        ({"sweep": "none.yml"}, r"cannot read none\.yml"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(config, message):
    with pytest.raises(UserError, match=message) as caught:
        read_workflow(config)
    assert "\n" not in str(caught.value)


def test_a_notebook_that_measures_time_is_refused(sweep, tmp_path):
    header = "# ---\n# jupyter:\n#   stocha:\n#     alone: true\n# ---\n\n"
    (tmp_path / "50_all_types.py").write_text(header + PARAMETERS)
    with pytest.raises(UserError, match=r"measures time.*: stocha sweep run"):
        read_workflow({"sweep": str(sweep), "outside": True})
