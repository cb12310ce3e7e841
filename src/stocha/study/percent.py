"""What the runner must know of a py:percent notebook before it runs it, read without jupytext.

Jupytext imports the Jupyter server, which takes longer than planning a thousand points. It still
makes every notebook object; a test holds the two readings of all notebooks together.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_CELL = re.compile(r"^# %%(?P<options>(?: .*)?)$", re.MULTILINE)
_TAGS = re.compile(r"\btags=(\[[^\]]*\])")
_HEADER = re.compile(r"\A# ---\n(?P<yaml>(?:#.*\n)*?)# ---\n")


@dataclass(frozen=True)
class Cell:
    """A cell's source as it stands in the file, comment signs of Markdown removed."""

    markdown: bool
    tags: tuple[str, ...]
    source: str


def read_header(text: str) -> Mapping[str, Any]:
    """The `jupyter` mapping of the YAML header; empty without one.

    Raises:
        ValueError: the header is not YAML.
    """
    found = _HEADER.match(text)
    if found is None:
        return {}
    try:
        header = yaml.safe_load(re.sub(r"^# ?", "", found["yaml"], flags=re.MULTILINE))
    except yaml.YAMLError as error:
        raise ValueError(f"header: not YAML: {' '.join(str(error).split())}") from None
    own = header.get("jupyter") if isinstance(header, dict) else None
    return own if isinstance(own, dict) else {}


def read_cells(text: str) -> list[Cell]:
    """The cells in order; what stands before the first is not one.

    Raises:
        ValueError: the tags of a cell are not a list of strings.
    """
    marks = list(_CELL.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        _cell(mark["options"], text[mark.end() : end])
        for mark, end in zip(marks, ends, strict=False)
    ]


def _cell(options: str, body: str) -> Cell:
    markdown = options.lstrip().startswith("[markdown]")
    source = body.strip("\n")
    if markdown:
        source = re.sub(r"^# ?", "", source, flags=re.MULTILINE)
    found = _TAGS.search(options)
    try:
        tags = json.loads(found[1]) if found else []
    except json.JSONDecodeError:
        raise ValueError(f"cell tags {found[1] if found else ''}: not a list of strings") from None
    return Cell(markdown, tuple(map(str, tags)), source)
