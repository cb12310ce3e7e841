"""Text to train on: code and prose of pinned packages, a folder, or a Hugging Face data set.

A source yields documents that each belong to one split. Which split is a pure function of the
document's name (or, for data sets, its position), so two machines with the same files agree.
"""

import ast
import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from glob import glob
from importlib import import_module, metadata, util
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from stocha.lm.config import fingerprint

SPLITS = ("train", "validation", "heldout", "prose")
"""`heldout`: code of a package that is not trained on; `prose`, where a source has it, likewise."""

PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "sklearn", "sympy")
HELD_OUT = "networkx"

GENERATED = ("_version", "version.py", "__config__", "_distributor_init", "_build_utils")
"""Parts of names of files that a wheel's build writes: they differ between platforms."""


@dataclass(frozen=True)
class Document:
    """One text, the split it belongs to, and its name within the source."""

    name: str
    text: str
    split: str


class Source(Protocol):
    """Where documents come from."""

    def describe(self) -> dict[str, Any]:
        """Return what identifies the source, as JSON."""

    def stamp(self) -> list[Any]:
        """Return, as JSON, what changes when the source's files do; told without reading them.

        Nothing where `describe` says it already, by a package's version.
        """
        return []

    def documents(self) -> Iterator[Document]:
        """Yield the documents, each text once, in an order that does not depend on the machine."""


def _split(name: str, validation: float) -> str:
    # not the hash that orders the files: a small corpus would be validation first
    position = int(hashlib.sha256(f"split {name}".encode()).hexdigest()[:8], 16) / 16**8
    return "validation" if position < validation else "train"


def _by_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _stamps(paths: Iterable[Path]) -> list[Any]:
    found = ((path, path.stat()) for path in paths)
    return [[path.as_posix(), about.st_size, about.st_mtime_ns] for path, about in found]


def _distinct(documents: Iterable[Document]) -> Iterator[Document]:
    seen: set[bytes] = set()
    for document in documents:
        key = hashlib.sha256(document.text.encode()).digest()
        if document.text.strip() and key not in seen:
            seen.add(key)
            yield document


@dataclass(frozen=True)
class PythonPackages(Source):
    """The `.py` files of installed packages; one package is held out whole as out-of-domain.

    Test suites, files written by a wheel's build and files above `max_file` bytes (tables of
    numbers) are left out. If there is more than `max_bytes` (`max_held_out`
    of the held-out package), the files kept are those whose names
    hash lowest, so that a smaller corpus is a subset of a larger one. Raises ValueError for a
    package that is not installed. Chapter *Protocol*.
    """

    packages: tuple[str, ...] = PACKAGES
    held_out: str = HELD_OUT
    max_bytes: int = 24_000_000
    max_held_out: int = 1_500_000
    max_file: int = 100_000
    validation: float = 0.02

    def describe(self) -> dict[str, Any]:
        versions = {
            name: metadata.version(metadata.packages_distributions()[name][0])
            for name in (*self.packages, self.held_out)
            if self._root(name)
        }
        return {"source": "python", "versions": versions, "max_bytes": self.max_bytes}

    def files(self) -> dict[str, Path]:
        """Return the files by name, before any limit on bytes."""
        files = {
            f"{package}/{path.relative_to(self._root(package)).as_posix()}": path
            for package in (*self.packages, self.held_out)
            for path in self._root(package).rglob("*.py")
        }
        return {name: path for name, path in files.items() if self._wanted(name, path)}

    def documents(self) -> Iterator[Document]:
        files = self.files()
        sizes = {name: path.stat().st_size for name, path in files.items()}
        kept: list[str] = []
        room = {True: self.max_bytes, False: self.max_held_out}
        for name in sorted(files, key=_by_hash):
            inside = not name.startswith(f"{self.held_out}/")
            if sizes[name] <= room[inside]:
                room[inside] -= sizes[name]
                kept.append(name)
        return _distinct(self._read(name, files[name]) for name in sorted(kept))

    def _root(self, package: str) -> Path:
        found = util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ValueError(f"packages={package!r}: no such package is installed")
        return Path(next(iter(found.submodule_search_locations)))

    def _wanted(self, name: str, path: Path) -> bool:
        return (
            "/tests/" not in name
            and not any(part in name for part in GENERATED)
            and 0 < path.stat().st_size <= self.max_file
        )

    def _read(self, name: str, path: Path) -> Document:
        held_out = name.startswith(f"{self.held_out}/")
        text = path.read_text(encoding="utf-8", errors="replace")
        return Document(name, text, "heldout" if held_out else _split(name, self.validation))


@dataclass(frozen=True)
class CodeAndProse(Source):
    """Python files, and the English of docstrings of other packages, so that no text comes twice.

    Parameters: `max_bytes` in all, `share` of them prose; `max_held_out` of each of the two
    packages held out, split `heldout` for code and `prose` for prose; others as in
    `PythonPackages`. A document of prose is the paragraphs of a file's docstrings that are
    sentences (`sentences`), each paragraph once. Raises ValueError for a package that is not
    installed. Claims L in `sources`; chapter *Protocol*.
    """

    code: tuple[str, ...] = ("matplotlib", "numpy", "pandas", "sklearn")
    prose: tuple[str, ...] = ("scipy", "sympy", "torch")
    held_out: str = HELD_OUT
    held_out_prose: str = "numba"
    max_bytes: int = 24_000_000
    share: float = 0.2
    max_held_out: int = 1_500_000
    validation: float = 0.02

    @property
    def _parts(self) -> tuple[PythonPackages, PythonPackages]:
        prose = round(self.share * self.max_bytes)
        of = partial(PythonPackages, max_held_out=self.max_held_out, validation=self.validation)
        code = of(self.code, self.held_out, self.max_bytes - prose)
        return code, of(self.prose, self.held_out_prose, prose)

    def describe(self) -> dict[str, Any]:
        return {"source": "code and prose", "parts": [part.describe() for part in self._parts]}

    def documents(self) -> Iterator[Document]:
        return _distinct(chain(self._parts[0].documents(), self._documents()))

    def _documents(self) -> Iterator[Document]:
        part, seen = self._parts[1], set[str]()
        room = {True: part.max_held_out, False: part.max_bytes}
        files = part.files()
        for name in sorted(files, key=_by_hash):
            held_out = name.startswith(f"{part.held_out}/")
            if not room[held_out]:
                continue
            code = files[name].read_text(encoding="utf-8", errors="replace")
            found = (text for docstring in docstrings(code) for text in sentences(docstring))
            new = [text for text in dict.fromkeys(found) if text not in seen]
            seen.update(new)
            text = "\n\n".join(new)
            size = len(text.encode())
            if size > room[held_out]:
                room[held_out] = 0  # full: what follows is not read
                continue
            room[held_out] -= size
            split = "prose" if held_out else _split(name, self.validation)
            yield Document(f"prose/{name}", text, split)


def docstrings(code: str) -> list[str]:
    """Return the docstrings of Python code, breadth first; none of what is no Python."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in other people's strings
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError):
            return []
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [docstring for docstring in found if docstring]


def sentences(markup: str) -> list[str]:
    """Return the paragraphs of reST or Markdown that are English sentences, each on one line.

    Headings, lists of parameters, tables, directives, examples and formulae are left out; of inline
    markup the text stays.
    """
    kept = []
    for paragraph in re.split(r"\n\s*\n", markup):
        text = " ".join(re.sub(r":[\w:]+:`~?|`+|\*\*?|_(?=\s|$)", "", paragraph).split())
        letters = sum(character.isalpha() or character in " ,.'" for character in text)
        if (
            len(text.split()) >= 8
            and re.match(r"[A-Z\"'(]", text)
            and text[-1] in ".:!?"
            and letters >= 0.93 * len(text)
            and not re.search(r">>>|::|\\|---|^\.\.|\s:\s", paragraph)
        ):
            kept.append(text)
    return kept


@dataclass(frozen=True)
class TextFolder(Source):
    """The text files of a folder and its subfolders.

    `suffixes` chooses files by their ending. Raises ValueError for a folder that does not exist,
    holds no such file, or holds a binary one.
    """

    folder: str
    suffixes: tuple[str, ...] = (".txt", ".md", ".py")
    validation: float = 0.03

    def describe(self) -> dict[str, Any]:
        return {"source": "folder", "suffixes": list(self.suffixes)}

    def stamp(self) -> list[Any]:
        return _stamps(self._paths())

    def documents(self) -> Iterator[Document]:
        return _distinct(self._read(Path(self.folder), path) for path in self._paths())

    def _paths(self) -> list[Path]:
        root = Path(self.folder)
        if not root.is_dir():
            raise ValueError(f"folder={self.folder}: no such folder")
        paths = sorted(p for p in root.rglob("*") if p.suffix in self.suffixes and p.is_file())
        if not paths:
            raise ValueError(f"folder={self.folder}: holds no {', '.join(self.suffixes)} file")
        return paths

    def _read(self, root: Path, path: Path) -> Document:
        content = path.read_bytes()
        name = path.relative_to(root).as_posix()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise ValueError(f"folder={self.folder}: {name} is not UTF-8 text")
        return Document(name, text, _split(name, self.validation))


@dataclass(frozen=True)
class HuggingFaceText(Source):
    """A text data set read by the `datasets` library (extra `lm`), local or streamed.

    Parameters: `path`, a data set's name, or a local loader such as "json" or "text" with
    `data_files`; `field`, the column with the text; `max_documents`, where to stop.
    """

    path: str
    field: str = "text"
    split: str = "train"
    name: str | None = None
    data_files: str | None = None
    streaming: bool = True
    max_documents: int = 100_000
    validation: float = 0.03

    def describe(self) -> dict[str, Any]:
        return {"source": "datasets", "path": self.path, "name": self.name, "split": self.split}

    def stamp(self) -> list[Any]:
        named = [Path(name) for name in glob(self.data_files or self.path, recursive=True)]
        inside = (path for folder in named if folder.is_dir() for path in folder.rglob("*"))
        return _stamps(sorted(path for path in (*named, *inside) if path.is_file()))

    def documents(self) -> Iterator[Document]:
        try:
            load_dataset = import_module("datasets").load_dataset
        except ImportError as missing:
            raise ValueError(
                "Hugging Face text needs the extra lm: pip install 'stocha[lm]'"
            ) from missing
        options = {"split": self.split, "data_files": self.data_files, "streaming": self.streaming}
        return _distinct(self._read(load_dataset(self.path, self.name, **options)))

    def _read(self, rows: Iterable[dict[str, Any]]) -> Iterator[Document]:
        for index, row in enumerate(rows):
            if index == self.max_documents:
                return
            if self.field not in row:
                raise ValueError(f"field={self.field!r}: the columns are {', '.join(row)}")
            name = f"{index:09d}"
            yield Document(name, str(row[self.field]), _split(name, self.validation))


def manifest(source: Source, documents: Iterable[Document]) -> dict[str, Any]:
    """Return what the corpus consists of: every document's hash, size and split, and one hash.

    Two machines with the same `hash` train on the same bytes.
    """
    files = [
        {
            "name": document.name,
            "split": document.split,
            "bytes": len(document.text.encode()),
            "sha256": hashlib.sha256(document.text.encode()).hexdigest(),
        }
        for document in documents
    ]
    return {"source": source.describe(), "hash": fingerprint(files), "files": files}
