"""Real notebooks through the installed `stocha run`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

from stocha.base.paths import project_root
from stocha.study.notebooks import read_notebook
from stocha.study.runs import Entry

pytestmark = pytest.mark.notebooks

SLOW = """
# %%
import time

for t in range(epochs):
    time.sleep(0.1)
    run.progress(t + 1, epochs)
run.table("curve", pd.DataFrame({"epoch": range(epochs)}))
"""


def run_of(path: Path, **given) -> Entry:
    notebook = read_notebook(path)
    return notebook.run(notebook.declaration.resolve(given))


def test_a_run_leaves_what_the_design_says(stocha, make_notebook):
    path = make_notebook()
    done = stocha("run", path, "-p", "scale=smoke", "-p", "p=0.25", "-p", "widths=[8]")
    assert done.returncode == 0, done.stderr
    run = run_of(path, scale="smoke", p=0.25, widths=[8])
    assert done.stdout.strip() == str(run.folder)
    assert run.is_done()
    assert json.loads((run.folder / "parameters.json").read_text()) == {
        "scale": "smoke",
        "epochs": 2,
        "p": 0.25,
        "widths": [8],
        "label": None,
    }
    assert run.table("curve").read_text() == "epoch,loss\n0,0.25\n1,0.125\n"
    assert json.loads((run.folder / "metrics.json").read_text()) == {"final": 0.125}
    provenance = run.provenance()
    assert provenance["run_id"] == run.id
    assert provenance["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert provenance["seconds"] > 0
    executed = nbformat.read(run.notebook, as_version=4)
    nbformat.validate(executed)
    assert executed.metadata["stocha"]["reduced"] is True
    assert "epochs 2 instead of 4" in executed.metadata["stocha"]["badge"]


def test_a_finished_run_is_skipped_and_fresh_gives_the_same_notebook(stocha, make_notebook):
    path = make_notebook()
    assert stocha("run", path).returncode == 0
    run = run_of(path)
    first, made = run.notebook.read_bytes(), run.notebook.stat().st_mtime_ns
    again = stocha("run", path, "-p", "epochs=3")
    assert "nothing recomputed" in again.stderr
    assert run.notebook.stat().st_mtime_ns == made
    assert "done in" in stocha("run", path, "--fresh").stderr
    assert run.notebook.stat().st_mtime_ns != made
    assert run.notebook.read_bytes() == first


@pytest.mark.parametrize("damage", ["cut", "gone", "marker"])
def test_a_damaged_run_is_made_again(stocha, make_notebook, damage):
    path = make_notebook()
    stocha("run", path)
    run = run_of(path)
    if damage == "cut":
        run.table("curve").write_text("epoch,lo")
    elif damage == "gone":
        run.notebook.unlink()
    else:
        (run.folder / "DONE").write_text((run.folder / "DONE").read_text()[:20])
    assert not run.is_done()
    assert stocha("run", path).returncode == 0
    assert run.is_done()


def test_a_failing_cell_is_named_and_its_notebook_kept_aside(stocha, make_notebook):
    path = make_notebook("\n# %%\nprint('before')\nx = 0\n1 / x\n")
    done = stocha("run", path)
    assert done.returncode == 1
    line = path.read_text().splitlines().index("1 / x") + 1
    assert f"50_small.py:{line}: 1 / x" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    run = run_of(path)
    assert not run.folder.exists()
    kept = nbformat.read(run.failed / "50_small.ipynb", as_version=4)
    assert "before" in str(kept.cells)


CHECKED = """
# %% tags=["checks"]
if epochs > 2:
    raise ValueError(f"epochs={epochs}: with p={p} at most 2\\n fit")
if p > 0.9:
    nonsense
# %%
print("worked")
"""


def test_parameters_that_do_not_fit_together_are_one_line(stocha, make_notebook):
    path = make_notebook(CHECKED)
    done = stocha("run", path, "-p", "epochs=3")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("refused: epochs=3: with p=0.5 at most 2 fit")
    assert not run_of(path, epochs=3).folder.exists()
    assert stocha("run", path, "-p", "epochs=2").returncode == 0


@pytest.mark.parametrize(
    ("stem", "given", "said"),
    [
        ("21_lm_run", ["heads=3"], "heads=3: width 32 must divide into heads of even width"),
        ("21_lm_run", ["warmup=50"], "warmup=50"),
        ("21_lm_run", ["alpha=0.99"], "alpha=0.99: none of 40 steps is left on one side"),
        ("21_lm_run", ["alpha=0.01"], "alpha=0.01: none of 40 steps is left on one side"),
        ("21_lm_run", ["alpha=1"], "alpha=1"),
        ("21_lm_run", ["p=1.5"], "p=1.5"),
        ("21_lm_run", ["context=400000", "tokens=90000000"], "context=400000: longer than the"),
        ("21_lm_run", ["windows=100000"], "windows=100000: the split has"),
        ("21_lm_run", ["questions=100000"], "questions=100000: the text has only"),
        ("27_trained_model", ["new_tokens=200", f"prompt={'x = 1; ' * 50}"], "new_tokens=200: "),
    ],
)
def test_the_language_models_notebooks_refuse_before_they_train(stocha, stem, given, said):
    path = project_root() / "notebooks" / f"{stem}.py"
    values = [part for value in ["scale=smoke", *given] for part in ("-p", value)]
    done = stocha("run", path, *values)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_fault_in_the_checks_is_a_failure(stocha, make_notebook):
    done = stocha("run", make_notebook(CHECKED), "-p", "epochs=2", "-p", "p=0.95")
    assert done.returncode == 1
    assert "NameError" in done.stderr


def test_a_refusal_beside_a_failure_is_a_failure(stocha, make_notebook):
    refused, bad = make_notebook(CHECKED), make_notebook("\n# %%\nnonsense\n", name="51_bad")
    assert stocha("run", refused, bad, "-p", "epochs=3").returncode == 1


def test_leaving_a_notebook_early_is_a_failure(stocha, make_notebook):
    done = stocha("run", make_notebook("\n# %%\nraise SystemExit(0)\n"))
    assert done.returncode == 1
    assert "SystemExit" in done.stderr


def test_a_failing_notebook_does_not_stop_the_others(stocha, make_notebook):
    good = make_notebook(name="51_good")
    bad = make_notebook("\n# %%\nnonsense\n", name="50_bad")
    done = stocha("run", bad, good, "--jobs", 2)
    assert done.returncode == 1
    assert run_of(good).is_done()
    assert done.stdout.strip() == str(run_of(good).folder)


def test_two_processes_make_one_run_once(make_notebook, stocha, store):
    path = make_notebook(SLOW)
    command = [sys.executable, "-m", "stocha.cli"]
    command = [str(Path(sys.executable).with_name("stocha")), "run", str(path), "-p", "epochs=20"]
    both = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
        for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=120)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert sum("done in" in text for text in said) == 1
    assert sum("nothing recomputed" in text for text in said) == 1


@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        ("command", signal.SIGINT, 130),
        ("command", signal.SIGTERM, -signal.SIGTERM),
        ("command", signal.SIGKILL, -signal.SIGKILL),
        ("worker", signal.SIGKILL, 1),
        ("kernel", signal.SIGKILL, 1),
    ],
)
def test_a_killed_run_never_looks_finished_and_the_next_call_finishes_it(
    make_notebook, stocha, store, wait_for, descendants, ended, victim, number, code
):
    path = make_notebook(SLOW)
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("stocha")), "run", str(path), "-p", "epochs=300"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
        # tests started in the background of a shell inherit that SIGINT is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    run = run_of(path, epochs=300)
    wait_for(lambda: (run.partial / "progress.json").is_file())
    family = {"command": psutil.Process(process.pid)}
    for name, words in {"worker": "spawn_main", "kernel": "ipykernel_launcher"}.items():
        (family[name],) = descendants(process.pid, words)
    family[victim].send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    wait_for(lambda: all(map(ended, family.values())))
    assert not run.folder.exists()
    finished = stocha("run", path, "-p", "epochs=3")
    assert finished.returncode == 0, finished.stderr
    assert run_of(path, epochs=3).is_done()


def test_a_full_disk_is_one_line_and_leaves_no_run(make_notebook, stocha, tmp_path):
    path = make_notebook("\n# %%\nrun.table('big', pd.DataFrame({'x': range(400_000)}))\n")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        done = stocha("run", path, STOCHA_RUNS=str(small))
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert not list(small.glob("50_small/*/DONE"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_plain_jupytext_and_papermill_do_the_same(tmp_path, store):
    source = project_root() / "notebooks" / "11_toy_classification.py"
    out = tmp_path / "out.ipynb"
    jupytext, papermill = (
        Path(sys.executable).with_name(name) for name in ("jupytext", "papermill")
    )
    done = subprocess.run(
        f"{jupytext} --to ipynb -o - {source} | {papermill} - {out} -p epochs 5",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ.copy(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unknown parameter" not in done.stderr
    nbformat.validate(nbformat.read(out, as_version=4))
    epochs = pd.read_csv(store / "by-hand" / source.stem / "tables" / "epochs.csv")
    assert epochs["epoch"].max() == 5
