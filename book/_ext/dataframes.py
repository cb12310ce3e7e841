"""Mend the HTML tables that pandas writes.

Numeric columns are marked, so that the style sheet can align them to the right; the minus of a
number becomes "−", as in the prose around them; the names of the index stand in the row of the
column names, for a table whose headings are empty is read out as nothing.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx

_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_BODY = re.compile(r"(<tbody\b[^>]*>)(.*?)(</tbody>)", re.DOTALL)
_HEAD = re.compile(r"(<thead\b[^>]*>)(.*?)(</thead>)", re.DOTALL)
_ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<(t[dh])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_EMPTY = re.compile(r"<th\b([^>]*)>\s*</th>")
_STYLE = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)
_COLSPAN = re.compile(r"\bcolspan\b")
_NUMBER = re.compile(
    r"[-+−]?(?:\d[\d,\u202f]*\.?\d*|\.\d+)(?:e[-−+]?\d+)?\s*(?:%|×)?"
    r"(?:\s*±\s*[\d.]+(?:e[-+]?\d+)?\s*%?)?",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?<![\w−–-])-(?=\d)|(?<=\de)-(?=\d)")
_MISSING = frozenset({"", "nan", "NaN", "None", "–", "—", "&lt;NA&gt;"})


def is_number(text: str) -> bool:
    """Return whether a cell's text is one number, perhaps with a unit sign or a ± part."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _numeric_columns(rows: list[list[str]]) -> frozenset[int]:
    """Return the columns in which every cell is a number or missing, and at least one a number.

    Columns are counted from the right: pandas merges cells of the index, on the left, over several
    rows, and a row under a merged cell is shorter.
    """
    columns = range(max((len(row) for row in rows), default=0))
    cells = {c: [row[-1 - c].strip() for row in rows if len(row) > c] for c in columns}
    return frozenset(
        c
        for c, texts in cells.items()
        if any(is_number(text) for text in texts)
        and all(is_number(text) or text in _MISSING for text in texts)
    )


def _mark_row(row: str, columns: frozenset[int]) -> str:
    """Add class `num` to the cells of the given columns, counted from the right."""
    left = len(_CELL.findall(row))

    def mark(cell: re.Match[str]) -> str:
        nonlocal left
        left -= 1
        tag, attributes, text = cell.groups()
        if left not in columns or "class=" in attributes:
            return cell.group()
        return f'<{tag}{attributes} class="num">{text}</{tag}>'

    return row if _COLSPAN.search(row) else _CELL.sub(mark, row)


def mark_numbers(html: str) -> str:
    """Return `html` with `class="num"` on every cell and heading of each table's numeric columns.

    A heading over several columns is left alone, as is a table whose body merges columns.
    """

    def mark_table(table: re.Match[str]) -> str:
        body = _BODY.search(table.group())
        if body is None or _COLSPAN.search(body.group(2)):
            return table.group()
        rows = [[c.group(3) for c in _CELL.finditer(r)] for r in _ROW.findall(body.group(2))]
        columns = _numeric_columns(rows)

        def mark_part(part: re.Match[str]) -> str:
            opening, content, closing = part.groups()
            marked = _ROW.sub(lambda row: _mark_row(row.group(), columns), content)
            return opening + marked + closing

        return _BODY.sub(mark_part, _HEAD.sub(mark_part, table.group()))

    return _TABLE.sub(mark_table, html)


def name_index(html: str) -> str:
    """Return `html` without pandas' own style, and without a row of its own for index names.

    Where columns have several levels, the row stays and its empty headings become plain cells.
    """

    def merge(head: re.Match[str]) -> str:
        opening, content, closing = head.groups()
        rows = _ROW.findall(content)
        above, below = (_CELL.findall(row) for row in (rows[-2:] if rows[1:] else [*rows, ""]))
        names = [text for _, _, text in below if text.strip()]
        empty = [text for _, _, text in above[: len(names)] if not text.strip()]
        if names and len(above) == len(below) and len(empty) == len(names):
            left = iter(names)
            named = _CELL.sub(lambda cell: f"<th>{next(left, cell[3])}</th>", rows[-2], len(names))
            content = content.replace(rows[-1], "").replace(rows[-2], named)
        return opening + _EMPTY.sub(r"<td\1></td>", content) + closing

    bare = _STYLE.sub("", html).replace("&nbsp;</th>", "</th>")
    bare = bare.replace('<table border="1"', "<table").replace(' halign="left"', "")
    return _TABLE.sub(lambda table: _HEAD.sub(merge, table.group()), bare)


def write_minus(html: str) -> str:
    """Return `html` with "−" for the minus of every number in a table's cells."""

    def write(cell: re.Match[str]) -> str:
        tag, attributes, text = cell.groups()
        return f"<{tag}{attributes}>{_MINUS.sub('−', text)}</{tag}>"

    return _TABLE.sub(lambda table: _CELL.sub(write, table.group()), html)


def mark_document(app: Sphinx, doctree: nodes.document) -> None:
    """Mark the tables of a freshly read page."""
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext()
        if node.get("format") == "html" and "<table" in text:
            node.replace_self(
                nodes.raw("", write_minus(mark_numbers(name_index(text))), **node.attributes)
            )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", mark_document)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
