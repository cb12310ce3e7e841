"""What the runner and the notebook it executes agree on: where to write, how far it is, its scale.

Kept apart from `session` so that the command line does not load pandas and IPython to start.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stocha.base.files import read_json

RUN_FOLDER = "STOCHA_RUN_FOLDER"
"""Environment variable: the folder that a notebook under the runner writes to."""
FRESH = "STOCHA_FRESH"
"""Environment variable: set where results are to be computed, and models trained, anew."""
PROGRESS = "progress.json"
CODE = "code.json"
"""File → hash of the code that numbers come from, when the run was asked for."""
RESULTS = "results.json"
"""What the page took from experiments: their identities, names of tables and metrics."""


def read_progress(folder: Path) -> tuple[int, int, str] | None:
    """How far the run that writes to `folder` says it is: done, total, unit."""
    state = read_json(folder / PROGRESS)
    return (state["done"], state["total"], state["unit"]) if state else None


def reduced_at(
    scales: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Parameters that differ from the full scale: name → (value here, value at full scale)."""
    return {
        name: (values[name], full)
        for name, full in scales.get("full", {}).items()
        if values[name] != full
    }


def badge_text(scale: str, reduced: Mapping[str, tuple[Any, Any]]) -> str:
    """One line of Markdown: full size, or what is smaller here than at the full scale."""
    if not reduced:
        return f"*Scale `{scale}`: the full size of this study.*"
    changes = "; ".join(
        f"{name} {here} instead of {full}" for name, (here, full) in reduced.items()
    )
    return f"*Scale `{scale}`, reduced: {changes}.*"
