"""One small trained model in the package, so that generation needs no training.

It is the campaign's StochA(0.7) + Swi+FT(0.1), seed 0, in half precision: it ends as a ReLU model.
`python -m stocha.lm.pretrained CHECKPOINT CORPUS` writes another in its place: the checkpoint of a
finished training run and the folder of its tokenised corpus, both under
`stocha.base.paths.cache_root()`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stocha.activations import Activation
from stocha.lm import checkpoint, tiny_relu, tokenizer
from stocha.lm.config import ModelConfig
from stocha.lm.convert import load_half, save_half
from stocha.lm.model import Decoder
from stocha.lm.tokens import load as load_tokens

FOLDER = Path(tiny_relu.__file__).parent
"""model.pt, tokenizer.json, about.json: 0.7 MB."""


def load(activation: str | Activation = "relu", folder: Path = FOLDER) -> tuple[Decoder, Tokenizer]:
    """Return the model, in evaluation mode, with any `activation`, and its tokenizer.

    Raises ValueError, one line, if a file is missing or truncated. Chapter *The trained model*.
    """
    model = load_half(folder / "model.pt", activation).eval()
    return model, tokenizer.read(folder / "tokenizer.json")


def about(folder: Path = FOLDER) -> dict[str, Any]:
    """Return what the model was trained on and how its training ended."""
    return dict(json.loads((folder / "about.json").read_text()))


def write(trained: Path, corpus: Path, folder: Path = FOLDER) -> None:
    """Keep the finished checkpoint `trained` and the tokenizer of `corpus` in `folder`.

    Raises ValueError, one line, if either cannot be read, or they do not belong together.
    """
    state = checkpoint.load(trained)
    if not (corpus / "manifest.json").is_file():
        raise ValueError(f"corpus={corpus}: not the folder of a tokenised corpus")
    tokens = load_tokens(corpus)
    if tokens.hash != state["corpus"]:
        raise ValueError(
            f"corpus={corpus}: is {tokens.hash}, the checkpoint was trained on {state['corpus']}"
        )
    model = Decoder(ModelConfig(**state["model_config"]))
    model.load_state_dict(state["model"])
    folder.mkdir(parents=True, exist_ok=True)
    save_half(folder / "model.pt", model)
    tokens.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    last = state["record"]["loss"][-max(1, state["step"] // 50) :]
    record = {
        "checkpoint": trained.name,
        "corpus": tokens.hash,
        "steps": state["step"],
        "training": state["config"],
        "train_loss": sum(last) / len(last),
    }
    (folder / "about.json").write_text(json.dumps(record, indent=1) + "\n")


def main(arguments: list[str]) -> int:
    """Run `python -m stocha.lm.pretrained CHECKPOINT CORPUS`; return the exit code."""
    if len(arguments) != 2:
        print("usage: python -m stocha.lm.pretrained CHECKPOINT CORPUS", file=sys.stderr)
        return 2
    try:
        write(Path(arguments[0]), Path(arguments[1]))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
