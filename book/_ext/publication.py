"""Who made the book, how it is cited and where its pages can be run.

Authors, version and date are those of `CITATION.cff`, which lies at the site's root too.
`repository: url:` in `_config.yml` is the one setting that links pages to their source and puts
Binder and Colab into the header of those that are notebooks. Binder opens the text notebook.
Colab opens nothing but notebooks of a branch: one is written for every page, its first cell
installs the library, and `.github/workflows/book.yml` pushes them to `COLAB`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
import yaml
from docutils import nodes
from notebook_run import notebook_run
from sphinx.application import Sphinx
from sphinx.config import Config

COLAB = "colab"
"""Branch of the notebooks that Colab opens, and their folder in `_sources`."""


@dataclass(frozen=True)
class Citation:
    """What `CITATION.cff` says of the study."""

    title: str
    authors: str
    persons: str
    """The authors as BibTeX writes them: a group in braces of its own."""
    version: str
    date: str
    """ISO 8601."""

    @classmethod
    def read(cls, path: Path) -> Citation:
        """Read a CFF file."""
        cff = yaml.safe_load(path.read_text(encoding="utf-8"))
        names, persons = [], []
        for each in cff["authors"]:
            name = each.get("name") or f"{each['given-names']} {each['family-names']}"
            names.append(name)
            persons.append(f"{{{name}}}" if "name" in each else name)
        by, bibtex = ", ".join(names), " and ".join(persons)
        return cls(cff["title"], by, bibtex, str(cff["version"]), str(cff["date-released"]))

    def bibtex(self, url: str = "") -> str:
        """A BibTeX entry; `url`, the repository's."""
        fields = {"author": self.persons, "title": self.title, "year": self.date[:4]}
        fields |= {"version": self.version} | ({"url": url} if url else {})
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@software{{stocha,\n{lines}\n}}"


def off_without_repository(app: Sphinx, config: Config) -> None:
    """Drop what the theme cannot launch: it fails without a repository, and warns of Colab's."""
    options = config.html_theme_options
    if not options.get("repository_url"):
        options.pop("launch_buttons", None)
    elif "github" not in options["repository_url"]:
        options.get("launch_buttons", {}).pop("colab_url", None)


def launches(buttons: Sequence[dict[str, Any]], page: str, source: str) -> dict[str, str]:
    """Addresses by service: the theme's, led from the page, which no branch has, to its notebook.

    Parameters: `buttons`, the theme's header buttons; `page`, the document; `source`, path of its
    text notebook.
    """
    found = {
        button["text"]: button["url"]
        for group in buttons
        if group.get("label") == "launch-buttons"
        for button in group["buttons"]
    }
    if "Binder" in found:
        found["Binder"] = found["Binder"].replace(f"{page}.ipynb", source)
    if "Colab" in found:
        root = found["Colab"].rpartition("/blob/")[0]
        found["Colab"] = f"{root}/blob/{COLAB}/{PurePosixPath(page).name}.ipynb"
    return found


def for_colab(notebook: Path, url: str) -> nbformat.NotebookNode:
    """An executed notebook after a cell that brings library and recorded tables from `url`."""
    opened: nbformat.NotebookNode = nbformat.read(notebook, as_version=4)
    setup = f"!git clone --quiet --depth 1 {url} stocha\n%cd stocha\n%pip install --quiet ."
    opened.cells.insert(0, nbformat.v4.new_code_cell(setup, id="setup"))
    return opened


def add_publication(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Set `citation`, `repository` and `launches` in the page's context."""
    assert app.env is not None
    url = context["repository"] = app.config.html_theme_options.get("repository_url", "")
    context["citation"] = Citation.read(Path(app.srcdir) / "CITATION.cff")
    run = notebook_run(app.env.metadata.get(page, {}))
    # a sweep's page is made from a template, which says nothing without the sweep's name
    if run is None or PurePosixPath(run.source).stem != PurePosixPath(page).name:
        return
    context["launches"] = launches(context["header_buttons"], page, run.source)
    if "Colab" in context["launches"]:
        copy = Path(app.outdir) / "_sources" / COLAB / f"{PurePosixPath(page).name}.ipynb"
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(for_colab(Path(app.srcdir) / f"{page}.ipynb", url), copy)


def write_citation(app: Sphinx, error: Exception | None) -> None:
    """Put `CITATION.cff` at the site's root."""
    if error is None and app.builder.format == "html":
        shutil.copy(Path(app.srcdir) / "CITATION.cff", app.outdir)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", off_without_repository)
    app.connect("html-page-context", add_publication, priority=600)  # after the theme (501)
    app.connect("build-finished", write_citation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
