"""Our reading of text notebooks against jupytext's, which is the definition of the format."""

from pathlib import Path

import jupytext
import pytest

from stocha.study.percent import read_cells, read_header

NOTEBOOKS = sorted(Path(__file__).parents[2].glob("notebooks/*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_and_header_are_those_that_jupytext_reads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = jupytext.reads(text, fmt="py:percent")
    found = read_cells(text)
    assert [(c.markdown, c.source) for c in found] == [
        (c.cell_type == "markdown", c.source.strip("\n")) for c in expected.cells
    ]
    tags = [tuple(c.metadata.get("tags", ())) for c in expected.cells]
    assert [c.tags for c in found] == tags
    assert read_header(text).get("stocha", {}) == expected.metadata.get("stocha", {})


def test_a_file_without_header_or_cells_has_none() -> None:
    assert read_cells("x = 1\n") == []
    assert read_header("x = 1\n") == {}


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (read_cells, '# %% tags=["a" "b"]\nx = 1\n', "not a list of strings"),
        (read_header, "# ---\n# jupyter: [\n# ---\n", "header: not YAML"),
    ],
)
def test_what_cannot_be_read_is_one_line(read, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        read(text)
    assert "\n" not in str(error.value)
