"""What an experiment returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

Progress = Callable[[int, int, str], None]
"""Called with (done, total, unit)."""


@dataclass(frozen=True)
class Result:
    """Tidy tables by name, and single values.

    Parameters: `tables`, name → frame with flat columns, one row an observation; `metrics`, name →
    a JSON-able value. Everything that a page shows of an experiment comes from here.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
