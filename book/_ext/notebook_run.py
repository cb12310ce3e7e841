"""What an executed notebook says about the run that produced it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NotebookRun:
    """The `stocha` entry of an executed notebook's metadata; an empty string where it is silent."""

    run_id: str
    scale: str
    argued_scale: str
    source: str

    @property
    def below_argument(self) -> bool:
        """True if the page was rendered at another scale than the one it argues from."""
        return bool(self.argued_scale) and self.scale != self.argued_scale


def notebook_run(metadata: Mapping[str, Any]) -> NotebookRun | None:
    """Read a page's Sphinx metadata; None if the page is not an executed notebook.

    myst-nb hands notebook metadata over as JSON text, one string per key.
    """
    entry = metadata.get("stocha")
    if entry is None:
        return None
    fields = json.loads(entry) if isinstance(entry, str) else entry
    return NotebookRun(
        *(str(fields.get(name) or "") for name in ("run_id", "scale", "argued_scale", "source"))
    )
