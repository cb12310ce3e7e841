"""The alternative text of a figure quotes the values that its notebook computed."""

import json

import pytest
from alt_text import with_values
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sphinx.errors import ExtensionError


def notebook(alt: str) -> str:
    glue = new_output(
        "display_data",
        {"application/papermill.record/text/plain": "'0.25'"},
        metadata={"scrapbook": {"name": "relu-end", "mime_prefix": "application/papermill"}},
    )
    cells = [
        new_code_cell("draw()", metadata={"mystnb": {"image": {"alt": alt}}}),
        new_code_cell("glue()", outputs=[glue]),
    ]
    return json.dumps(new_notebook(cells=cells))


def alt(text: str) -> str:
    image = json.loads(text)["cells"][0]["metadata"]["mystnb"]["image"]
    return str(image["alt"])


def test_a_name_becomes_the_value_that_the_notebook_computed() -> None:
    assert alt(with_values(notebook("ReLU ends at {relu-end}."))) == "ReLU ends at 0.25."


def test_nothing_else_changes() -> None:
    text = notebook("Dots on $x^{2}$ and a curve.")
    assert json.loads(with_values(text)) == json.loads(text)


def test_a_value_that_nothing_computes_is_an_error() -> None:
    with pytest.raises(ExtensionError, match="no glued value 'silu-end'"):
        with_values(notebook("SiLU ends at {silu-end}."))
