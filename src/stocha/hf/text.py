"""Text for a pretrained model: prose that Python files carry, and any text as its tokens."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stocha.lm.corpus import Document

Ids = NDArray[np.uint32]


def docstrings(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the docstrings of Python files, one document a file, in the order of the file.

    A file that is no Python, or has no docstring, is left out.
    """
    for document in documents:
        try:
            tree = ast.parse(document.text)
        except (SyntaxError, ValueError):
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
        text = "\n\n".join(filter(None, found))
        if text.strip():
            yield Document(document.name, text, document.split)


def tokens(documents: Iterable[Document], tokenizer: Any, limit: int | None = None) -> Ids:
    """Return the documents as one row of token ids, each document ended by the end token.

    They come in the order of their names' hashes, so that the first `limit` tokens are a mix of
    all. Raises ValueError if there are none.
    """
    ordered = sorted(documents, key=lambda d: hashlib.sha256(d.name.encode()).digest())
    parts: list[NDArray[np.uint32]] = []
    found = 0
    for document in ordered:
        if limit is not None and found >= limit:
            break
        ids = tokenizer(document.text, add_special_tokens=False)["input_ids"]
        parts.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.uint32))
        found += len(parts[-1])
    if not parts:
        raise ValueError("text: allowed: at least one document that is not empty")
    return np.concatenate(parts)[:limit]
