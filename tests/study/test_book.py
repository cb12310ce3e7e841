import json
import subprocess
import sys

import psutil
import pytest

from stocha.base.errors import UserError
from stocha.base.paths import project_root, results_root
from stocha.base.recorded import write_provenance
from stocha.study.book import _build, build_book, publish, sweep_pages
from stocha.study.execution_page import execution_page
from stocha.study.runs import Entry


@pytest.fixture
def finished(store):
    """A finished run made by hand: a notebook that links to its table."""

    def make(stem: str, loss: float = 0.5) -> Entry:
        run = Entry(stem, "0123456789ab")
        folder = run.start()
        (folder / "tables").mkdir()
        (folder / "tables" / "curve.csv").write_text(f"loss\n{loss}\n")
        (folder / f"{stem}.ipynb").write_text(
            '{"cells": ["# Own", "[curve.csv](tables/curve.csv)"]}'
        )
        (folder / "parameters.json").write_text('{"scale": "smoke"}')
        record = {
            "seconds": 1.5,
            "threads": 1,
            "cpu": "a processor",
            "cores": 2,
            "system": "a system",
            "started": "2026-01-01T00:00:00+00:00",
            "commit": None,
            "versions": {"python": "3.11"},
            "hashes": {"source": "0" * 64},
        }
        (folder / "provenance.json").write_text(json.dumps(record))
        run.finish()
        return run

    return make


def test_publishing_links_tables_beside_the_page_and_removes_what_is_gone(finished, tmp_path):
    folder = tmp_path / "executed"
    publish({"11_a": finished("11_a"), "12_b": finished("12_b")}, folder, {})
    assert "](11_a/tables/curve.csv)" in (folder / "11_a.ipynb").read_text()
    assert (folder / "11_a" / "tables" / "curve.csv").read_text() == "loss\n0.5\n"
    page = (folder / "execution.md").read_text()
    assert "[12_b](12_b.ipynb)" in page
    assert "a processor" in page
    publish({"12_b": finished("12_b")}, folder, {})
    assert not (folder / "11_a.ipynb").exists()
    assert not (folder / "11_a" / "tables" / "curve.csv").exists()


def test_the_execution_page_says_what_made_the_recorded_tables(finished, tmp_path):
    versions = {"python": "3.11", "torch": "2.13"}
    same = {"seconds": 4200.0, "dirty": False, "versions": versions}
    alone = {"notebook": "notebooks/31_x.py", "threads": 2, "cpu": "one", "commit": "a" * 40}
    sweep = {"sweep": "sweeps/y.yml", "finished": 3, "points": 4, "threads": [1, 2]}
    several = {"processors": ["one", "two"], "commits": ["b" * 40, "c" * 40]}
    for name, record in {"31_x": alone, "y": sweep | several}.items():
        (tmp_path / "results" / name).mkdir(parents=True)
        write_provenance(tmp_path / "results" / name, same | record | {"files": {}})
    page = execution_page({"11_a": finished("11_a")}, tmp_path / "results")
    rows = [line for line in page.splitlines() if "4,200 s" in line]
    assert rows == [
        f"| `31_x` | 4,200 s | 2 | one | `{'a' * 10}` |",
        f"| `y`, 3 of 4 points | 4,200 s | 1, 2 | one, two | `{'b' * 10}`, `{'c' * 10}` |",
    ]
    assert page.count("Versions: python 3.11, torch 2.13.") == 1


def test_publishing_the_same_again_touches_nothing(finished, tmp_path):
    folder = tmp_path / "executed"
    run = finished("11_a")
    publish({"11_a": run}, folder, {})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    publish({"11_a": run}, folder, {})
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_a_page_made_for_several_subjects_has_the_name_and_title_of_its_subject(finished, tmp_path):
    publish({"sweep_a": finished("90_sweep")}, tmp_path, {"sweep_a": 'Sweep: "a" over b'})
    text = (tmp_path / "sweep_a.ipynb").read_text()
    assert json.loads(text)["cells"] == [
        '# Sweep: "a" over b',
        "[curve.csv](sweep_a/tables/curve.csv)",
    ]
    assert (tmp_path / "sweep_a" / "tables" / "curve.csv").is_file()
    assert "[sweep_a](sweep_a.ipynb)" in (tmp_path / "execution.md").read_text()


def test_every_sweep_that_says_what_to_draw_is_a_page_once_it_is_recorded():
    pages = {page.name: page for page in sweep_pages()}
    assert pages["sweep_toy_p"].given == {"sweep": "sweeps/toy_p.yml"}
    assert pages["sweep_toy_p"].title == "Sweep: probability of SiLU"
    for name in pages:
        assert (results_root() / name.removeprefix("sweep_") / "points.csv").is_file()
    drawn = {
        p.stem for p in (project_root() / "sweeps").glob("*.yml") if "\npage:" in p.read_text()
    }
    recorded = {folder.name for folder in results_root().iterdir()}
    assert {name.removeprefix("sweep_") for name in pages} == drawn & recorded
    assert "glob: book/executed/sweep_*" in (project_root() / "_toc.yml").read_text()


def test_a_cut_provenance_is_found_before_anything_runs(store, monkeypatch, tmp_path):
    (tmp_path / "31_x").mkdir()
    cut = tmp_path / "31_x" / "provenance.json"
    cut.write_text('{"files": {')
    monkeypatch.setattr("stocha.study.recorded.results_root", lambda: tmp_path)
    with pytest.raises(UserError, match=f"^{cut}: damaged or edited"):
        build_book("smoke", tmp_path, None, None, False)
    assert not store.exists()


BUILDER = """#!/bin/sh
# stands for jupyter-book: build ROOT --path-output OUTPUT …
echo $$ >> {folder}/builds
while [ -e {folder}/slow ]; do sleep 0.1; done
mkdir -p "$4/_build/html"
echo front > "$4/_build/html/index.html"
echo page > "$4/_build/html/page.html"
"""


@pytest.fixture
def builder(tmp_path):
    """What `_build` is given: a builder that notes its calls, a project and an output folder."""
    for name in ("project/book", "out"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml", "book/a.md"):
        (tmp_path / "project" / name).write_text("text\n")
    path = tmp_path / "builder"
    path.write_text(BUILDER.format(folder=tmp_path))
    path.chmod(0o755)
    return path, tmp_path / "project", tmp_path / "out"


@pytest.mark.parametrize("damage", [None, "gone", "other", "source"])
def test_a_book_is_built_again_where_a_page_was_lost_or_damaged(builder, tmp_path, damage):
    page = tmp_path / "out" / "_build" / "html" / "page.html"
    assert _build(*builder) == 0
    if damage == "gone":
        page.unlink()
    elif damage == "other":
        page.write_text("pagX\n")
    elif damage == "source":
        (tmp_path / "project" / "book" / "a.md").write_text("other\n")
    assert _build(*builder) == 0
    assert page.read_text() == "page\n"
    assert len((tmp_path / "builds").read_text().split()) == (1 if damage is None else 2)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for it")
def test_a_build_ends_with_the_command_that_was_killed(builder, tmp_path, wait_for):
    (tmp_path / "slow").touch()
    code = "import sys; from pathlib import Path; from stocha.study.book import _build\n"
    code += "_build(*map(Path, sys.argv[1:]))"
    command = subprocess.Popen([sys.executable, "-c", code, *map(str, builder)])
    wait_for((tmp_path / "builds").is_file)
    (pid,) = wait_for(lambda: (tmp_path / "builds").read_text().split())
    command.kill()
    command.wait()
    wait_for(lambda: not psutil.pid_exists(int(pid)) or _is_dead(int(pid)), 10)


def _is_dead(pid):
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
