"""`stocha run` and `stocha notebooks`, and what other commands share with them."""

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stocha.base import machine
from stocha.base.errors import UserError
from stocha.base.parameters import Parameter, Value
from stocha.base.paths import runs_root
from stocha.study.execution import Outcome, Request, require_kernel
from stocha.study.notebooks import Notebook, all_notebooks, read_notebook
from stocha.study.pool import execute_all
from stocha.study.progress import Progress
from stocha.study.runs import clear_leftovers

Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Notebooks at once, each its own process.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", "-t", help="Numeric threads a notebook; default: cores / jobs."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Recompute what is done already.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="May be given many times."),
]


def run_notebooks(
    notebooks: Annotated[list[Path], typer.Argument(help="Text notebooks, e.g. notebooks/11_*.py")],
    parameter: Assignments = None,
    jobs: Jobs = 1,
    threads: Threads = None,
    fresh: Fresh = False,
) -> int:
    """Execute notebooks, each with the same parameters, and store every run.

    A run that is done already is skipped. Exit code: 0 all done, 1 a cell failed, 2 a mistake in
    the call (found before anything runs), 130 interrupted.
    """
    read = [read_notebook(path) for path in notebooks]
    points = [(notebook, notebook.parse(parameter or ())) for notebook in read]
    outcomes = perform(make_requests(points, threads_per_job(jobs, threads), fresh), jobs)
    for outcome in outcomes:
        if outcome.status != "failed":
            print(outcome.run.folder)
    return exit_code(outcomes)


def make_requests(
    points: Iterable[tuple[Notebook, Mapping[str, Value]]], threads: int, fresh: bool = False
) -> list[Request]:
    """A request for each notebook and the parameters given for it, resolved and checked."""
    commit = machine.commit()
    requests = [
        Request(notebook, notebook.declaration.resolve(given), threads, commit, fresh)
        for notebook, given in points
    ]
    _require_configurations(requests)
    return requests


def perform(requests: Sequence[Request], jobs: int) -> list[Outcome]:
    """Execute `requests` with progress on the terminal, after checking kernel and run store.

    Notebooks that measure time come last, one after another, each with all the threads.
    """
    require_kernel()
    require_writable(runs_root())
    clear_leftovers()
    together = [request for request in requests if not request.notebook.alone]
    alone = [
        replace(request, threads=request.threads * jobs)
        for request in requests
        if request.notebook.alone
    ]
    with Progress(len(requests)) as progress:
        outcomes = execute_all(together, min(jobs, len(together)), progress.show)
        return outcomes + execute_all(alone, 1, progress.show)


def _require_configurations(requests: Iterable[Request]) -> None:
    """UserError where an experiment does not take the values of a request that is to be executed:
    single ones may be allowed and not fit together."""
    for request in requests:
        experiment = request.notebook.experiment
        if experiment is None or (request.is_done() and not request.fresh):
            continue
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in request.parameters.items()
            if name != "scale"
        }
        module = experiment.rpartition(".")[0]
        try:
            importlib.import_module(module).Config(**values)
        except ImportError:  # an extra that is not installed: the page says which
            continue
        except (AttributeError, TypeError):
            allowed = f"a module with a Config of the parameters of {request.notebook.stem}"
            raise UserError(f"experiment={module}: allowed: {allowed}") from None
        except ValueError as error:
            message = " ".join(str(error).split())
            raise UserError(f"{request.notebook.stem}: {message}") from None


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 where nothing failed, 2 where all that failed was refused for its parameters, else 1."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    return 2 if failed and all(outcome.refused for outcome in failed) else int(bool(failed))


def threads_per_job(jobs: int, threads: int | None) -> int:
    """Numeric threads for each of `jobs` processes: as asked, else an equal share of the cores."""
    available = machine.cores()
    if not 1 <= jobs <= available:
        raise UserError(f"--jobs {jobs}: must be from 1 to {available}, the cores of this machine")
    if threads is None:
        return available // jobs
    if not 1 <= threads <= available // jobs:
        raise UserError(
            f"--threads {threads}: must be from 1 to {available // jobs}, "
            f"the {available} cores shared by {jobs} job(s)"
        )
    return threads


def require_writable(folder: Path) -> None:
    """UserError unless a file can be made in `folder`."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def list_notebooks(
    name: Annotated[
        str | None, typer.Argument(help="Only notebooks whose name holds this.")
    ] = None,
) -> None:
    """List the notebooks with their parameters, types, defaults and meaning."""
    chosen = [notebook for notebook in all_notebooks() if (name or "") in notebook.stem]
    if not chosen:
        raise UserError(f"no notebook whose name holds {name!r}")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a line a parameter, for other programs
        console.width = 1000
    for notebook in chosen:
        console.print(f"{notebook.source}  {notebook.title}", style="bold")
        table = Table(box=None, padding=(0, 2), show_header=False)
        for one in notebook.declaration.parameters:
            limits = f", {one.allowed}" if one.allowed else ""
            table.add_row(one.name, one.type, _default(notebook, one), one.meaning + limits)
        console.print(table)


def _default(notebook: Notebook, parameter: Parameter) -> str:
    """The default, or where it depends on the scale, what each scale sets."""
    by_scale = {
        scale: row[parameter.name]
        for scale, row in notebook.declaration.scales.items()
        if parameter.name in row
    }
    if parameter.default is not None or not by_scale:
        return str(parameter.default)
    return ", ".join(f"{scale} {value}" for scale, value in by_scale.items())
