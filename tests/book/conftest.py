"""The built book that these tests look at, and the paths to its extensions and to `book_pages`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book" / "_ext"), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def book_html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built pages: the one STOCHA_BOOK_HTML names, else built at scale smoke."""
    given = os.environ.get("STOCHA_BOOK_HTML")
    if given:
        html = (ROOT / given).resolve()
        assert (html / "index.html").is_file(), f"STOCHA_BOOK_HTML={given}: no index.html in it"
        return html
    output = tmp_path_factory.mktemp("book")
    stocha = Path(sys.executable).with_name("stocha")
    command = [stocha, "book", "--scale", "smoke", "--output", output]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    index = next(output.rglob("searchindex.js"), None)
    assert index is not None, f"stocha book left no built pages in {output}"
    return index.parent
