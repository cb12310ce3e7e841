"""What `stocha run` and `stocha notebooks` do, once the command line has been read."""

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stocha.base import machine
from stocha.base.errors import UserError
from stocha.base.parameters import Parameter, Value
from stocha.base.paths import runs_root
from stocha.study.execution import Outcome, Request, require_kernel
from stocha.study.notebooks import Notebook, all_notebooks, read_notebook
from stocha.study.pool import execute_all
from stocha.study.progress import Progress
from stocha.study.runs import clear_leftovers


def run_notebooks(
    paths: Sequence[Path], assignments: Sequence[str], jobs: int, threads: int | None, fresh: bool
) -> int:
    """Execute the notebooks at `paths`; return the exit code (`exit_code`).

    Everything is checked before anything runs.

    Raises:
        UserError: a notebook, parameter, value, number of jobs or threads, or the run store is not
        usable.
    """
    notebooks = [read_notebook(path) for path in paths]
    threads = threads_per_job(jobs, threads)
    requests = make_requests(
        ((notebook, parse_assignments(notebook, assignments)) for notebook in notebooks),
        threads,
        fresh,
    )
    outcomes = perform(requests, jobs)
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


def parse_assignments(notebook: Notebook, assignments: Iterable[str]) -> dict[str, Value]:
    """The typed values that `name=value` texts give to the notebook's parameters."""
    given: dict[str, Value] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"-p {assignment!r}: must read NAME=VALUE")
        if name in given:
            raise UserError(f"-p {name}: given twice")
        try:
            given[name] = notebook.declaration[name].parse(text)
        except UserError as error:
            raise UserError(f"{notebook.stem}: {error}") from None
    return given


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


def describe_notebooks(part: str | None) -> list[tuple[str, list[tuple[str, ...]]]]:
    """A heading and rows (name, type, default, meaning) for each notebook named like `part`."""
    chosen = [notebook for notebook in all_notebooks() if (part or "") in notebook.stem]
    if not chosen:
        raise UserError(f"no notebook whose name holds {part!r}")
    return [
        (
            f"{notebook.source}  {notebook.title}",
            [
                (parameter.name, parameter.type, _default(notebook, parameter), _meaning(parameter))
                for parameter in notebook.declaration.parameters
            ],
        )
        for notebook in chosen
    ]


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


def _meaning(parameter: Parameter) -> str:
    return f"{parameter.meaning}, {parameter.allowed}" if parameter.allowed else parameter.meaning
