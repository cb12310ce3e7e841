"""What an experiment's numbers come from: the code of the modules it reaches, as one hash.

Comments, docstrings and layout do not count, nor does a module that it does not import, nor one
that draws, judges, runs or stores. So prose, plots and the machinery that runs notebooks change no
result's identity, and a changed coefficient does. Chapter *Method*.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
DATA = (".c", ".json", ".pt")
"""Endings of files beside a module that make its numbers as its code does."""
APART = (
    *("figures.py", "figures/", "claims/", "study/", "cli.py"),
    *(f"base/{name}.py" for name in ("errors", "files", "identity", "machine", "parameters")),
    *(f"base/{name}.py" for name in ("paths", "recorded", "result")),
)
"""What makes no number: it draws, judges, checks, names, runs or stores."""


def science(module: str) -> str:
    """Return the hash (SHA-256) of the code that makes the numbers of the module named `module`.

    Parameters: `module`, a dotted name such as "stocha.lm.experiment". Raises ValueError if there
    is no such module in the package.
    """
    if not is_module(module):
        raise ValueError(f"module={module}: allowed: a module of {PACKAGE.name}")
    return combined(code([module]))


def is_module(name: str) -> bool:
    """Whether the package has a module of this dotted name."""
    return all(name.split(".")) and _file(name) is not None


def code(modules: Iterable[str]) -> dict[str, str]:
    """Return file → hash of its code, for each file that the numbers of `modules` come from.

    Parameters: `modules`, dotted names. File names are relative to the package. Comments,
    docstrings and layout do not count.
    """
    hashes = {
        path.relative_to(PACKAGE).as_posix(): _read(path, *_stamp(path))[0]
        for path in sorted(reached(modules, APART))
    }
    return {name: value for name, value in hashes.items() if value != _EMPTY}


def combined(hashes: Mapping[str, str]) -> str:
    """Return the one hash that stands for `hashes`, file → hash."""
    text = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def reached(modules: Iterable[str], without: tuple[str, ...] = ()) -> set[Path]:
    """Return the files of the package that importing `modules` runs, directly or through others.

    Parameters: `without`, beginnings of names in the package; those files, and what only they
    import, are left out.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = _file(waiting.pop())
        if path is None or path in found:
            continue
        if path.relative_to(PACKAGE).as_posix().startswith(without):
            continue
        found.add(path)
        found.update(near for near in path.parent.iterdir() if near.suffix in DATA)
        waiting += _read(path, *_stamp(path))[1]
    return found


def imports(source: str) -> tuple[str, ...]:
    """Return the dotted names of the package's modules that `source` imports, and their parents.

    Raises SyntaxError.
    """
    return _imports(ast.parse(source))


def normalised(source: str) -> str:
    """Return the hash of the code of `source` without comments, docstrings and layout.

    Raises SyntaxError.
    """
    return _normalised(ast.parse(source))


def _file(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    if module.split(".")[0] != PACKAGE.name:
        return None
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size


@functools.cache
def _read(path: Path, _time: int, _size: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a file's code, and what it imports; of a file that is not Python, of its bytes."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest(), ()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return _normalised(tree), _imports(tree)


def _imports(tree: ast.AST) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                found |= dict.fromkeys(".".join(parts[: end + 1]) for end in range(len(parts)))
    return tuple(found)


def _normalised(tree: ast.AST) -> str:
    return hashlib.sha256(repr(_shape(tree)).encode()).hexdigest()


def _shape(node: Any) -> Any:
    """The tree as tuples, empty fields left out: those that a later Python adds are empty here."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "parameter"
    ):
        return "parameter"  # meaning, scales, default: its value is part of a result's identity
    if isinstance(node, ast.AST):
        fields = ((name, _shape(value)) for name, value in ast.iter_fields(node))
        return (type(node).__name__, *((n, v) for n, v in fields if v is not None and v != ()))
    if isinstance(node, list):
        return tuple(_shape(part) for part in node if not _is_text(part))
    return node


_EMPTY = normalised("")


def _is_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
