"""Execute one notebook with papermill and put the result into the run store."""

import datetime
import functools
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stocha.base import machine
from stocha.base.errors import UserError
from stocha.base.files import locked, read_json, try_lock, write_json, write_text
from stocha.base.parameters import Value
from stocha.base.paths import project_root
from stocha.study import handoff
from stocha.study.notebooks import Notebook
from stocha.study.runs import Entry

if TYPE_CHECKING:
    from nbformat import NotebookNode

LOG = "kernel.log"
CHECKS = "checks"
"""Tag of a cell that raises ValueError where parameters do not fit together, before any work."""
SOCKETS = "STOCHA_SOCKETS"
"""Environment variable: the folder for kernels' sockets, whose paths must be short."""
_KERNEL_DIED = "the kernel died: killed, or out of memory"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CELL_LINE = re.compile(r"(?:Cell In\[\d+\], line|File <ipython-input[^>]*>:) ?(\d+)")


@dataclass(frozen=True)
class Request:
    """A notebook to execute with every parameter resolved."""

    notebook: Notebook
    parameters: Mapping[str, Value]
    threads: int
    commit: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    note: str = ""
    """What distinguishes it from its neighbours, for progress lines."""
    patient: bool = True
    """Wait where another process makes the same run; else end as busy."""

    @functools.cached_property
    def run(self) -> Entry:
        """Its place in the run store."""
        return self.notebook.run(self.parameters)

    @functools.cached_property
    def result(self) -> Entry | None:
        """The place of its experiment's result; None where it has no experiment."""
        return self.notebook.result(self.parameters)

    def is_done(self) -> bool:
        """The page is finished, and so is what it shows."""
        return self.run.is_done() and (self.result is None or self.result.is_done())

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return " ".join(filter(None, (self.notebook.stem, self.run.id, self.note)))


@dataclass(frozen=True)
class Outcome:
    """What became of a request."""

    run: Entry
    status: Literal["done", "skipped", "failed", "busy"]
    """`busy`: another process makes this run now, and the request did not want to wait."""
    seconds: float = 0.0
    error: str = ""
    """For a failure: where and what, several lines."""
    refused: bool = False
    """A failure of a cell tagged `checks`: parameters do not fit together; `error` is one line."""


def execute(request: Request, when_waiting: Callable[[], None] | None = None) -> Outcome:
    """Execute `request` unless its run is finished already; never raises for a failing notebook.

    While another process makes the same run, a patient request waits (`when_waiting` is called
    once), then finds it finished. The kernel's working directory is the project's root.
    """
    run = request.run
    lock = locked(run.lock, when_waiting) if request.patient else try_lock(run.lock)
    with lock as held:
        if not held:
            return Outcome(run, "busy")
        run.recover()
        if not request.fresh and request.is_done():
            return Outcome(run, "skipped")
        started = time.perf_counter()
        if changed := request.notebook.changed():
            return Outcome(run, "failed", error=f"{_named(changed)}: edited since this was planned")
        began = datetime.datetime.now(datetime.UTC)
        try:
            folder = run.start()
            error, refused = _execute_in(folder, request)
            seconds = time.perf_counter() - started
            if changed := request.notebook.changed():
                error, refused = f"{_named(changed)}: edited while this ran", False
            if not error:
                _describe(folder, request, began, seconds)
                run.finish()
                return Outcome(run, "done", seconds)
            run.set_aside()
        except OSError as problem:
            seconds = time.perf_counter() - started
            return Outcome(run, "failed", seconds, f"{run.partial}: {problem}")
        error = error if refused else f"{error}\nkept for reading: {run.failed}"
        return Outcome(run, "failed", seconds, error, refused)


def _named(files: Sequence[str]) -> str:
    shown = ", ".join(files[:3])
    return shown if len(files) <= 3 else f"{shown} and {len(files) - 3} more"


def _execute_in(folder: Path, request: Request) -> tuple[str, bool]:
    """Run the notebook in `folder`; return what went wrong, if anything, and if it was refused."""
    # papermill costs a second to import: only the process that executes pays for it.
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    # Names and types are checked already, and a dead kernel is reported below.
    for logger in ("papermill", "traitlets"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    notebook = request.notebook
    source, target = folder / "source.ipynb", folder / f"{notebook.stem}.ipynb"
    nbformat.write(notebook.node(), source)
    write_json(folder / handoff.CODE, notebook.library_code)
    _set_environment(folder, request)
    problem = ""
    with open(folder / LOG, "w", encoding="utf-8") as log:
        try:
            papermill.execute_notebook(
                # papermill fills parameters into names in braces
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (source, target)),
                parameters=dict(request.parameters),
                kernel_name="python3",
                kernel_manager_class=_socket_kernels(),
                cwd=str(project_root()),
                progress_bar=False,
                stdout_file=log,
                stderr_file=log,
                # ipykernel announces its connection file and, when it ends, its shutdown.
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
        except PapermillExecutionError as error:
            problem = f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            problem = _KERNEL_DIED
        except RuntimeError as error:  # jupyter_client's name for a death before the first cell
            problem = _KERNEL_DIED if "Kernel died" in str(error) else f"RuntimeError: {error}"
    source.unlink(missing_ok=True)
    for handed in (handoff.PROGRESS, handoff.CODE):
        (folder / handed).unlink(missing_ok=True)
    if not target.is_file():
        return problem or "papermill left no notebook", False
    executed = nbformat.read(target, as_version=4)
    where, refused = _failure(executed, notebook)
    _clean(executed, request)
    write_text(target, nbformat.writes(executed) + "\n")
    return where or problem, refused


@functools.cache
def _socket_kernels() -> type:
    """A kernel manager whose kernels talk through files: TCP ports chosen at once may collide."""
    from jupyter_client.manager import AsyncKernelManager

    sockets = os.environ[SOCKETS]
    numbers = itertools.count()

    class SocketKernelManager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(
                transport="ipc", ip=f"{sockets}/{os.getpid()}-{next(numbers)}", **options
            )

    return SocketKernelManager


def _set_environment(folder: Path, request: Request) -> None:
    os.environ[handoff.RUN_FOLDER] = str(folder)
    os.environ[handoff.FRESH] = "1" if request.fresh else ""
    os.environ |= dict.fromkeys(machine.THREAD_VARIABLES, str(request.threads))
    # An `Agg` inherited from a server or a test would turn every figure into nothing, silently.
    os.environ.pop("MPLBACKEND", None)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"


def _failure(executed: "NotebookNode", notebook: Notebook) -> tuple[str, bool]:
    """Where a cell failed, with its source line, from the notebook's own error output.

    Papermill counts `SystemExit` as success; an error output is a failure here whatever its name.
    A ValueError in a cell tagged `checks` refuses the parameters: its message, and True.
    """
    for cell in executed.cells:
        for output in cell.get("outputs", ()):
            if output.output_type != "error":
                continue
            if output.ename == "ValueError" and CHECKS in cell.metadata.get("tags", ()):
                return " ".join(str(output.evalue).split()), True
            traceback = _ANSI.sub("", "\n".join(output.traceback))
            lines = [int(number) for number in _CELL_LINE.findall(traceback)]
            within = lines[0] if lines else 1
            source = cell.source.splitlines()
            shown = source[within - 1].strip() if within <= len(source) else ""
            if not lines:  # SystemExit comes without a traceback
                shown = "the cell that begins here"
            at = _line_in(notebook.text, cell.source) + within - 1
            return f"{notebook.source}:{at}: {shown}\n{output.ename}: {output.evalue}", False
    return "", False


def _line_in(text: str, cell: str) -> int:
    """The line of the text notebook at which the cell begins (1 where it cannot be found)."""
    position = text.find(cell)
    return text.count("\n", 0, position) + 1 if position >= 0 else 1


def _clean(executed: "NotebookNode", request: Request) -> None:
    """Take out what differs from one execution to the next, so that equal runs give equal files."""
    for number, cell in enumerate(executed.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.metadata["tags"] = ["injected-parameters", "remove-cell"]
        # papermill prepends cells that name the error; the outputs say it already.
        if cell.metadata.get("tags") == ["papermill-error-cell-tag"]:
            cell["source"] = ""
    executed.cells = [cell for cell in executed.cells if cell["source"]]
    notebook, scales = request.notebook, request.notebook.declaration.scales
    scale = str(request.parameters.get("scale"))
    reduced = handoff.reduced_at(scales, request.parameters)
    executed.metadata.pop("papermill", None)
    executed.metadata["stocha"] = {
        "run_id": request.run.id,
        "source": notebook.source,
        "scale": scale,
        "reduced": bool(reduced),
        "badge": handoff.badge_text(scale, reduced),
        "parameters": dict(request.parameters),
    }


def _describe(folder: Path, request: Request, began: datetime.datetime, seconds: float) -> None:
    results = read_json(folder / handoff.RESULTS) or []
    (folder / handoff.RESULTS).unlink(missing_ok=True)
    write_json(folder / "parameters.json", dict(request.parameters))
    write_json(
        folder / "provenance.json",
        {
            "notebook": request.notebook.source,
            "run_id": request.run.id,
            "hashes": request.notebook.hashes,
            "science": request.notebook.science,
            "code": request.notebook.code,
            "results": results,
            **request.commit,
            **machine.circumstances(began, seconds, request.threads),
        },
    )


def require_kernel() -> None:
    """UserError unless this environment has the kernel that notebooks run on."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        raise UserError(
            "no Jupyter kernel 'python3' in this environment: pip install ipykernel"
        ) from None
