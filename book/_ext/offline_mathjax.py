"""Typeset equations without a network: MathJax comes from the installed package, not a CDN.

Only a page with equations loads it: one script and its fonts, of the 31 MB that the package's own
Sphinx extension copies.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

SCRIPT = "tex-chtml-full.js"  # every TeX extension inside: none is fetched later
FONTS = "output/chtml/fonts/woff-v2"


def _package() -> Path:
    """Return the folder of MathJax's files in the installed package."""
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: pip install -e '.[book]'")
    return Path(spec.origin).parent / "static" / "mathjax"


def configure(app: Sphinx, config: Config) -> None:
    """Point Sphinx at the local script; the menu goes, for its speech engine is not shipped."""
    config["mathjax_path"] = f"mathjax/{SCRIPT}"
    config["mathjax3_config"] = {
        "options": {"enableMenu": False},
        "chtml": {"displayAlign": "left", "displayIndent": "2em"},
    }


def only_where_needed(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Take MathJax and its settings from a page without equations."""
    if 'class="math' not in context.get("body", ""):
        context["script_files"] = [
            script for script in context["script_files"] if "mathjax" not in str(script).lower()
        ]


def copy_files(app: Sphinx, error: Exception | None) -> None:
    """Copy script and fonts to `_static/mathjax`, once per output folder."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    if (target / SCRIPT).is_file():
        return
    package = _package()
    shutil.copytree(package / FONTS, target / FONTS, dirs_exist_ok=True)
    shutil.copyfile(package / SCRIPT, target / SCRIPT)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", configure, priority=900)
    # after Sphinx's own handler (500), which adds the scripts
    app.connect("html-page-context", only_where_needed, priority=800)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
