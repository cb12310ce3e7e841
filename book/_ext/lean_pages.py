"""What theme and generators leave in a finished page that HTML does not allow or nobody needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_SUMMARY = re.compile(r"<summary\b[^>]*>.*?</summary>", re.DOTALL)
_CODE_STYLE = re.compile(r"<style>pre \{.*?</style>", re.DOTALL)
_EMPTY_HEADING = re.compile(r"<th\b([^>]*)>\s*(?:<p>\s*</p>)?\s*</th>")
_SEARCH = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)


def mended(html: str) -> str:
    """A page's body with text, not paragraphs, in summaries; no empty heading; roles that exist;
    without the colours that IPython gives code it shows: the theme has its own.
    """
    html = _CODE_STYLE.sub("", html)
    html = _SUMMARY.sub(lambda found: re.sub(r"<(/?)p\b", r"<\1span", found.group()), html)
    return _EMPTY_HEADING.sub(r"<td\1></td>", html).replace(
        'role="doc-biblioentry"', 'role="listitem"'
    )


def mend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Mend the body of a page that is about to be written."""
    if "body" in context:
        context["body"] = mended(context["body"])


def drop_scripts(app: Sphinx, error: Exception | None) -> None:
    """Take out what every page loads for nothing.

    A script of 1.5 MB draws every icon anew that the theme's font has; the search index serves a
    search as one types, which is off: searching opens the page that loads it.
    """
    out = Path(app.outdir)
    icons = out / "_static" / "scripts" / "fontawesome.js"
    if error is not None or not icons.is_file():
        return
    icons.write_text("")
    for page in out.rglob("*.html"):
        if page.name != "search.html":
            page.write_text(_SEARCH.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", mend, priority=700)
    app.connect("build-finished", drop_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
