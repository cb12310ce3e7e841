"""The ledger as Markdown: a summary, and a block a claim that a narrow screen can show."""

from collections.abc import Hashable, Mapping

import pandas as pd

from stocha.claims.ledger import Verdict


def summary(table: pd.DataFrame) -> str:
    """A table: the ids of the claims under each verdict."""
    lines = ["| verdict | claims | |", "|---|---|---|"]
    for verdict in Verdict:
        ids = list(table.loc[table["verdict"] == verdict.value, "id"])
        if ids:
            lines.append(f"| {verdict.value} | {len(ids)} | {', '.join(ids)} |")
    return "\n".join(lines)


def claim_sections(table: pd.DataFrame) -> str:
    """One definition a claim: statement, verdict, a line an estimate, criterion, source, page."""
    return "\n\n".join(_section(row) for row in table.to_dict("records"))


def _section(row: Mapping[Hashable, str]) -> str:
    lines = [f"**{row['id']}** · {row['claim']}", f": **{row['shown']}**"]
    for begins, text in (("", row["estimate"]), ("beside it: ", row["beside"])):
        if text and text != "—":
            lines.append("\n".join(f"  - {begins}{part}" for part in text.split("; ")))
    details = [(name, row[name]) for name in ("criterion", "reported", "source")]
    if row["page"]:
        details.append(("page", f"[]({row['page']}.ipynb)"))
    lines.append("  " + " · ".join(f"*{name}*: {text}" for name, text in details if text != "—"))
    return "\n\n".join(lines)
