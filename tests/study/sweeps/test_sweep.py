"""Real sweeps through the installed command, killed and damaged in every way a machine offers."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stocha.base.paths import project_root
from stocha.study.sweeps.specification import read_sweep
from stocha.study.sweeps.state import read_state

pytestmark = pytest.mark.notebooks

STOCHA = str(Path(sys.executable).with_name("stocha"))

BODY = """
# %%
import os
import time
from pathlib import Path

time.sleep(pause)
with open(Path(os.environ["TRACE"]), "a") as trace:
    trace.write(f"{p}\\n")
assert p != 0.75, "this point fails"
run.table("final", pd.DataFrame({"step": [1, 2], "loss": [p, p / 2]}))
run.metric(best=p / 2)
if p > 0.5:
    run.table("late", pd.DataFrame({"after": [0, 1], "loss": [p, p]}))
"""


@pytest.fixture
def sweep(make_notebook, tmp_path, store, monkeypatch):
    """Write a sweep over p of a small notebook that records each execution; return its path."""
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))

    def make(values, pause: float = 0.0) -> Path:
        notebook = make_notebook(BODY, name="50_point")
        text = notebook.read_text()
        added = "pause: float = 0.0  # seconds [0, inf)\np: float"
        notebook.write_text(text.replace("p: float", added, 1))
        path = tmp_path / "sweep.yml"
        path.write_text(
            f"notebook: {notebook}\nfixed: {{pause: {pause}}}\ngrid: {{p: {list(values)}}}\n"
            "collect: {table: final, metrics: [best]}\n"
        )
        return path

    return make


def executed(tmp_path: Path) -> list[float]:
    """Which points have got as far as their result, in order."""
    trace = tmp_path / "trace"
    return [float(line) for line in trace.read_text().split()] if trace.exists() else []


def start(path: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [STOCHA, "sweep", "run", str(path), "--outside", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ.copy(),
    )


def counts(path: Path) -> dict[str, int]:
    state = read_state(read_sweep(path, outside=True))
    return {name: state.count(name) for name in ("done", "running", "failed", "waiting")}


def test_plan_run_status_collect(stocha, sweep, tmp_path):
    path = sweep([0.0, 0.5, 1.0])
    planned = stocha("sweep", "plan", path, "--outside")
    assert planned.returncode == 0, planned.stderr
    assert "3 points" in planned.stdout
    assert "time left: unknown" in planned.stdout
    done = stocha("sweep", "run", path, "--outside", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stderr.splitlines() if "done in" in line]) == 3
    assert (
        "3 done, 0 recorded, 0 running, 0 failed, 0 waiting"
        in stocha("sweep", "status", path, "--outside").stdout
    )
    output = tmp_path / "table.csv"
    assert stocha("sweep", "collect", path, "--outside", "--output", output).returncode == 0
    table = pd.read_csv(output)
    assert list(table.columns) == ["run_id", "p", "best", "step", "loss"]
    assert table.groupby("p")["loss"].max().tolist() == [0.0, 0.5, 1.0]
    assert sorted(table["run_id"].unique()) == sorted(
        r.id for r in read_sweep(path, outside=True).runs
    )
    assert stocha("sweep", "run", path, "--outside").returncode == 0
    assert sorted(executed(tmp_path)) == [0.0, 0.5, 1.0]


def test_a_thousand_points_are_planned_shown_and_collected(stocha, sweep, tmp_path):
    path = sweep([point / 2000 for point in range(1000)])
    assert stocha("run", tmp_path / "50_point.py", "-p", "p=0").returncode == 0
    first, *others = read_sweep(path, outside=True).runs
    for other in others:
        shutil.copytree(first.folder, other.folder)
    output = tmp_path / "table.csv"
    for verb, *more in (("plan",), ("status",), ("collect", "--output", output)):
        done = stocha("sweep", verb, path, "--outside", *more)
        assert done.returncode == 0, done.stderr
    assert pd.read_csv(output)["run_id"].nunique() == 1000


def test_a_table_is_not_replaced_by_one_of_fewer_points(stocha, sweep, tmp_path):
    path, output = sweep([0.0, 0.5]), tmp_path / "table.csv"
    assert stocha("sweep", "run", path, "--outside", "--jobs", 2).returncode == 0
    assert stocha("sweep", "collect", path, "--outside", "--output", output).returncode == 0
    before = output.read_bytes()
    shutil.rmtree(read_sweep(path, outside=True).runs[0].folder)
    refused = stocha("sweep", "collect", path, "--outside", "--output", output)
    assert refused.returncode == 2
    expected = f"stocha: {output}: holds 2 points, more than the 1 done here: "
    assert refused.stderr == expected + "give another --output, or delete it first\n"
    assert output.read_bytes() == before
    output.unlink()
    assert stocha("sweep", "collect", path, "--outside", "--output", output).returncode == 0


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_what_is_recorded_is_found_or_what_changed_is_said(stocha, verb):
    said = stocha("sweep", verb, project_root() / "sweeps" / "lm_lr.yml")
    assert said.returncode == 0, said.stderr
    table = project_root() / "results" / "lm_lr" / "points.csv"
    found = "0 done, 20 recorded, 0 running, 0 failed, 0 waiting" in said.stdout
    assert found != (f"recorded: 20 points, {table}, not found again: since then" in said.stdout)


def test_a_point_run_by_hand_counts(stocha, sweep, tmp_path):
    path = sweep([0.0, 0.5])
    assert stocha("run", tmp_path / "50_point.py", "-p", "p=0.5").returncode == 0
    assert counts(path)["done"] == 1
    assert stocha("sweep", "run", path, "--outside").returncode == 0
    assert sorted(executed(tmp_path)) == [0.0, 0.5]


def test_a_failed_point_stops_no_other_and_is_retried_only_on_request(stocha, sweep, tmp_path):
    path = sweep([0.75, 0.5])
    done = stocha("sweep", "run", path, "--outside")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "this point fails" in done.stderr
    (failed,) = [run for run in read_sweep(path, outside=True).runs if run.failed.is_dir()]
    assert (failed.failed / "50_point.ipynb").is_file()
    assert (failed.failed / "kernel.log").is_file()
    assert stocha("sweep", "run", path, "--outside").returncode == 1
    assert executed(tmp_path) == [0.75, 0.5]
    assert stocha("sweep", "run", path, "--outside", "--retry").returncode == 1
    assert executed(tmp_path) == [0.75, 0.5, 0.75]


def test_killing_a_sweep_loses_nothing_finished_and_resuming_recomputes_nothing(
    stocha, sweep, tmp_path, wait_for, descendants, ended
):
    path = sweep([0.0, 0.25, 0.5, 1.0], pause=0.5)
    process = start(path)
    wait_for(lambda: counts(path)["done"] >= 1 and counts(path)["running"] == 1)
    family = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: all(map(ended, family)))
    before = counts(path)
    assert before["running"] == 0
    finished = executed(tmp_path)
    assert stocha("sweep", "run", path, "--outside", "--jobs", 2).returncode == 0
    assert counts(path)["done"] == 4
    # At most the one point that was under way has got to its result twice.
    assert len(executed(tmp_path)) <= len(finished) + 4 - before["done"]


@pytest.mark.parametrize("victim", ["worker", "kernel"])
def test_killing_a_worker_or_a_kernel_fails_one_point_and_the_sweep_goes_on(
    stocha, sweep, tmp_path, wait_for, descendants, victim
):
    path = sweep([0.0, 0.25, 0.5], pause=1.0)
    process = start(path)
    wait_for(lambda: counts(path)["running"] == 1)
    words = {"worker": "spawn_main", "kernel": "ipykernel_launcher"}[victim]
    wait_for(lambda: descendants(process.pid, words))[0].send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert counts(path) == {"done": 2, "running": 0, "failed": 1, "waiting": 0}
    assert stocha("sweep", "run", path, "--outside", "--retry").returncode == 0
    assert counts(path)["done"] == 3


def test_two_sweeps_at_once_share_the_points(sweep, tmp_path):
    path = sweep([0.0, 0.125, 0.25, 0.5], pause=0.3)
    both = [start(path), start(path)]
    output = [process.communicate(timeout=180)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert sorted(executed(tmp_path)) == [0.0, 0.125, 0.25, 0.5]
    assert counts(path)["done"] == 4


def test_truncating_any_file_of_a_run_makes_that_point_alone_undone(stocha, sweep, tmp_path):
    path = sweep([0.0, 0.5])
    assert stocha("sweep", "run", path, "--outside", "--jobs", 2).returncode == 0
    run = read_sweep(path, outside=True).runs[0]
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    for file in sorted(file for file in copy.rglob("*") if file.is_file()):
        if file.stat().st_size == 0:
            continue
        inside = run.folder / file.relative_to(copy)
        inside.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert counts(path) == {"done": 1, "running": 0, "failed": 0, "waiting": 1}, file.name
        inside.write_bytes(file.read_bytes())
    assert counts(path)["done"] == 2


def test_a_mistake_runs_nothing(stocha, sweep, store):
    path = sweep([0.5])
    path.write_text(path.read_text().replace("[0.5]", "[0.5, 1.5]"))
    for command in ("plan", "run", "status", "collect"):
        done = stocha("sweep", command, path, "--outside")
        assert done.returncode == 2
        assert "grid.p.1: p=1.5: allowed: a float in [0, 1]" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not store.exists()


def test_collecting_nothing_is_a_mistake(stocha, sweep):
    done = stocha("sweep", "collect", sweep([0.5]), "--outside")
    assert done.returncode == 2
    assert "no point is done" in done.stderr


def test_further_tables_are_collected_beside_and_a_run_may_lack_one(stocha, sweep, tmp_path):
    path = sweep([0.5, 1.0])
    path.write_text(path.read_text().replace("[best]", "[best], tables: [late]"))
    assert stocha("sweep", "run", path, "--outside", "--jobs", 2).returncode == 0
    output = tmp_path / "out" / "table.csv"
    done = stocha("sweep", "collect", path, "--outside", "--output", output)
    assert done.returncode == 0, done.stderr
    late = pd.read_csv(output.with_name("late.csv"))
    assert late["p"].tolist() == [1.0, 1.0]
    assert late["after"].tolist() == [0, 1]
    path.write_text(path.read_text().replace("[late]", "[never]"))
    done = stocha("sweep", "collect", path, "--outside", "--output", output)
    assert done.returncode == 2
    assert "no run has a table 'never'" in done.stderr
