"""Fold the parameters of an executed notebook, and what each scale sets, under a line that says so.

A reader meets the page's question before its declarations, in every notebook alike.
"""

from __future__ import annotations

import json

from sphinx.application import Sphinx

PROMPTS = {"parameters": "The parameters of this page", "scales": "What each scale sets"}


def folded(text: str) -> str:
    """An executed notebook's JSON with the cells tagged `parameters` and `scales` folded."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        for tag, prompt in PROMPTS.items():
            if tag in tags and not any(each.startswith("remove-") for each in tags):
                cell["metadata"]["tags"] = sorted({*tags, "hide-input"})
                own = cell["metadata"].setdefault("mystnb", {})
                own |= {"code_prompt_show": prompt, "code_prompt_hide": prompt}
    return json.dumps(notebook)


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Fold the cells of an executed notebook that is about to be parsed."""
    if source[0].lstrip().startswith("{") and page.startswith("book/executed/"):
        source[0] = folded(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
