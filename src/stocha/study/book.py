"""Run every notebook, publish the executed ones and build the book from them."""

import ctypes
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from stocha.base.errors import UserError
from stocha.base.files import digest, locked, write_bytes, write_text
from stocha.base.machine import cores
from stocha.base.parameters import Value
from stocha.base.paths import project_root, results_root, runs_root
from stocha.study.commands import (
    Fresh,
    Threads,
    exit_code,
    make_requests,
    perform,
    require_writable,
    threads_per_job,
)
from stocha.study.execution_page import execution_page
from stocha.study.notebooks import Notebook, all_notebooks, read_notebook
from stocha.study.recorded import all_records
from stocha.study.runs import Entry
from stocha.study.sweeps.collection import table_path
from stocha.study.sweeps.specification import read_sweep

_TABLE_LINK = re.compile(r"\]\(tables/")
_TITLE = re.compile(r'"# [^"\\]*')
_SWEEP = "90_sweep"
"""The notebook that every sweep's page is made from."""


@dataclass(frozen=True)
class Page:
    """A page of the book: a notebook, what it is given, and its title where that is not its own."""

    name: str
    notebook: Notebook
    given: Mapping[str, Value] = field(default_factory=dict)
    title: str = ""


def build_book(
    scale: Annotated[str, typer.Option(help="smoke, book or full.")] = "book",
    output: Annotated[
        Path | None, typer.Option(help="Folder for the built book; default: _build.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Notebooks at once; default: one a core.")
    ] = None,
    threads: Threads = None,
    fresh: Fresh = False,
) -> int:
    """Run every notebook, build the book (a warning is an error), print its front page's path.

    A notebook whose run is current is not run again, a book whose sources are unchanged is not
    built again, and none is built where a notebook failed: exit code 1.
    """
    builder = Path(sys.executable).with_name("jupyter-book")
    if not builder.is_file():
        raise UserError("the book's packages are not installed: pip install 'stocha[book]'")
    root = project_root()
    output = (output or root).resolve()
    require_writable(output / "_build")
    all_records()  # the book tells of each: a damaged one is found before anything runs
    jobs = cores() if jobs is None else jobs
    threads = threads_per_job(jobs, threads)
    pages = [*(Page(notebook.stem, notebook) for notebook in chapters()), *sweep_pages()]
    points = ((page.notebook, {"scale": scale, **page.given}) for page in pages)
    requests = make_requests(points, threads, fresh)
    outcomes = perform(requests, jobs)
    if exit_code(outcomes):
        print("stocha: no book is built from failed notebooks", file=sys.stderr)
        return 1
    # Published pages lie in the source tree, one set at a time.
    with locked(runs_root() / ".book.lock"):
        runs = {page.name: made.run for page, made in zip(pages, requests, strict=True)}
        titles = {page.name: page.title for page in pages if page.title}
        publish(runs, root / "book" / "executed", titles)
        return _build(builder, root, output)


def chapters() -> list[Notebook]:
    """The notebooks that are pages of the book, in reading order."""
    return [notebook for notebook in all_notebooks() if not notebook.template]


def sweep_pages() -> list[Page]:
    """A page of every sweep that says what to draw and whose points are recorded."""
    root = project_root()
    template = read_notebook(root / "notebooks" / f"{_SWEEP}.py")
    sweeps = [read_sweep(path) for path in sorted((root / "sweeps").glob("*.yml"))]
    return [
        Page(
            f"sweep_{sweep.name}",
            template,
            {"sweep": sweep.path.relative_to(root).as_posix()},
            str(sweep.page.get("title", sweep.name)),
        )
        for sweep in sweeps
        if sweep.page and table_path(sweep).is_file()
    ]


def publish(runs: Mapping[str, Entry], folder: Path, titles: Mapping[str, str]) -> None:
    """Make `folder` hold exactly the executed notebooks and tables of `runs` (name of the page →
    run) and the execution page; `titles` are those of pages that do not have their notebook's.

    Files whose bytes would not change keep their time stamps.
    """
    ordered = dict(sorted(runs.items()))
    wanted = {folder / "execution.md": execution_page(ordered, results_root()).encode()}
    for name, run in ordered.items():
        text = run.notebook.read_text(encoding="utf-8")
        if name in titles:
            title = json.dumps(f"# {titles[name]}", ensure_ascii=False)[:-1]
            text = _TITLE.sub(title.replace("\\", r"\\"), text, count=1)
        linked = _TABLE_LINK.sub(f"]({name}/tables/", text)
        wanted[folder / f"{name}.ipynb"] = linked.encode()
        for table in sorted((run.folder / "tables").glob("*.csv")):
            wanted[folder / name / "tables" / table.name] = table.read_bytes()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, data in wanted.items():
        if not path.is_file() or path.read_bytes() != data:
            write_bytes(path, data)


def _build(builder: Path, root: Path, output: Path) -> int:
    html = output / "_build" / "html"
    stamp, log = output / "_build" / "sources.sha256", output / "_build" / "build.log"
    sources = _sources_hash(root)
    front = html / "index.html"
    if not (front.is_file() and stamp.is_file() and stamp.read_text() == sources + _hash(html)):
        stamp.unlink(missing_ok=True)
        # A page that moved or lost a number must not survive from an earlier build, and glued
        # values of other pages go stale in an incremental one.
        shutil.rmtree(html, ignore_errors=True)
        print("building the book …", file=sys.stderr)
        command = [builder, "build", root, "--path-output", output, "-W", "--keep-going", "--all"]
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=_end_with_parent,
        )
        write_text(log, done.stdout + done.stderr)
        if done.returncode != 0:
            print(_complaints(done.stdout + done.stderr), file=sys.stderr)
            print(f"stocha: the build failed; its log: {log}", file=sys.stderr)
            return 1
        write_text(stamp, sources + _hash(html))
    print(front)
    return 0


def _sources_hash(root: Path) -> str:
    """Hash of everything the book is built from."""
    parts = [root / "_config.yml", root / "_toc.yml", *sorted((root / "book").rglob("*"))]
    return _hash(root, (path for path in parts if "__pycache__" not in path.parts))


def _hash(root: Path, paths: Iterable[Path] | None = None) -> str:
    """Hash of the files of a folder: a page that is lost or damaged is built again."""
    files = (path for path in paths or sorted(root.rglob("*")) if path.is_file())
    lines = (f"{path.relative_to(root).as_posix()} {digest(path.read_bytes())}" for path in files)
    return digest("\n".join(lines).encode())


def _end_with_parent() -> None:
    """A build must not go on, outside the lock, when the command was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _complaints(log: str) -> str:
    """The warnings and errors in a build log, or its end where it names none."""
    lines = log.splitlines()
    found = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return "\n".join(found or lines[-20:])
