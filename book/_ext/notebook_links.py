"""Let notebooks link to each other by the name they have in `notebooks/`, `[gates](12_gates.py)`.

Such a link works in an editor and on a code host; in the book it leads to the executed page.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_LINK = re.compile(r"\]\((\d\d_\w+)\.py(#[\w-]+)?\)")


def to_executed(text: str) -> str:
    """Return Markdown or notebook text with links to text notebooks turned to executed ones."""
    return _LINK.sub(r"](\1.ipynb\2)", text)


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Rewrite the links of a page that is about to be parsed."""
    if page.startswith("book/executed/"):
        source[0] = to_executed(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
