"""Hand the run behind a page to the footer template (`book/templates/run.html`)."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from notebook_run import notebook_run
from sphinx.application import Sphinx


def add_run(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Set `notebook_run` in the page's context; None on prose pages."""
    assert app.env is not None
    context["notebook_run"] = notebook_run(app.env.metadata.get(page, {}))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", add_run)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
