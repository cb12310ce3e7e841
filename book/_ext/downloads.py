"""The download menu: a notebook's text source and its executed form, a prose page's Markdown.

The theme offers `_sources/<page>`, which for a notebook is the executed file alone; the source a
reader wants to edit is the `.py` it was made from, so that is copied into the build beside it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from notebook_run import notebook_run
from sphinx.application import Sphinx


@dataclass(frozen=True)
class Download:
    """One entry of the menu; `url` is relative to the page."""

    url: str
    suffix: str
    title: str

    @property
    def filename(self) -> str:
        """Name under which the browser saves it."""
        return PurePosixPath(self.url).name


def _text_source(app: Sphinx, page: str) -> Path | None:
    """Return the py:percent source of an executed notebook, relative to the repository root."""
    assert app.env is not None
    run = notebook_run(app.env.metadata.get(page, {}))
    if run is None:
        return None
    source = Path(run.source)
    return source if (Path(app.srcdir) / source).is_file() else None


def add_downloads(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Set `downloads` in the page's context and copy the text source into the build."""
    downloads: list[Download] = []
    sources = f"{context['pathto']('_sources', 1)}/"
    text_source = _text_source(app, page) if doctree is not None else None
    if text_source is not None:
        copy = Path(app.outdir) / "_sources" / text_source
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(app.srcdir) / text_source, copy)
        downloads.append(Download(sources + text_source.as_posix(), ".py", "Notebook as text"))
    if context.get("sourcename") and doctree is not None:
        suffix = PurePosixPath(context["sourcename"]).suffix
        title = "Executed notebook" if suffix == ".ipynb" else "Page as Markdown"
        downloads.append(Download(sources + context["sourcename"], suffix, title))
    context["downloads"] = downloads


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    # After the theme (501), whose own `header_buttons` the template no longer shows.
    app.connect("html-page-context", add_downloads, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
