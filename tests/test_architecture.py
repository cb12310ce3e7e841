"""The arrows of the house, from the ground up: nothing imports what stands above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "stocha"
FLOORS = (
    {"base"},
    {"activations"},
    {"arms"},
    {"figures"},
    {"toy", "lm", "sparse"},
    {"hf"},
    {"claims"},
    {"study"},
    {"cli"},
)
"""Parts on one floor do not know each other."""


def imported_parts(path: Path) -> set[str]:
    """First-level names of `stocha` that the file imports."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            head, *rest = name.split(".")
            if head == "stocha" and rest and part_exists(rest[0]):
                parts.add(rest[0])
    return parts


def part_exists(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_arrows(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    floor = next(level for level, parts in enumerate(FLOORS) if own in parts)
    below = set().union(*FLOORS[:floor])
    assert imported_parts(path) <= below | {own}
