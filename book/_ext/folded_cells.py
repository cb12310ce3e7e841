"""Fold an executed notebook's parameters, what each scale sets, and solutions, each under a line
that says so.

A reader meets the page's question before its declarations, and an exercise before its solution.
"""

from __future__ import annotations

import json

from sphinx.application import Sphinx

FOLDS = {
    "parameters": ("hide-input", "The parameters of this page"),
    "scales": ("hide-input", "What each scale sets"),
    "solution": ("hide-cell", "Solution"),
}


def folded(text: str) -> str:
    """An executed notebook's JSON with the cells folded whose tags are in FOLDS."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        for tag, (fold, prompt) in FOLDS.items():
            if tag in tags and not any(each.startswith("remove-") for each in tags):
                cell["metadata"]["tags"] = sorted({*tags, fold})
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
