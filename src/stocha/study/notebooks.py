"""The text notebooks: what each declares, and the hash that says if its results are current."""

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocha.base.errors import UserError
from stocha.base.files import digest
from stocha.base.parameters import Declaration, Value
from stocha.base.paths import project_root
from stocha.study.cells import read_declaration
from stocha.study.percent import Cell, read_cells, read_header

if TYPE_CHECKING:
    from nbformat import NotebookNode

_PACKAGE = Path(__file__).resolve().parents[1]
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

    @property
    def stem(self) -> str:
        """Its name without folder and ending: the name of its runs and of its page."""
        return self.path.stem

    @property
    def source(self) -> str:
        """Its path relative to the project where it lies there, for records and links."""
        root = project_root()
        inside = self.path.is_relative_to(root)
        return (self.path.relative_to(root) if inside else self.path).as_posix()

    def node(self) -> "NotebookNode":
        """A fresh notebook object with a kernelspec that papermill and JupyterLab accept."""
        import jupytext  # imports the Jupyter server: only for who executes

        node: NotebookNode = jupytext.reads(self.text, fmt="py:percent")
        node.metadata["kernelspec"] = {
            "name": "python3",
            "language": "python",
            "display_name": "Python 3",
        }
        return node

    def input_files(self) -> list[Path]:
        """The recorded files that its patterns match now, sorted."""
        root = project_root()
        return sorted({path for pattern in self.inputs for path in root.glob(pattern)})

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of its source, of the library files it imports, and of the recorded files it
        reads.

        Only modules that the notebook reaches by import count: a change to a plotting function must
        not set a day of training back to the start, and a change to the runner changes no number.
        """
        root = project_root()
        recorded = [
            (path.relative_to(root).as_posix(), path.read_bytes()) for path in self.input_files()
        ]
        return {
            "source": digest(self.text.encode()),
            "library": _library_hash(frozenset(_imports(self.text))),
            "inputs": _hash_named(recorded),
        }

    def run_id(self, resolved: Mapping[str, Value]) -> str:
        """The short hash of source, resolved parameters and library that names a run."""
        parts = [*self.hashes.values(), repr(sorted(resolved.items()))]
        return digest("\n".join(parts).encode())[:_RUN_ID_LENGTH]


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
        cells = read_cells(text)
        parameters = _tagged(cells, "parameters")
        if parameters is None:
            raise UserError("no cell tagged `parameters`")
        declaration = read_declaration(parameters, _tagged(cells, "scales"))
        own: Mapping[str, Any] = read_header(text).get("stocha") or {}
    except (UserError, SyntaxError, ValueError) as error:
        raise UserError(f"{_shown(path)}: {error}") from None
    return Notebook(
        path=path,
        text=text,
        title=_title(cells),
        declaration=declaration,
        inputs=tuple(own.get("inputs", ())),
        alone=bool(own.get("alone")),
        template=bool(own.get("template")),
    )


def all_notebooks(folder: Path | None = None) -> list[Notebook]:
    """Every notebook of the project (or of `folder`), in reading order."""
    folder = folder or project_root() / "notebooks"
    return [read_notebook(path) for path in sorted(folder.glob("[0-9]*.py"))]


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _suggestion(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else project_root() / "notebooks"
    found = sorted(candidate.name for candidate in folder.glob("[0-9]*.py"))
    return f"; {folder.name}/ holds {', '.join(found)}" if found else ""


def _tagged(cells: Iterable[Cell], tag: str) -> str | None:
    return next((cell.source for cell in cells if not cell.markdown and tag in cell.tags), None)


def _title(cells: Iterable[Cell]) -> str:
    lines = (line for cell in cells if cell.markdown for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def _imports(source: str) -> Iterator[str]:
    """Dotted names of the `stocha` modules that `source` imports, `from` names included."""
    code = "\n".join(
        line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))
    )
    for statement in ast.walk(ast.parse(code)):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            base = statement.module
            names = [base, *(f"{base}.{alias.name}" for alias in statement.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == _PACKAGE.name:
                # Importing a module runs the packages above it.
                yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))


def _module_file(dotted: str) -> Path | None:
    base = _PACKAGE.joinpath(*dotted.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _library_hash(imported: frozenset[str]) -> str:
    """Hash of every library file reached from the imported modules."""
    reached: set[Path] = set()
    waiting = list(imported)
    while waiting:
        path = _module_file(waiting.pop())
        if path is not None and path not in reached:
            reached.add(path)
            waiting.extend(_imports(path.read_text(encoding="utf-8")))
    return _hash_named(
        (path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in sorted(reached)
    )


def _hash_named(files: Iterable[tuple[str, bytes]]) -> str:
    return digest("\n".join(f"{name} {digest(data)}" for name, data in files).encode())
