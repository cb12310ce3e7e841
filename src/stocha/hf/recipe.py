"""The recipe as one call: a model and a text in, a model with ReLU and its zeros out.

Chapter *Use it on your own model*.
"""

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stocha.arms import SILU, Phase, SwiFT
from stocha.base.errors import UserError
from stocha.base.files import locked, read_json, write_json
from stocha.base.identity import science
from stocha.base.result import Progress
from stocha.hf.exchange import family
from stocha.hf.pretrained import load
from stocha.hf.text import tokens as tokens_of
from stocha.hf.training import Course, finetune
from stocha.lm.corpus import Document, TextFolder

ABOUT, STATE = "finetune.json", "finetune.state"
TEXT = (".txt", ".md", ".rst", ".py")


def relufy(
    model: str,
    text: str | Path,
    output: Path,
    *,
    alpha: float = 1.0,
    stocha: float | None = None,
    tokens: float = 1e6,
    batch: int = 4,
    context: int = 256,
    lr: float = 3e-4,
    seed: int = 0,
    precision: str = "float32",
    progress: Progress | None = None,
) -> Path:
    """Fine-tune by (StochA(p) +) Swi+FT(alpha) and return the folder of the finished model.

    By default ReLU is there from the first step, which was best in chapter *Making it sparse*.

    Parameters: `model`, "smollm2", a folder, or a name that `from_pretrained` knows; `text`, a
    text file, or a folder of them (.txt, .md, .rst, .py); `stocha`, p before the switch, None for
    SiLU; `tokens` to train on, rounded to whole steps; the rest as in `Course`. `output` holds the
    run while it goes on; the same call continues an interrupted one, and does nothing where it is
    finished. The result loads with plain `AutoModelForCausalLM.from_pretrained(output)`.
    Raises ValueError, one line, for a model, text or value that is not allowed, and for an output
    that holds another run.
    """
    if not 1 <= tokens < math.inf:
        raise UserError(f"tokens={tokens}: allowed: a number in [1, inf)")
    if stocha is not None and alpha == 1:
        raise UserError(f"stocha={stocha}: allowed: with alpha below 1, else no step draws")
    steps = max(1, round(tokens / max(1, batch * context)))
    before = SILU if stocha is None else Phase("stocha", (("p", stocha),))
    course = Course(
        SwiFT(alpha, before).name, steps, batch, context, lr, precision=precision, seed=seed
    )
    documents = _documents(Path(text))
    about: dict[str, Any] = {
        "model": model,
        "course": asdict(course),
        "text": hashlib.sha256(json.dumps([d.text for d in documents]).encode()).hexdigest(),
        "code": science("stocha.hf.training"),
    }
    output.mkdir(parents=True, exist_ok=True)
    with locked(output / ".lock"):
        found = read_json(output / ABOUT)
        changed = [key for key in about if found is not None and found.get(key) != about[key]]
        if changed or (found is None and any(output.glob("[!.]*"))):
            what = f"a run with another {' and '.join(changed)}" if changed else "other files"
            raise UserError(f"output={output}: holds {what}; allowed: a new folder")
        write_json(output / ABOUT, about)
        if not (output / "config.json").is_file():
            _train(course, model, documents, output, progress)
    return output


def _train(
    course: Course, name: str, documents: list[Document], output: Path, progress: Progress | None
) -> None:
    model, tokenizer = load(name)
    family(model)
    ids = tokens_of(documents, tokenizer)
    finetune(model, ids, course, output / STATE, progress=progress)
    tokenizer.save_pretrained(output)
    # config.json says that the run is finished: it comes last
    model.save_pretrained(output / ".whole")
    for path in sorted((output / ".whole").iterdir(), key=lambda path: path.name == "config.json"):
        path.replace(output / path.name)
    (output / ".whole").rmdir()
    (output / STATE).unlink()


def _documents(path: Path) -> list[Document]:
    if path.is_file():
        return [Document(path.name, path.read_text(encoding="utf-8"), "train")]
    if not path.is_dir():
        raise UserError(f"text={path}: allowed: a text file, or a folder of them")
    return list(TextFolder(str(path), TEXT, validation=0.0).documents())
