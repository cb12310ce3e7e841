import re
import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.study.notebooks import read_notebook
from stocha.study.runs import Run
from stocha.study.sweeps.workflow import command, read_workflow

PARAMETERS = """\
# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book}
epochs: "Optional[int]" = None  # passes [1, inf)
p: float = 0.5  # a probability [0, 1]
lr: "Optional[float]" = None  # a rate (0, inf)
widths: list[int] = [4, 4]  # widths [1, inf)
label: "Optional[str]" = None  # a word
words: list[str] = ["a"]  # words
flag: bool = False  # a switch

# %% tags=["scales"]
scales = {"smoke": {"epochs": 2}, "book": {"epochs": 3}}
"""

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
POINTS = st.fixed_dictionaries(
    {},
    optional={
        "scale": st.sampled_from(["smoke", "book"]),
        "epochs": st.integers(1, 10**9),
        "p": st.floats(0, 1),
        "lr": st.none() | st.floats(1e-300, 1e300),
        "widths": st.lists(st.integers(1, 99), min_size=1, max_size=4),
        "label": st.none() | TEXT | st.sampled_from(["none", "Null", "'q'", '"', "$HOME `x`"]),
        "words": st.lists(
            TEXT.filter(lambda text: not set(",()") & set(text)), min_size=1, max_size=3
        ),
        "flag": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebook") / "50_all_types.py"
    path.write_text(PARAMETERS)
    return read_notebook(path)


@given(POINTS)
def test_the_command_makes_the_very_point(notebook, values):
    point = notebook.declaration.resolve(values)
    program, verb, path, *rest = shlex.split(command(notebook, point))
    assert (program, verb) == (str(Path(sys.executable).with_name("stocha")), "run")
    assert Path(path).resolve() == notebook.path
    assert set(rest[::2]) <= {"-p"}
    again = notebook.declaration.resolve(notebook.parse(rest[1::2]))
    assert notebook.run(again) == notebook.run(point)


@pytest.mark.parametrize("words", [["a,b"], ["", ")"]])
def test_what_no_command_line_can_say_is_a_mistake(notebook, words):
    point = notebook.declaration.resolve({"words": words})
    with pytest.raises(UserError, match=rf"words={re.escape(str(words))}: cannot be said"):
        command(notebook, point)


@pytest.fixture
def sweep(tmp_path, store):
    (tmp_path / "50_all_types.py").write_text(PARAMETERS)
    path = tmp_path / "sweep.yml"
    path.write_text(f"notebook: {tmp_path}/50_all_types.py\ngrid: {{p: [0, 0.5, 1]}}\n")
    return path


def finish(run_id: str) -> Run:
    run = Run("50_all_types", run_id)
    (run.start() / "metrics.json").write_text("{}\n")
    run.finish()
    return run


def test_only_unfinished_points_are_wanted_and_a_damaged_one_is_unfinished(sweep, store):
    found = read_workflow({"sweep": str(sweep), "outside": True})
    first, second, third = found.jobs
    assert [job.rank for job in found.jobs.values()] == [0, 1, 2]
    markers = [str(store / "50_all_types" / run_id / "DONE") for run_id in (first, second, third)]
    assert list(found.targets) == markers
    finish(first)
    damaged = finish(third)
    (damaged.folder / "metrics.json").write_text("{")
    assert Path(markers[2]).is_file()
    again = read_workflow({"sweep": str(sweep), "outside": True})
    assert list(again.targets) == markers[1:]
    assert list(again.jobs) == [first, second, third]


def test_a_point_handed_out_before_its_notebook_changed_is_named(sweep, tmp_path):
    before = next(iter(read_workflow({"sweep": str(sweep), "outside": True}).jobs))
    (tmp_path / "50_all_types.py").write_text(PARAMETERS + "\n# %%\nchanged = True\n")
    after = read_workflow({"sweep": str(sweep), "outside": True})
    with pytest.raises(UserError, match=f"run {before}: .* has changed since"):
        after.job(before)


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
