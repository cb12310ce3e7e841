"""A small corpus that needs no package: generated text, tokenised once for the session."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stocha.lm.corpus import TextFolder
from stocha.lm.tokens import Tokens, tokenise

WORDS = ("alpha", "beta", "gamma", "delta", "return", "def", "import", "(", ")", ":", "=", "0", "1")


def write_texts(folder: Path, files: int = 60, seed: int = 0) -> Path:
    """Write `files` text files of random words into `folder`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(40)]
        (folder / f"{number:03d}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tmp_path_factory.mktemp("texts")
    source = TextFolder(str(write_texts(folder / "texts")), validation=0.2)
    return tokenise(source, 280, folder / "cache")


@pytest.fixture(name="write_texts", scope="session")
def writer() -> Callable[..., Path]:
    return write_texts
