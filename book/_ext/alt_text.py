"""Let the alternative text of a figure quote computed values, as prose does with `glue`.

    # %% mystnb={"image": {"alt": "ReLU ends at {relu-end}, SiLU at {silu-end}."}}

quotes the values that the same notebook glues under `relu-end` and `silu-end`: a sentence that
cannot see the figure must not contradict it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_QUOTED = re.compile(r"\{([a-z][\w-]*)\}")
_GLUED = "application/papermill.record/text/plain"


def glued(notebook: Mapping[str, Any]) -> dict[str, str]:
    """The texts that the notebook's outputs glue, by name."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    return {
        output["metadata"]["scrapbook"]["name"]: ast.literal_eval("".join(output["data"][_GLUED]))
        for output in outputs
        if _GLUED in output.get("data", {})
    }


def with_values(text: str) -> str:
    """An executed notebook's JSON with the names in its alternative texts replaced by their values.

    Raises:
        ExtensionError: a name that nothing in the notebook glues.
    """
    notebook = json.loads(text)
    values = glued(notebook)

    def value(name: re.Match[str]) -> str:
        if name[1] not in values:
            raise ExtensionError(f"alternative text {name.string!r}: no glued value {name[1]!r}")
        return values[name[1]]

    for cell in notebook["cells"]:
        image = cell["metadata"].get("mystnb", {}).get("image", {})
        if "alt" in image:
            image["alt"] = _QUOTED.sub(value, image["alt"])
    return json.dumps(notebook)


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Fill in the alternative texts of an executed notebook that is about to be parsed."""
    if source[0].lstrip().startswith("{") and page.startswith("book/executed/"):
        source[0] = with_values(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
