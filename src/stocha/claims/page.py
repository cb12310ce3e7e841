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
    """One definition-like block a claim: statement, verdict, estimate, criterion, source, page."""
    return "\n\n".join(_section(row) for row in table.to_dict("records"))


def _section(row: Mapping[Hashable, str]) -> str:
    lines = [f"**{row['id']}** · {row['claim']}", "", f": **{row['verdict']}**"]
    parts = [("estimate", row["estimate"]), ("beside it", row["beside"])]
    parts.append(("reported", row["reported"]))
    parts += [("criterion", row["criterion"]), ("source", row["source"])]
    if row["page"]:
        parts.append(("page", f"[]({row['page']}.ipynb)"))
    details = [f"*{name}*: {text}" for name, text in parts if text and text != "—"]
    return "\n".join(lines) + "\n\n  " + " · ".join(details)
