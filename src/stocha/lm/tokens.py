"""The tokenised corpus: built once, atomically, then memory-mapped."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tokenizers import Tokenizer

from stocha.base.files import digest, read_json
from stocha.lm import tokenizer as bpe
from stocha.lm.config import fingerprint
from stocha.lm.corpus import SPLITS, Source, manifest

_MANIFEST, _TOKENIZER = "manifest.json", "tokenizer.json"
CHUNK = 256
"""Documents encoded between two reports of progress."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tokens:
    """A tokenised corpus: `splits` name → uint16 ids, memory-mapped; documents end with `END`."""

    folder: Path
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    splits: dict[str, NDArray[np.uint16]]

    @property
    def hash(self) -> str:
        """What two runs must share to be comparable: the same text and the same tokens."""
        return str(self.manifest["tokens_hash"])


def tokenise(
    source: Source, vocabulary: int, cache: Path, progress: Progress | None = None
) -> Tokens:
    """Return the corpus of `source` as tokens, from `cache` if it was made of the same files.

    The folder appears under its final name only when it is complete; two processes never build the
    same one; a damaged one is built anew. Raises ValueError if a split that training needs is empty
    or `cache` cannot be written.
    Parameters: `vocabulary` of the tokenizer; `progress`, called with (documents done, all).
    """
    wanted = fingerprint([source.describe(), repr(source), source.stamp(), vocabulary])
    folder = cache / f"tokens-{wanted}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"tokens-{wanted}.lock"):
            if not _whole(folder):
                _build(source, vocabulary, folder, progress)
    except OSError as error:
        raise ValueError(f"STOCHA_CACHE={cache}: cannot be written: {error.strerror}") from error
    return load(folder)


def load(folder: Path) -> Tokens:
    """Return the tokenised corpus in `folder`; ValueError, one line, if it is damaged or absent."""
    if not _whole(folder):
        raise ValueError(f"corpus={folder}: damaged or absent; `tokenise` makes it anew")
    record = json.loads((folder / _MANIFEST).read_text())
    splits: dict[str, NDArray[np.uint16]] = {
        split: np.memmap(folder / f"{split}.bin", dtype=np.uint16, mode="r")
        for split, count in record["tokens"].items()
        if count
    }
    return Tokens(folder, bpe.read(folder / _TOKENIZER), record, splits)


def _whole(folder: Path) -> bool:
    """Whether every file of a corpus is what it was when it was built."""
    record = read_json(folder / _MANIFEST)
    if not isinstance(record, dict) or "sha256" not in record:
        return False
    try:
        return bool(record["sha256"] == _hashes(folder))
    except OSError:
        return False


def _hashes(folder: Path) -> dict[str, str]:
    names = (_TOKENIZER, *(f"{split}.bin" for split in SPLITS))
    return {name: digest((folder / name).read_bytes()) for name in names}


def _build(source: Source, vocabulary: int, folder: Path, progress: Progress | None) -> None:
    documents = list(source.documents())
    training = [document.text for document in documents if document.split == "train"]
    if not training:
        raise ValueError(f"corpus={source.describe()}: the training split is empty")
    tokenizer = bpe.train(training, vocabulary)
    tokenizer.encode_special_tokens = True
    end = tokenizer.token_to_id(bpe.END)
    record = manifest(source, documents)
    record["tokens_hash"] = fingerprint([record["hash"], tokenizer.to_str()])
    record["tokens"] = dict.fromkeys(SPLITS, 0)
    partial = Path(tempfile.mkdtemp(prefix=".tokens-", dir=folder.parent))
    try:
        outputs = {split: open(partial / f"{split}.bin", "wb") for split in SPLITS}  # noqa: SIM115
        for start in range(0, len(documents), CHUNK):
            batch = documents[start : start + CHUNK]
            for document, encoding in zip(
                batch, tokenizer.encode_batch_fast([d.text for d in batch]), strict=True
            ):
                ids = np.array([*encoding.ids, end], dtype=np.uint16)
                outputs[document.split].write(ids.tobytes())
                record["tokens"][document.split] += len(ids)
            if progress is not None:
                progress(min(start + CHUNK, len(documents)), len(documents))
        for output in outputs.values():
            output.close()
        tokenizer.save(str(partial / _TOKENIZER))
        record["sha256"] = _hashes(partial)
        (partial / _MANIFEST).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
