import os
import re
import shutil
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import jupytext
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).parents[2]
LICENCE = (ROOT / "LICENSE").read_text()

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def tiny(model_type: str = "llama", **changes) -> transformers.PreTrainedModel:
    """A random model of a family, in evaluation mode, always the same."""
    transformers.set_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **SIZES | changes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far enough from zero that activations differ
    return model.eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 64, (2, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a tiny model with a tokenizer of 300 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([LICENCE], trainer)
    folder = tmp_path_factory.mktemp("tiny")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    tiny(vocab_size=300).save_pretrained(folder)
    return folder


def run_page(name: str, root: Path) -> dict[str, Any]:
    """Run a chapter on the tables in `root / "results"`; its names, once all prose is filled."""
    for marker in ("_toc.yml", "pyproject.toml"):
        shutil.copy(ROOT / marker, root)
    page = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    sources = {
        kind: "\n".join(cell.source for cell in page.cells if cell.cell_type == kind)
        for kind in ("code", "markdown")
    }
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(root)
    try:
        exec(compile(sources["code"], name, "exec"), names)
    finally:
        os.chdir(before)
    glued = set(re.findall(r"{glue:text}`([^`]+)`", sources["markdown"]))
    assert glued <= names["run"]._metrics.keys()
    return names
