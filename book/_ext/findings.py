"""What was found, on prose pages, and as data: computed when the book is built.

    ```{found} sentence
    ```

is the study in one sentence; `figures` and `findings` in its place the two figures and the five
findings of the front page. `{claims} T` is a table of the claims whose id begins with T, and what
was reported. `claims.json`, at the site's root, has every claim for those who collect them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from stocha.claims import front, page
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Claim, Tables, as_data


class Found(SphinxDirective):
    """The sentence, the figures or the findings of the front page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Compute it from the recorded tables."""
        tables = Tables(Path(self.env.srcdir) / "results")
        shown = {"sentence": self.sentence, "figures": self.figures, "findings": self.findings}
        return [shown[self.arguments[0]](tables)]

    def sentence(self, tables: Tables) -> nodes.Node:
        """One paragraph."""
        return nodes.paragraph("", front.sentence(tables), classes=["found"])

    def figures(self, tables: Tables) -> nodes.Node:
        """Two pictures side by side, each with the page that has its data."""
        both = nodes.container(classes=["found-figures"])
        for source, (name, caption) in front.FIGURES.items():
            one = nodes.container()
            one += nodes.raw("", getattr(front, name)(tables), format="html")
            one += nodes.paragraph("", f"{caption} Data: ", to_page(self, source))
            both += one
        return both

    def findings(self, tables: Tables) -> nodes.Node:
        """A list: sentence, glyph, estimate, link."""
        items = nodes.bullet_list(classes=["found"])
        for each in front.findings(tables):
            text = f" {page.numbers(each.part)} · {each.claim.id}, "
            under = nodes.paragraph("", "", nodes.raw("", page.glyph(each.part), format="html"))
            under += [nodes.Text(text), to_page(self, each.claim.page)]
            items += nodes.list_item("", nodes.paragraph("", each.text), under)
        return items


class Claims(SphinxDirective):
    """A table of the claims whose id begins with the argument."""

    required_arguments = 1
    widths: ClassVar[dict[str, int]] = {"claim": 65, "reported": 35}

    def run(self) -> list[nodes.Node]:
        """The table, as sources give the claims: without a verdict."""
        group = nodes.tgroup(cols=len(self.widths))
        group += [nodes.colspec(colwidth=width) for width in self.widths.values()]
        group += nodes.thead("", _row(*(nodes.paragraph("", name) for name in self.widths)))
        body = nodes.tbody()
        body += [self.row(each) for each in CLAIMS if each.id.startswith(self.arguments[0])]
        group += body
        return [nodes.table("", group)]

    def row(self, claim: Claim) -> nodes.row:
        """The claim in words after its id, which leads to the page that studies it."""
        link = to_page(self, claim.page, nodes.strong("", claim.id))
        said = nodes.paragraph("", "", link, nodes.Text(f" {claim.statement}"))
        return _row(said, nodes.paragraph("", claim.reported))


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def to_page(
    directive: SphinxDirective, name: str | None, label: nodes.Node | None = None
) -> nodes.Node:
    """A link to an executed notebook, by its title where no label is given; else to *Claims*."""
    return pending_xref(
        "",
        label or nodes.inline(),
        refdomain="std",
        reftype="doc",
        reftarget=f"/book/executed/{name or '01_claims'}",
        refdoc=directive.env.docname,
        refexplicit=label is not None,
        refwarn=True,
    )


def write_data(app: Sphinx, error: Exception | None) -> None:
    """Write `claims.json` to the site's root."""
    if error is None and app.builder.format == "html":
        data = as_data(CLAIMS, Tables(Path(app.srcdir) / "results"))
        text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False)
        (Path(app.outdir) / "claims.json").write_text(text + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_directive("found", Found)
    app.connect("build-finished", write_data)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
