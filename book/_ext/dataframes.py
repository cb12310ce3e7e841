"""Mark the numeric columns of HTML tables, so that the style sheet can align them to the right."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_BODY = re.compile(r"(<tbody\b[^>]*>)(.*?)(</tbody>)", re.DOTALL)
_HEAD = re.compile(r"(<thead\b[^>]*>)(.*?)(</thead>)", re.DOTALL)
_ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<(t[dh])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_SPAN = re.compile(r"\b(?:col|row)span\b")
_NUMBER = re.compile(
    r"[-+−]?(?:\d[\d,\u202f]*\.?\d*|\.\d+)(?:e[-+]?\d+)?\s*(?:%|×)?"
    r"(?:\s*±\s*[\d.]+(?:e[-+]?\d+)?\s*%?)?",
    re.IGNORECASE,
)
_MISSING = frozenset({"", "nan", "NaN", "None", "–", "—", "&lt;NA&gt;"})


def is_number(text: str) -> bool:
    """Return whether a cell's text is one number, perhaps with a unit sign or a ± part."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _numeric_columns(rows: list[list[str]]) -> frozenset[int]:
    """Return the columns in which every cell is a number or missing, and at least one a number."""
    columns = range(min((len(row) for row in rows), default=0))
    return frozenset(
        c
        for c in columns
        if any(is_number(row[c]) for row in rows)
        and all(is_number(row[c]) or row[c].strip() in _MISSING for row in rows)
    )


def _mark_row(row: str, columns: frozenset[int]) -> str:
    """Add class `num` to the cells of the given columns."""
    position = -1

    def mark(cell: re.Match[str]) -> str:
        nonlocal position
        position += 1
        tag, attributes, text = cell.groups()
        if position not in columns or "class=" in attributes:
            return cell.group()
        return f'<{tag}{attributes} class="num">{text}</{tag}>'

    return _CELL.sub(mark, row)


def mark_numbers(html: str) -> str:
    """Return `html` with `class="num"` on every cell and heading of each table's numeric columns.

    A table with merged cells is left alone: its columns cannot be told by counting.
    """

    def mark_table(table: re.Match[str]) -> str:
        body = _BODY.search(table.group())
        if body is None or _SPAN.search(body.group(2)):
            return table.group()
        rows = [[c.group(3) for c in _CELL.finditer(r)] for r in _ROW.findall(body.group(2))]
        columns = _numeric_columns(rows)

        def mark_part(part: re.Match[str]) -> str:
            opening, content, closing = part.groups()
            if _SPAN.search(content):
                return part.group()
            marked = _ROW.sub(lambda row: _mark_row(row.group(), columns), content)
            return opening + marked + closing

        return _BODY.sub(mark_part, _HEAD.sub(mark_part, table.group()))

    return _TABLE.sub(mark_table, html)


def mark_document(app: Sphinx, doctree: nodes.document) -> None:
    """Mark the tables of a freshly read page."""
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext()
        if node.get("format") == "html" and "<table" in text:
            node.replace_self(nodes.raw("", mark_numbers(text), **node.attributes))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", mark_document)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
