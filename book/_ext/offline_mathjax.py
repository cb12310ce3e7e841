"""Typeset equations without a network: MathJax comes from the installed package, not a CDN.

The package's own Sphinx extension copies all of its 31 MB; a page loads one script and its fonts.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

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
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
