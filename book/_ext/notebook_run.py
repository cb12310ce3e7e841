"""What an executed notebook says about the run that produced it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NotebookRun:
    """The `stocha` entry of an executed notebook's metadata."""

    run_id: str
    scale: str
    reduced: bool
    """True if a parameter is smaller than at the full scale."""
    source: str
    """Path of the text notebook, relative to the repository's root."""


def notebook_run(metadata: Mapping[str, Any]) -> NotebookRun | None:
    """Read a page's Sphinx metadata; None if the page is not an executed notebook.

    myst-nb hands notebook metadata over as JSON text, one string per key.
    """
    entry = metadata.get("stocha")
    if entry is None:
        return None
    fields = json.loads(entry) if isinstance(entry, str) else entry
    return NotebookRun(fields["run_id"], fields["scale"], fields["reduced"], fields["source"])
