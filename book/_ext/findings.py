"""The directives `findings` and `claims`: rows of the ledger, as its page computed it just now.

    ```{findings} T Q
    ```

shows the claims whose id begins with T or Q: what is claimed, the verdict and our estimate, with a
link to the page that studies it; `claims` in its place what was reported, and no verdict.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LEDGER = "book/executed/01_claims/tables/ledger.csv"


class Claims(SphinxDirective):
    """A table of the ledger's rows whose id begins with one of the arguments."""

    widths: ClassVar[dict[str, int]] = {"claim": 65, "reported": 35}
    required_arguments = 1
    optional_arguments = 20
    final_argument_whitespace = False
    option_spec: ClassVar[dict[str, object]] = {}

    def run(self) -> list[nodes.Node]:
        """Read the ledger and return the table."""
        ledger = Path(self.env.srcdir) / LEDGER
        if not ledger.is_file():
            raise self.error(f"no {LEDGER}: `stocha book` writes it when it runs 01_claims")
        self.env.note_dependency(str(ledger))
        with ledger.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["id"].startswith((*self.arguments,))]
        group = nodes.tgroup(cols=len(self.widths))
        group += [nodes.colspec(colwidth=width) for width in self.widths.values()]
        group += nodes.thead("", _row(*(nodes.paragraph("", name) for name in self.widths)))
        body = nodes.tbody()
        body += [self.row_of(row) for row in rows]
        group += body
        return [nodes.table("", group, classes=["findings"])]

    def row_of(self, row: dict[str, str]) -> nodes.row:
        """The cells of one claim."""
        return _row(self.claim(row), nodes.paragraph("", row["reported"]))

    def claim(self, row: dict[str, str]) -> nodes.paragraph:
        """The claim in words, after its id."""
        return nodes.paragraph("", "", self._link(row), nodes.Text(f" {row['claim']}"))

    def _link(self, row: dict[str, str]) -> nodes.Node:
        """The claim's id, leading to the page that studies it, or to the ledger where none does."""
        label = nodes.strong("", row["id"])
        page = f"/book/executed/{row['page'] or '01_claims'}"
        return pending_xref(
            "",
            label,
            refdomain="std",
            reftype="doc",
            reftarget=page,
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )


class Findings(Claims):
    """The same rows with verdict and estimate."""

    widths: ClassVar[dict[str, int]] = {"claim": 42, "verdict": 18, "estimate": 40}

    def row_of(self, row: dict[str, str]) -> nodes.row:
        """The cells of one claim."""
        name = "-".join(("verdict", *row["verdict"].split()))
        verdict = nodes.inline("", row["shown"], classes=["verdict", name])
        estimate = nodes.paragraph("", row["estimate"])
        return _row(self.claim(row), nodes.paragraph("", "", verdict), estimate)


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
