"""What a machine and its user can do to the command: one line and exit code 2, or it recovers."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stocha.base.files import aside, locked
from stocha.base.paths import project_root
from stocha.study.notebooks import read_notebook
from stocha.study.runs import Entry, clear_leftovers

STOCHA = [sys.executable, "-c", "from stocha.cli import main; main()"]


def refused(done, *said):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("stocha")
    for words in said:
        assert words in line


@pytest.fixture
def sweep(make_notebook, tmp_path):
    path = tmp_path / "sweep.yml"
    path.write_text(
        f"notebook: {make_notebook()}\nfixed: {{scale: smoke}}\ngrid: {{p: [0, 1]}}\n"
        "collect: {table: curve}\n"
    )
    return path


def finish(entry, **files):
    folder = entry.start()
    (folder / "tables").mkdir()
    for name, text in ({"curve": "epoch,loss\n0,1\n"} | files).items():
        (folder / "tables" / f"{name}.csv").write_text(text)
    (folder / "metrics.json").write_text('{"final": 1.0, "epochs": 3}')
    (folder / "provenance.json").write_text('{"seconds": 1, "cpu": "c", "threads": 1}')
    entry.finish()


def test_an_unknown_command_is_named(stocha):
    refused(stocha("frobnicate"), "stocha: No such command 'frobnicate'")


def test_a_parameter_given_twice_is_refused(stocha, make_notebook):
    refused(stocha("run", make_notebook(), "-p", "p=.1", "-p", "p=.9"), "-p p: given twice")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: 5\n",
            "stocha=5: allowed: a map",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: {inputs: 5}\n",
            "inputs=5: allowed: a list of paths in the project",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: {inputs: [/etc/passwd]}\n",
            "allowed: a list of paths in the project",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: {experiment: stocha.none}\n",
            "experiment='stocha.none': allowed: a module of the library",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: {alone: maybe}\n",
            "alone='maybe': allowed: true, false",
        ),
        (
            "#     name: python3\n",
            '#     name: python3\n#   stocha: {inputs: ["../*.csv"]}\n',
            "allowed: a list of paths in the project",
        ),
        (
            "#     name: python3\n",
            '#     name: python3\n#   stocha: {inputs: ["a**"]}\n',
            "Invalid pattern",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: {experiment: stocha..toy}\n",
            "experiment='stocha..toy': allowed: a module of the library",
        ),
        (
            "#     name: python3\n",
            "#     name: python3\n#   stocha: [\n",
            "header: while parsing a flow node",
        ),
        ("loss = [", "loss = = [", "50_small.py:29: invalid syntax"),
        ("p: float = 0.5", "p: float = 0.1\np: float = 0.5", "p: stands here a second time"),
        ("loss = [", "return\nloss = [", "50_small.py:29: 'return' outside function"),
        ("loss = [", f"loss = [{'-' * 20_000}1, ", "nested too deep to be read"),
        ('scales = {"smoke"', 'scales = [] or {"smoke"', "scales cell: must read"),
        ('scales = {"smoke"', 'scales = ["smoke"]  # {', "scales cell: must read"),
    ],
)
def test_a_mistake_in_a_notebook_is_found_before_anything_runs(
    stocha, make_notebook, old, new, said
):
    path, good = make_notebook(), make_notebook(name="51_good")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(stocha("run", good, path), "50_small.py", said)


@pytest.mark.parametrize(
    "output", ["", "folder", "/dev/full", "/proc/none/x.csv", "table.txt", "folder.csv"]
)
def test_a_place_that_cannot_take_a_table_is_refused(stocha, sweep, store, tmp_path, output):
    notebook = read_notebook(tmp_path / "50_small.py")
    finish(notebook.run(notebook.declaration.resolve({"scale": "smoke", "p": 0.0})))
    for name in ("folder", "folder.csv"):
        (tmp_path / name).mkdir()
    place = output if output.startswith("/") or not output else tmp_path / output
    refused(stocha("sweep", "collect", sweep, "--outside", "--output", place))
    assert Path("/dev/full").is_char_device()


def test_tables_of_another_are_not_replaced(stocha, sweep, store, tmp_path):
    notebook = read_notebook(tmp_path / "50_small.py")
    for p in (0.0, 1.0):
        finish(notebook.run(notebook.declaration.resolve({"scale": "smoke", "p": p})))
    table = tmp_path / "out" / "x.csv"
    collect = ("sweep", "collect", "--outside", "--output", table)
    assert stocha(*collect, sweep).returncode == 0
    before = table.read_bytes()
    assert stocha(*collect, sweep).returncode == 0
    other = sweep.with_name("sweep.yaml")
    other.write_text(sweep.read_text())
    refused(stocha(*collect, other), "holds the tables of", "give another --output")
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("collect", "files", "said"),
    [
        ("{table: curve, metrics: [epochs]}", {}, "'epochs' is a parameter or a metric already"),
        ("{table: two, metrics: [final]}", {"two": "final\n3\n"}, "'final' is a parameter or a"),
        ("{table: two}", {"two": "p\n0.5\n"}, "'p' is a parameter or a metric already"),
        ("{table: curve, tables: [sweep]}", {}, "no run has a table 'sweep'"),
        ("{table: curve, tables: [points]}", {"points": "a\n1\n"}, "points: is the main table's"),
    ],
)
def test_what_is_collected_has_a_name_of_its_own(
    stocha, sweep, store, tmp_path, collect, files, said
):
    sweep.write_text(
        f"notebook: {tmp_path}/50_small.py\nfixed: {{scale: smoke}}\n"
        f"grid: {{p: [0, 1], epochs: [1, 2]}}\ncollect: {collect}\n"
    )
    notebook = read_notebook(tmp_path / "50_small.py")
    for p in (0.0, 1.0):
        for epochs in (1, 2):
            given = {"scale": "smoke", "p": p, "epochs": epochs}
            finish(notebook.run(notebook.declaration.resolve(given)), **files)
    output = tmp_path / "out" / "points.csv"
    refused(stocha("sweep", "collect", sweep, "--outside", "--output", output), said)
    assert not output.parent.exists()


def test_a_store_that_is_no_place_is_told(stocha, make_notebook):
    refused(stocha("run", make_notebook(), STOCHA_RUNS="~nouser/runs"), "STOCHA_RUNS=~nouser/runs")


def test_a_working_directory_that_is_gone_is_told(tmp_path):
    script = f'cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$0" -c "$1" notebooks'
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, STOCHA[2]], capture_output=True, text=True
    )
    refused(done, "the working directory is gone")


@pytest.mark.parametrize("text", [None, b"\xff\xfe", b"# no markers\n"])
def test_a_readme_that_is_none_is_told(tmp_path, text):
    for name in ("_toc.yml", "pyproject.toml"):
        (tmp_path / name).touch()
    if text is not None:
        (tmp_path / "README.md").write_bytes(text)
    done = subprocess.run([*STOCHA, "readme"], capture_output=True, text=True, cwd=tmp_path)
    refused(done, "README.md")


def test_what_stepped_aside_for_a_killed_replacement_comes_back(store):
    entry = Entry("50_small", "abc")
    finish(entry)
    os.rename(entry.folder, aside(entry.folder))
    entry.start()
    assert entry.is_done()


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_stay(store):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, kept = Entry("50_small", "dead"), Entry("50_small", "alive")
    finish(kept)
    begun = left.start() / ".begun"
    for pid in (dead.pid, os.getpid()):
        path = store / "50_small" / f".x.json.{pid}.partial"
        path.touch()
        os.utime(path, (0, 0))
    kept.start()
    begun.write_text(begun.read_text().replace(str(os.getpid()), str(dead.pid)))
    with locked(left.lock):
        clear_leftovers()
        assert left.partial.is_dir()
    clear_leftovers()
    assert not left.partial.exists()
    assert kept.partial.is_dir()
    assert kept.is_done()
    found = sorted(path.name for path in (store / "50_small").glob(".x.json.*"))
    assert found == [f".x.json.{os.getpid()}.partial"]


@pytest.mark.notebooks
def test_braces_and_a_long_folder_for_temporary_files_do_no_harm(make_notebook, tmp_path):
    store, long = tmp_path / "{x} runs", tmp_path / ("t" * 120)
    long.mkdir()
    folder = tmp_path / "{epochs}"
    folder.mkdir()
    path = make_notebook().rename(folder / "50_small.py")
    environment = os.environ | {"STOCHA_RUNS": str(store), "TMPDIR": str(long)}
    done = subprocess.run(
        [*STOCHA, "run", str(path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=project_root(),
    )
    assert done.returncode == 0, done.stderr
    assert not list(Path(tempfile.gettempdir()).glob(f"stocha-sockets-{os.getpid()}-*"))


@pytest.mark.notebooks
def test_the_cell_that_leaves_a_notebook_is_named(stocha, make_notebook):
    path = make_notebook("\n# %%\nx = 1\ny = 2\nraise SystemExit(3)\n")
    line = path.read_text().splitlines().index("x = 1") + 1
    assert f"50_small.py:{line}: the cell that begins here" in stocha("run", path).stderr


@pytest.mark.notebooks
def test_a_folder_that_is_removed_while_it_is_filled_is_a_failure(stocha, make_notebook):
    body = (
        "\n# %%\nimport shutil\n\nrun.table('early', pd.DataFrame({'a': [1]}))\n"
        "shutil.rmtree(run.folder)\nrun.table('late', pd.DataFrame({'a': [1]}))\n"
    )
    done = stocha("run", make_notebook(body))
    assert done.returncode == 1
    assert "50_small" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("stem", "given", "said"),
    [
        ("21_lm_run", "kv_heads=3", "21_lm_run: kv_heads=3: must divide the number of query"),
        ("14_toy_run", "device=tpu0", "14_toy_run: device='tpu0': allowed: a torch device"),
        ("14_toy_run", f"seed={10**32}", "seed: allowed: an int of at most 64 bits"),
        ("14_toy_run", f"seed={2**32}", "seed=4294967296: allowed: an int in [0, 4294967295]"),
        ("14_toy_run", f"epochs={10**30}", "epochs: allowed: an int of at most 64 bits"),
    ],
)
def test_what_an_experiment_does_not_take_is_refused_before_a_kernel_starts(
    stocha, store, stem, given, said
):
    path = project_root() / "notebooks" / f"{stem}.py"
    refused(stocha("run", path, "-p", "scale=smoke", "-p", given), said)
    assert not store.exists()


def test_a_sweep_with_such_a_point_does_not_start(stocha, store, tmp_path):
    path = tmp_path / "heads.yml"
    path.write_text(
        "notebook: notebooks/21_lm_run.py\nfixed: {scale: smoke}\ngrid: {kv_heads: [1, 3]}\n"
    )
    refused(stocha("sweep", "run", path), "stocha: 21_lm_run: kv_heads=3: must divide")
    assert not store.exists()


def test_a_page_of_one_point_has_nothing_to_draw_over(stocha, tmp_path):
    path = tmp_path / "one.yml"
    path.write_text("notebook: notebooks/14_toy_run.py\npage: {x: width}\n")
    refused(stocha("sweep", "plan", path), "page.x: 'width': allowed: nothing is swept")


@pytest.mark.parametrize("output", ["/dev/null", "/proc/none"])
def test_a_place_that_cannot_take_a_book_is_refused_before_anything_runs(stocha, store, output):
    refused(stocha("book", "--scale", "smoke", "--output", output), f"cannot write to {output}")
    assert not store.exists()
