"""What prose and docstrings are held to before a book is built."""

import re
from pathlib import Path

import pytest
from book_pages import ROOT

PROSE = sorted([*(ROOT / "book").glob("*.md"), *ROOT.glob("*.md")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *NOTEBOOKS])

FENCED = re.compile(r"^(?P<fence>```+|~~~+)(?P<info>.*?)\n(?P<body>.*?)^(?P=fence) *$", re.M | re.S)
VERBATIM = re.compile(
    r"`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|^ {4,}.*?$|\]\([^)]*\)|<!--.*?-->", re.M | re.S
)
HYPHEN_AS_MINUS = re.compile(r"(?<![\w−–-])-\d|(?<=[\w)]) - (?=[\w(])")


def spoken(path: Path) -> str:
    """The prose of a page: without code, formulas and the targets of links."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        cells = re.split(r"^# %%", text, flags=re.MULTILINE)[1:]
        prose = [
            re.sub(r"^# ?", "", c, flags=re.MULTILINE) for c in cells if "[markdown]" in c[:12]
        ]
        options = re.findall(r'"(?:alt|caption)": "((?:[^"\\]|\\.)*)"', text)
        text = "\n\n".join([*prose, *options])
    kept = {"{list-table}", "{admonition}", "{note}"}
    text = FENCED.sub(lambda f: f["body"] if f["info"].split(" ")[0] in kept else " ", text)
    return VERBATIM.sub(" ", text)


@pytest.mark.parametrize("path", [*PROSE, *NOTEBOOKS], ids=lambda path: path.name)
def test_a_minus_is_not_a_hyphen(path: Path) -> None:
    text = spoken(path)
    found = [text[max(0, m.start() - 30) : m.end() + 10] for m in HYPHEN_AS_MINUS.finditer(text)]
    assert not found, found


@pytest.mark.parametrize("path", [*PROSE, *NOTEBOOKS], ids=lambda path: path.name)
def test_no_directive_has_a_backtick_in_its_first_line(path: Path) -> None:
    """Markdown takes such a line for text, and prints the whole directive."""
    assert re.findall(r"^(?:# )?```+\{.*`.*$", path.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_cited_is_in_the_repository(path: Path) -> None:
    """Chapter *Sources* has what the study's own notes had."""
    assert re.findall(r"\b(?:SOURCES|FINDINGS)\b", path.read_text(encoding="utf-8")) == []


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Every code cell's options and its lines of code, without comments and empty ones."""
    cells = re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    split = [cell.split("\n") for cell in cells if "[markdown]" not in cell[:12]]
    return [(first, [x for x in rest if x.strip() and x[0] != "#"]) for first, *rest in split]


def test_notebooks_tell_and_do_not_compute() -> None:
    lines = {path.stem: sum(len(code) for _, code in code_cells(path)) for path in NOTEBOOKS}
    assert sum(lines.values()) <= 90 * len(lines), lines


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_code_that_is_shown_fits_the_column(path: Path) -> None:
    folded = ("hide-", "remove-", '"parameters"', '"scales"', '"solution"')
    shown = [code for first, code in code_cells(path) if not any(tag in first for tag in folded)]
    assert [line for code in shown for line in code if len(line) > 88] == []


def test_every_part_has_three_exercises_with_solutions() -> None:
    text = (ROOT / "notebooks" / "60_exercises.py").read_text(encoding="utf-8")
    for part in text.split("# ## ")[1:]:
        assert len(re.findall(r"^# \*\*\d+ · ", part, re.MULTILINE)) == 3, part[:40]
        assert part.count('tags=["solution"]') == 3, part[:40]
