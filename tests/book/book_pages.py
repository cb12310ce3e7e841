"""Read the book's contents and its built pages, with the standard library's parser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

# What a browser fetches by itself when it opens a page, as (tag, attribute).
LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
    ("video", "src"),
    ("object", "data"),
}
LOADING_LINKS = {"stylesheet", "icon", "shortcut icon", "preload", "prefetch", "modulepreload"}
VERBATIM = {"pre", "code", "script", "style", "title"}


def toc_pages() -> list[str]:
    """Every page of `_toc.yml` in reading order, as a path without ending."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *_files(toc)]


def notebook_pages() -> list[str]:
    """The pages of `_toc.yml` that are executed notebooks."""
    return [page for page in toc_pages() if (ROOT / "notebooks" / f"{Path(page).name}.py").exists()]


def _files(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "file" in node:
            yield node["file"]
        for child in node.values():
            yield from _files(child)
    elif isinstance(node, list):
        for child in node:
            yield from _files(child)


@dataclass
class Figure:
    """A figure of a page: its images' alternative texts and its caption."""

    alts: list[str] = field(default_factory=list)
    caption: str = ""


class Page(HTMLParser):
    """One parsed page: ids, links, what it loads, its figures, its equations, its prose."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.figures: list[Figure] = []
        self.problems: list[str] = []
        self.prose = ""
        self.math = 0
        self._open: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in LOADING_LINKS:
            self.loads.append(attributes["href"])
        self.loads += [v for name, v in attributes.items() if (tag, name) in LOADED]
        if tag == "figure":
            self.figures.append(Figure())
        if tag == "img" and "figure" in self._open:
            self.figures[-1].alts.append(attributes.get("alt", ""))
        classes = set(attributes.get("class", "").split())
        self.math += "math" in classes
        if {"problematic", "system-message"} & classes:
            self.problems.append(attributes["class"])
        if tag not in {"img", "br", "hr", "meta", "link", "input", "col", "source", "wbr"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "figcaption" in self._open:
            self.figures[-1].caption += data
        if not VERBATIM & set(self._open):
            self.prose += data
