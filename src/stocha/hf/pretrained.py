"""Models to start from, with their tokenizers."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from stocha.base.errors import UserError
from stocha.base.paths import cache_root
from stocha.base.streams import stream_seed
from stocha.lm.tokenizer import END

TOKENIZER = Path(__file__).parents[1] / "lm" / "tiny_relu" / "tokenizer.json"


def folder() -> Path:
    """Return where SmolLM2 is kept: below `$STOCHA_CACHE`, or `~/.cache/stocha`."""
    return cache_root() / "smollm2-135m-instruct"


def fetched() -> bool:
    """Return whether SmolLM2 is there."""
    return (folder() / "config.json").is_file()


def load(name: str) -> tuple[PreTrainedModel, Any]:
    """Return a model (float32, evaluation mode) and its tokenizer.

    Parameters: `name`, "smollm2"; "random", a Llama of 0.2 million weights that was never trained,
    to try what needs a model; or a folder or hub name that `from_pretrained` knows.
    Raises ValueError, one line, if there is none.
    """
    if name == "random":
        return _random()
    if name == "smollm2" and not fetched():
        raise UserError("model=smollm2: not here yet; allowed after: stocha model fetch smollm2")
    where = folder() if name == "smollm2" else name
    try:
        model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)
        return model, AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise UserError(f"model={name}: {str(error).strip().splitlines()[0]}") from error


def _random() -> tuple[PreTrainedModel, Any]:
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_file=str(TOKENIZER), eos_token=END)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(0, "init"))
        return LlamaForCausalLM(config).train(False), tokenizer
