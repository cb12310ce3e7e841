"""Loss and zeros of a Hugging Face model on a row of tokens."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from stocha.base.result import Progress
from stocha.hf.swi_ft import zeros_counted
from stocha.hf.text import Ids

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Evaluation:
    """`losses`, nats a token, by window of text; `zeros`, share of zero activations, by layer."""

    losses: NDArray[np.float64]
    zeros: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """Mean loss, nats a token."""
        return float(self.losses.mean())


def evaluate(
    model: PreTrainedModel,
    ids: Ids,
    windows: int,
    context: int,
    precision: str = "float32",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate on the first `windows` disjoint windows of `context` predicted tokens.

    Parameters: `precision` of the matrix products, one of `PRECISIONS`; `progress`, called with
    (tokens done, all, "tokens"). The model is left in the mode it was in.
    Raises ValueError for a text that is too short.
    """
    if windows * context + 1 > len(ids):
        raise ValueError(
            f"tokens={windows * context}: allowed: [1, {len(ids) - 1}], what the text has"
        )
    training = model.training
    model.train(False)
    losses = []
    with torch.no_grad(), zeros_counted(model) as counted:
        for window in range(windows):
            start = window * context
            row = torch.from_numpy(ids[start : start + context + 1].astype(np.int64))[None]
            losses.append(token_losses(model, row, precision).double().mean().item())
            if progress is not None:
                progress((window + 1) * context, windows * context, "tokens")
    model.train(training)
    zeros = [torch.stack(shares).double().mean().item() for shares in counted]
    return Evaluation(np.array(losses), np.array(zeros))


def token_losses(model: PreTrainedModel, ids: Tensor, precision: str) -> Tensor:
    """Return −log p of ids[:, 1:], nats, [batch, context], for `ids` [batch, context + 1]."""
    flat = logits(model, ids[:, :-1], precision).flatten(0, 1)
    losses = F.cross_entropy(flat, ids[:, 1:].flatten().to(flat.device), reduction="none")
    return losses.view(ids.shape[0], -1)


def logits(model: PreTrainedModel, ids: Tensor, precision: str) -> Tensor:
    """Return the float32 logits [batch, context, vocabulary] after each of `ids`."""
    return _forward(model, model, ids, precision).logits.float()  # type: ignore[no-any-return]


def states(model: PreTrainedModel, ids: Tensor, precision: str) -> Tensor:
    """Return the last layer's output [batch, context, width]; the head, a big matrix, rests."""
    return _forward(model, model.base_model, ids, precision).last_hidden_state  # type: ignore[no-any-return]


def _forward(model: PreTrainedModel, part: Any, ids: Tensor, precision: str) -> Any:
    half = precision == "bfloat16"
    device = next(model.parameters()).device
    mixed = torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()
    with mixed:
        return part(input_ids=ids.to(device), use_cache=False)
