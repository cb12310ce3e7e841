"""The text notebooks: what each declares, and the hash that says if its results are current."""

import ast
import functools
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stocha.base import identity
from stocha.base.errors import UserError
from stocha.base.files import digest
from stocha.base.parameters import Declaration, Value
from stocha.base.paths import project_root
from stocha.study.cells import read_declaration
from stocha.study.results import canonical, result_entry
from stocha.study.runs import RESULTS, Entry

if TYPE_CHECKING:
    from nbformat import NotebookNode

_RUN_ID_LENGTH = 12


@dataclass(frozen=True)
class Notebook:
    """A py:percent notebook, read and checked; nothing of it has run."""

    path: Path
    text: str
    title: str
    declaration: Declaration
    inputs: tuple[str, ...]
    """Glob patterns, relative to the project, of the recorded files it reads."""
    alone: bool
    """It measures time: nothing else may run beside it."""
    template: bool
    """It takes its subject from a parameter: no page of the book by itself."""
    experiment: str | None = None
    """Dotted name of the function whose result it shows: its parameters are `scale` and that
    function's configuration."""

    @property
    def stem(self) -> str:
        """Its name without folder and ending: the name of its runs and of its page."""
        return self.path.stem

    @property
    def group(self) -> str:
        """The folder of the run store that a sweep's points of it lie in."""
        return f"{RESULTS}/{self.experiment}" if self.experiment else self.stem

    @property
    def source(self) -> str:
        """Its path relative to the project where it lies there, for records and links."""
        root = project_root()
        inside = self.path.is_relative_to(root)
        return (self.path.relative_to(root) if inside else self.path).as_posix()

    def node(self) -> "NotebookNode":
        """A fresh notebook object with a kernelspec that papermill and JupyterLab accept."""
        node = read_cells(self.text)
        node.metadata["kernelspec"] = {
            "name": "python3",
            "language": "python",
            "display_name": "Python 3",
        }
        return node

    def input_files(self) -> list[Path]:
        """The recorded files that its patterns match now, sorted."""
        root = project_root()
        found = {path for pattern in self.inputs for path in root.glob(pattern)}
        return sorted(path for path in found if path.is_file())

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """SHA-256 of everything that the page shows: its source, the library files that it reaches
        by import, figures and claims among them, and the recorded files that it reads."""
        root, package = project_root(), identity.PACKAGE
        named = {
            f"src/{path.relative_to(package.parent).as_posix()}": path
            for path in identity.reached(self.imports)
        }
        named |= {path.relative_to(root).as_posix(): path for path in self.input_files()}
        return {self.path.name: digest(self.text.encode())} | {
            name: digest(path.read_bytes()) for name, path in sorted(named.items())
        }

    @functools.cached_property
    def imports(self) -> tuple[str, ...]:
        """Dotted names of the library's modules that it imports."""
        return identity.imports(python_text(self.text))

    @property
    def hashes(self) -> dict[str, str]:
        """One hash of each kind of `files`: its source, the library, the recorded files."""
        inputs = {path.relative_to(project_root()).as_posix() for path in self.input_files()}
        of_library = {k: v for k, v in self.files.items() if k not in {self.path.name, *inputs}}
        return {
            "source": self.files[self.path.name],
            "library": identity.combined(of_library),
            "inputs": identity.combined({k: v for k, v in self.files.items() if k in inputs}),
        }

    @functools.cached_property
    def code(self) -> dict[str, str]:
        """File → hash of the code that the numbers of the page come from, its own cells' too where
        no experiment makes them."""
        if self.experiment is not None:
            return identity.code([self.experiment.rpartition(".")[0]])
        return self.library_code | {self.path.name: identity.normalised(python_text(self.text))}

    @functools.cached_property
    def library_code(self) -> dict[str, str]:
        """File → hash of the library's code that makes numbers and that it reaches by import."""
        return identity.code(self.imports)

    def changed(self) -> list[str]:
        """The names of `files` that are no longer what they were when this was read."""
        try:
            now = read_notebook(self.path).files
        except UserError:
            return [self.path.name]
        return sorted(
            name for name in now.keys() | self.files if now.get(name) != self.files.get(name)
        )

    @functools.cached_property
    def _identity(self) -> str:
        return identity.combined(self.files)

    def parse(self, assignments: Iterable[str]) -> dict[str, Value]:
        """The typed values that `name=value` texts give to its parameters.

        Raises:
            UserError: a text that is none, an unknown name or one given twice, or a value that is
                not allowed.
        """
        given: dict[str, Value] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            name = name.strip()
            if not equals:
                raise UserError(f"-p {assignment!r}: must read NAME=VALUE")
            if name in given:
                raise UserError(f"-p {name}: given twice")
            try:
                given[name] = self.declaration[name].parse(text)
            except UserError as error:
                raise UserError(f"{self.stem}: {error}") from None
        return given

    def run(self, resolved: Mapping[str, Value]) -> Entry:
        """The place of the page with these parameters."""
        text = json.dumps(canonical(resolved), sort_keys=True)
        name = digest(f"{self._identity}\n{text}".encode())[:_RUN_ID_LENGTH]
        return Entry(self.stem, name)

    def result(self, resolved: Mapping[str, Value]) -> Entry | None:
        """The place of the experiment's result with these parameters; None where there is none."""
        if self.experiment is None:
            return None
        values = {name: value for name, value in resolved.items() if name != "scale"}
        return result_entry(self.experiment, values, self.science)

    @functools.cached_property
    def science(self) -> str:
        """The one hash that stands for `code`."""
        return identity.combined(self.code)


def read_notebook(path: str | Path) -> Notebook:
    """Read and check the notebook at `path`.

    Raises:
        UserError: no such file, not a py:percent notebook, or a faulty parameters cell.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise UserError(f"no notebook {_shown(path)}{_suggestion(path)}")
    if path.suffix != ".py":
        raise UserError(f"{_shown(path)}: a text notebook (.py, percent format) is wanted")
    try:
        text = path.read_text(encoding="utf-8")
        node = read_cells(text)
        parameters = _tagged(node, "parameters")
        if parameters is None:
            raise UserError("no cell tagged `parameters`")
        declaration = read_declaration(parameters, _tagged(node, "scales"))
        own = _header(node.metadata.get("stocha"))
        notebook = Notebook(path, text, _title(node), declaration, **own)
        # what no kernel would take is found before one starts, a `return` at the top too
        with warnings.catch_warnings(action="ignore"):
            compile(python_text(text), str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
        notebook.input_files()
    except SyntaxError as error:
        raise UserError(f"{_shown(path)}:{error.lineno}: {error.msg}") from None
    except OSError as error:
        raise UserError(f"{_shown(path)}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{_shown(path)}: header: {' '.join(str(error).split())}") from None
    except (RecursionError, MemoryError):  # the parser's own limits
        raise UserError(f"{_shown(path)}: nested too deep to be read") from None
    except ValueError as error:
        raise UserError(f"{_shown(path)}: {error}") from None
    return notebook


def all_notebooks(folder: Path | None = None) -> list[Notebook]:
    """Every notebook of the project (or of `folder`), in reading order."""
    folder = folder or project_root() / "notebooks"
    return [read_notebook(path) for path in sorted(folder.glob("[0-9]*.py"))]


def _header(own: Any) -> dict[str, Any]:
    """What the header's `stocha` mapping says, by field of `Notebook`; UserError where it is not
    one."""
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise UserError(f"header: stocha={own!r}: allowed: a mapping")
    inputs, experiment = own.get("inputs", []), own.get("experiment")
    if not isinstance(inputs, list) or not all(
        isinstance(pattern, str)
        and pattern
        and not Path(pattern).is_absolute()
        and ".." not in Path(pattern).parts
        for pattern in inputs
    ):
        raise UserError(f"header: inputs={inputs!r}: allowed: a list of paths in the project")
    if experiment is not None and not (
        isinstance(experiment, str) and identity.is_module(experiment)
    ):
        raise UserError(f"header: experiment={experiment!r}: allowed: a module of the library")
    marks = {name: own.get(name, False) for name in ("alone", "template")}
    for name, mark in marks.items():
        if type(mark) is not bool:
            raise UserError(f"header: {name}={mark!r}: allowed: true, false")
    if unknown := sorted(map(str, own.keys() - {"inputs", "experiment", *marks})):
        raise UserError(f"header: {unknown[0]}: allowed: alone, experiment, inputs, template")
    run = f"{experiment}.run" if experiment else None
    return {"inputs": tuple(inputs), "experiment": run, **marks}


def _shown(path: Path) -> str:
    text = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return text if text.isprintable() else ascii(text)


def _suggestion(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else project_root() / "notebooks"
    found = sorted(candidate.name for candidate in folder.glob("[0-9]*.py"))
    return f"; {folder.name}/ holds {', '.join(found)}" if found else ""


def read_cells(text: str) -> "NotebookNode":
    """The cells and the header of a py:percent text, as jupytext reads them."""
    import jupytext  # a quarter of a second that other commands need not spend

    node: NotebookNode = jupytext.reads(text, fmt="py:percent")
    return node


def _tagged(node: "NotebookNode", tag: str) -> str | None:
    cells = (cell for cell in node.cells if cell.cell_type == "code")
    return next((str(cell.source) for cell in cells if tag in cell.metadata.get("tags", ())), None)


def _title(node: "NotebookNode") -> str:
    cells = (cell for cell in node.cells if cell.cell_type == "markdown")
    lines = (line for cell in cells for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def python_text(text: str) -> str:
    """The notebook's text without IPython's own commands."""
    lines = text.splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
