"""Results keep their identity, on a copy of the project that is edited."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from stocha.base.files import locked
from stocha.base.paths import project_root
from stocha.base.result import Result
from stocha.study.results import obtain

EXPERIMENT = '''
"""An experiment that counts its calls."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stocha.base.result import Result
from stocha.toy import ensemble


@dataclass(frozen=True)
class Config:
    epochs: int = 3
    p: float = 0.5
    widths: tuple[int, ...] = (4, 4)


def run(config, progress=None):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"{config.p}\\n")
    for t in range(config.epochs):
        time.sleep(float(os.environ.get("PAUSE", 0)))
        progress and progress(t + 1, config.epochs, "epochs")
    rows = [{"t": t, "loss": config.p / (3 + t), "arm": "none"} for t in range(config.epochs)]
    return Result({"curve": pd.DataFrame(rows)}, {"best": config.p / 3, "empty": None})
'''

NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   stocha:
#     experiment: stocha.toy.tiny
# ---

# %% [markdown]
# # Tiny

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
epochs: "Optional[int]" = None  # passes [1, inf)
p: float = 0.5  # a share [0, 1]
widths: list[int] = [4, 4]  # of layers [1, inf)

# %% tags=["scales"]
scales = {"smoke": {"epochs": 2}, "book": {"epochs": 3}, "full": {"epochs": 4}}

# %%
from stocha import figures
from stocha.study.session import open_run
from stocha.toy import tiny

run = open_run("50_tiny", globals())
found = run.result(tiny.run, tiny.Config(**run.parameters))
assert found.tables["curve"]["arm"].tolist() == ["none"] * epochs
found.tables["curve"]
"""

SWEEP = """\
notebook: notebooks/50_tiny.py
fixed: {scale: smoke}
grid: {p: [0.0, 0.5]}
collect: {table: curve, metrics: [best]}
"""

PLAN = """
from stocha.study.sweeps.specification import read_sweep
import sys
print(*(run.id for run in read_sweep("sweeps/tiny.yml").runs))
print(*(run.id for run in read_sweep("sweeps/tiny.yml").pages))
assert not {"torch", "pandas"} & sys.modules.keys()
"""


class Project:
    """A copy of the project with a small experiment, its page and a sweep of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        here = project_root()
        for name in ("_toc.yml", "pyproject.toml"):
            shutil.copy(here / name, root / name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(here / "src", root / "src", ignore=ignored)
        for name, text in {
            "src/stocha/toy/tiny.py": EXPERIMENT,
            "notebooks/50_tiny.py": NOTEBOOK,
            "sweeps/tiny.yml": SWEEP,
        }.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root / "src"),
            "STOCHA_RUNS": str(root / "runs"),
            "CALLS": str(root / "calls"),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from stocha.cli import main; main()", *arguments]
        return self._open(command, environment)

    def stocha(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=200)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def _open(self, command, environment):
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def plan(self) -> tuple[list[str], list[str]]:
        """Identities of the sweep's results, and of its pages."""
        out, err = self._open([sys.executable, "-c", PLAN], {}).communicate(timeout=60)
        assert not err
        results, pages = out.splitlines()
        return results.split(), pages.split()

    @property
    def calls(self) -> list[float]:
        path = self.root / "calls"
        return [float(line) for line in path.read_text().split()] if path.is_file() else []

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@t")
        done = subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.root,
            text=True,
            capture_output=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit everything; return the commit's short name."""
        if not (self.root / ".git").is_dir():
            self.git("init", "-q")
            (self.root / ".gitignore").write_text("runs/\ncalls\n__pycache__/\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a version")
        return self.git("rev-parse", "--short", "HEAD")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    return Project(root)


PROSE = {
    "notebooks/50_tiny.py": ("# # Tiny", "# # Tiny, told anew"),
    "src/stocha/figures.py": ("\nimport ", "\nimport os\nimport "),
    "src/stocha/study/runs.py": ("\nimport ", "\nimport os\nimport "),
    "src/stocha/cli.py": ("\nimport ", "\nimport os\nimport "),
    "src/stocha/toy/ensemble.py": ('"""', '"""Told anew. '),
}
NUMBERS = {
    "src/stocha/base/elementwise.py": ("0.49999994", "0.49999991"),
    "src/stocha/toy/fast/adam.py": ("0.999", "0.998"),
    "src/stocha/toy/tiny.py": ("3 + t", "4 + t"),
}


def test_prose_figures_and_machinery_keep_every_results_identity(project):
    results, pages = project.plan()
    for name, (old, new) in PROSE.items():
        project.edit(name, old, new)
    assert project.plan()[0] == results
    assert not set(project.plan()[1]) & set(pages)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_change_of_numbers_changes_it(project, name):
    before = project.plan()[0]
    project.edit(name, *NUMBERS[name])
    assert not set(project.plan()[0]) & set(before)


def test_a_parameter_changes_it(project):
    before = project.plan()[0]
    project.edit("sweeps/tiny.yml", "[0.0, 0.5]", "[0.25, 0.5]")
    after = project.plan()[0]
    assert after[0] not in before
    assert after[1] == before[1]


@pytest.mark.notebooks
def test_an_edited_page_is_made_again_from_results_that_stay_found(project):
    assert project.stocha("sweep", "run", "sweeps/tiny.yml", "--jobs", "2").returncode == 0
    assert sorted(project.calls) == [0.0, 0.5]
    for name, (old, new) in PROSE.items():
        project.edit(name, old, new)
    planned = project.stocha("sweep", "plan", "sweeps/tiny.yml")
    assert "2 done" in planned.stdout
    done = project.stocha("run", "notebooks/50_tiny.py", "-p", "p=0.5", "-p", "scale=smoke")
    assert "done in" in done.stderr
    folder = Path(done.stdout.strip())
    assert sorted(project.calls) == [0.0, 0.5]
    assert (folder / "tables" / "curve.csv").read_text().startswith("t,loss,arm\n0,0.16666667,none")
    assert json.loads((folder / "metrics.json").read_text()) == {"best": 0.5 / 3, "empty": None}
    (used,) = json.loads((folder / "provenance.json").read_text())["results"]
    assert used["id"] == project.plan()[0][1]
    again = project.stocha("sweep", "collect", "sweeps/tiny.yml")
    assert again.returncode == 0, again.stderr
    rows = (project.root / "results" / "tiny" / "points.csv").read_text().splitlines()
    assert rows[0] == "run_id,p,best,t,loss,arm"
    assert len(rows) == 5


@pytest.mark.notebooks
def test_fresh_computes_anew_and_the_same_result_lies_there(project):
    given = ("run", "notebooks/50_tiny.py")
    assert project.stocha(*given).returncode == 0
    assert project.stocha(*given).returncode == 0
    assert project.calls == [0.5]
    assert project.stocha(*given, "--fresh").returncode == 0
    assert project.calls == [0.5, 0.5]


@pytest.mark.notebooks
def test_two_pages_compute_one_result_once(project):
    shutil.copy(project.root / "notebooks/50_tiny.py", project.root / "notebooks/51_tiny.py")
    both = [project.start("run", f"notebooks/{stem}_tiny.py", PAUSE="1") for stem in (50, 51)]
    said = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert project.calls == [0.5]


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("src/stocha/toy/tiny.py", "3 + t", "4 + t"),
        ("src/stocha/toy/fast/adam.py", "0.999", "0.998"),
    ],
)
def test_code_that_is_edited_while_it_runs_stores_nothing(project, wait_for, name, old, new):
    process = project.start("run", "notebooks/50_tiny.py", PAUSE="1.5")
    wait_for(lambda: project.calls)
    project.edit(name, old, new)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{name}: edited while this ran" in err
    assert not out
    assert not list((project.root / "runs").glob("results/*/*/DONE"))
    assert project.stocha("run", "notebooks/50_tiny.py").returncode == 0
    assert len(project.calls) == 2


@pytest.mark.notebooks
def test_a_point_that_is_reached_after_an_edit_fails_before_it_computes(project, wait_for):
    process = project.start("sweep", "run", "sweeps/tiny.yml", PAUSE="1")
    wait_for(lambda: project.calls)
    time.sleep(0.2)
    project.edit("src/stocha/toy/tiny.py", "3 + t", "4 + t")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "src/stocha/toy/tiny.py: edited since this was planned" in err
    assert project.calls == [0.0]


@pytest.fixture
def recorded(project):
    """The project with a sweep that was collected and committed, and an empty store."""
    assert project.stocha("sweep", "run", "sweeps/tiny.yml", "--jobs", "2").returncode == 0
    assert project.stocha("sweep", "collect", "sweeps/tiny.yml").returncode == 0
    shutil.rmtree(project.root / "runs")
    project.commit()
    return project


@pytest.mark.notebooks
def test_a_recorded_point_is_found_without_the_store(recorded):
    for name, (old, new) in PROSE.items():
        recorded.edit(name, old, new)
    said = recorded.stocha("sweep", "plan", "sweeps/tiny.yml")
    assert "0 done, 2 recorded, 0 running, 0 failed, 0 waiting" in said.stdout
    assert recorded.stocha("recorded").stdout == "tiny: current\n"
    calls = recorded.calls
    recorded.edit("sweeps/tiny.yml", "[0.0, 0.5]", "[0.0, 0.5, 1.0]")
    table = recorded.root / "results" / "tiny" / "points.csv"
    before = table.read_text().splitlines()
    assert recorded.stocha("sweep", "run", "sweeps/tiny.yml").returncode == 0
    assert recorded.calls == [*calls, 1.0]
    assert recorded.stocha("sweep", "collect", "sweeps/tiny.yml").returncode == 0
    after = table.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2
    shutil.rmtree(recorded.root / "runs")
    assert "3 recorded" in recorded.stocha("sweep", "status", "sweeps/tiny.yml").stdout


@pytest.mark.notebooks
def test_what_orphaned_a_record_is_named(recorded):
    recorded.edit("src/stocha/toy/tiny.py", "(3 + t)", "(t + 3)")
    culprit = recorded.commit()
    said = recorded.stocha("sweep", "plan", "sweeps/tiny.yml").stdout
    assert "0 recorded, 0 running, 0 failed, 2 waiting" in said
    assert f"toy/tiny.py ({culprit}) changed" in said


@pytest.mark.notebooks
def test_a_damaged_record_is_named(recorded):
    table = recorded.root / "results" / "tiny" / "points.csv"
    table.write_text(table.read_text().replace("0.1", "0.2", 1))
    said = recorded.stocha("sweep", "collect", "sweeps/tiny.yml")
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert f"{table}: damaged or edited: it has other bytes than listed" in line


@pytest.mark.notebooks
def test_a_recorded_page_takes_its_result_from_the_record(project):
    page = "notebooks/50_tiny.py"
    assert project.stocha("run", page, "-p", "scale=full").returncode == 0
    assert project.stocha("record", page).returncode == 0
    shutil.rmtree(project.root / "runs")
    project.edit(page, "# # Tiny", "# # Tiny, told anew")
    assert project.stocha("recorded").stdout == "50_tiny: current\n"
    done = project.stocha("run", page, "-p", "scale=full")
    assert done.returncode == 0, done.stderr
    assert project.calls == [0.5]
    table = Path(done.stdout.strip(), "tables", "curve.csv")
    recorded = project.root / "results" / "50_tiny" / "curve.csv"
    assert table.read_bytes() == recorded.read_bytes()


@dataclass(frozen=True)
class _Nothing:
    """A configuration without a field."""


def _at_once(config, progress=None):
    return Result({}, {"best": 1.0})


def test_the_time_of_a_result_is_not_that_of_the_wait_for_another_process(store):
    entry = obtain(_at_once, _Nothing())
    told = []
    with locked(entry.lock):
        waiter = threading.Thread(
            target=obtain, args=(_at_once, _Nothing(), lambda *state: told.append(state), True)
        )
        waiter.start()
        time.sleep(1.0)
    waiter.join()
    assert told[0][2] == "waiting for another process that computes this"
    assert entry.provenance()["seconds"] < 0.5
