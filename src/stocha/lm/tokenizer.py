"""Byte-level BPE, trained on the training split only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|end|>"
"""The token between two documents; id 0."""

SAMPLE = 4_000_000
"""Characters that the merges are learned from: ten times as many give nearly the same ones."""


def train(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Return a byte-level BPE of `vocabulary` tokens: `END`, the 256 bytes, then merges.

    A pure function of the texts; of more than `SAMPLE` characters, every k-th text is used.
    Raises ValueError for a vocabulary without room for the bytes, or larger than the texts fill.
    """
    if not 257 <= vocabulary <= 65_536:
        raise ValueError(f"vocabulary={vocabulary}: allowed: 257 to 65536 (16-bit token ids)")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.encode_special_tokens = True  # see `read`
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    stride = -(-sum(map(len, texts)) // SAMPLE) or 1
    tokenizer.train_from_iterator(texts[::stride], trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(
            f"vocabulary={vocabulary}: the text has only {tokenizer.get_vocab_size()} tokens"
        )
    return tokenizer


def read(path: Path) -> Tokenizer:
    """Return the tokenizer in `path`, to which an `END` that a text spells out is text.

    That is a setting of the object and not in its file. Raises ValueError for a damaged file.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ValueError(f"tokenizer={path}: {error}") from error
    tokenizer.encode_special_tokens = True
    return tokenizer


def byte_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return how many bytes of text each token stands for [vocabulary]; `END` for none.

    The byte-level alphabet writes one character a byte.
    """
    size = tokenizer.get_vocab_size()
    names = [str(tokenizer.id_to_token(token)) for token in range(size)]
    return np.array([0 if name == END else len(name) for name in names])
