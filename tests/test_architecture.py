"""The arrows of the house: who may import whom."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "stocha"
MACHINERY = {"study", "cli"}
PARTS = {"toy", "lm", "sparse"}


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
    imported = imported_parts(path)
    if own in MACHINERY:
        assert imported <= MACHINERY
    else:
        assert not imported & MACHINERY
    if own in PARTS:
        assert not imported & (PARTS - {own})
    if own not in PARTS | MACHINERY:
        assert not imported & PARTS
