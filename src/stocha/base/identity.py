"""What an experiment's numbers come from: the code of the modules it reaches, as one hash.

Comments, docstrings and layout do not count, nor does a module that it does not import. So prose,
plots and the machinery that runs notebooks change no result's identity, and a changed coefficient
does. Chapter *Method*.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
DATA = (".c",)
"""Endings of files beside a module that are code too."""


def science(module: str) -> str:
    """Return the hash (SHA-256) of the code that the module named `module` reaches by import.

    Parameters: `module`, a dotted name such as "stocha.lm.experiment". Raises ValueError if there
    is no such module in the package.
    """
    if _file(module) is None:
        raise ValueError(f"module={module}: allowed: a module of {PACKAGE.name}")
    digest = hashlib.sha256()
    for path in sorted(reached(module)):
        name = path.relative_to(PACKAGE).as_posix()
        digest.update(f"{name} {_normalised(path, path.stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def reached(*modules: str) -> set[Path]:
    """Return the files of the package that importing `modules` runs, directly or through others."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = _file(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        found.update(near for near in path.parent.iterdir() if near.suffix in DATA)
        waiting += imports(path.read_text(encoding="utf-8"))
    return found


def imports(source: str) -> Iterator[str]:
    """Yield the dotted names of the package's modules that `source` imports, their parents too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


def _file(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    if module.split(".")[0] != PACKAGE.name:
        return None
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@functools.cache
def _normalised(path: Path, _: int) -> str:
    """Hash of a file's code without comments, docstrings and layout; of other files, the bytes."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
