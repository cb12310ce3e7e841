"""How long a training step takes: ours, plain PyTorch's and Hugging Face's, in the same rounds.

Everything is on one thread. `run` first compares what it will time: a way that computes something
else is not timed. Chapter *Speed of the language model*.
"""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from stocha.activations import Activation, StochA, make
from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import generator
from stocha.base.timing import Call, one_thread, time_rounds
from stocha.lm.config import ModelConfig, TrainConfig, taken
from stocha.lm.convert import to_llama
from stocha.lm.fast.operations import Fused
from stocha.lm.model import Decoder, noise
from stocha.lm.operations import Plain
from stocha.lm.training import keep_heap

SILU, RELU, STOCHA = "ours, SiLU", "ours, ReLU", "ours, StochA"
PLAIN, PEER, ROOF = "plain PyTorch, SiLU", "Hugging Face Llama, SiLU", "matrix product"
ROOF_SIZE, ROOF_CALLS = 1024, 24
"""Products that take about as long as a step, so that the machine's moods weigh on both alike."""
ROOF_FLOPS = 2 * ROOF_SIZE**3 * ROOF_CALLS
TOLERANCE = 1e-3
"""Largest difference of losses and gradients, as a fraction, of what is timed as the same."""

FUSED, DEFINITION = Fused(), Plain()


@dataclass(frozen=True)
class Config:
    """The model whose steps are timed, and how often."""

    vocabulary: int = parameter(2048, "tokens of the vocabulary", "[2, inf)", smoke=64)
    width: int = parameter(128, "of the residual stream", "[4, inf)", smoke=16)
    layers: int = parameter(4, "blocks", "[1, inf)", smoke=1)
    heads: int = parameter(2, "query heads", "[1, inf)")
    kv_heads: int = parameter(1, "key-value heads they share", "[1, inf)")
    ffn: int = parameter(512, "neurons of a block's feed-forward", "[1, inf)", smoke=24)
    context: int = parameter(256, "tokens a sequence", "[2, inf)", smoke=16)
    batch: int = parameter(16, "sequences a step", "[1, inf)", smoke=4)
    micro_batches: tuple[int, ...] = parameter(
        (16, 8, 4), "at a time: the usual, and others", "[1, inf)", smoke=(4, 2), book=(16,)
    )
    rounds: int = parameter(40, "in which every way makes one step", "[1, inf)", smoke=2, book=5)
    part_rounds: int = parameter(15, "of parts", "[1, inf)", smoke=2, book=3)

    def __post_init__(self) -> None:
        check(self)
        assert self.shape  # refuses widths that do not fit together
        for micro_batch in self.micro_batches:
            TrainConfig(batch=self.batch, micro_batch=micro_batch)

    @property
    def shape(self) -> ModelConfig:
        return taken(ModelConfig, self)


def run(config: Config, progress: Progress | None = None) -> Result:
    """Measure a step of every way, and a SiLU step by its parts, also of PyTorch's operations.

    Tables: `agreement`, see there; `steps`, of every way milliseconds, `ratio`, its time over that
    of ours with SiLU in the same round, and `of_roof`, the fraction of a matrix product's FLOP/s,
    both with quartiles; `parts` (milliseconds a step forward and backward, `of_roof`);
    `decisions` (milliseconds a step with PyTorch's operations, `first`, and with ours, `kept`; a
    `ratio` > 1 is a gain). Raises ArithmeticError if the ways do not compute the same.
    """
    shape, report = config.shape, progress or (lambda done, total, unit: None)
    keep_heap()
    with one_thread():
        tables = {"agreement": agreement(shape)}
        times = time_rounds(
            steps(config), config.rounds, progress=lambda done, total: report(done, total, "rounds")
        )
        flops = shape.flops_per_token() * config.batch * config.context
        tables["steps"] = compared(times, flops)
        tables |= time_parts(config)
    return Result(tables)


def has_peer() -> bool:
    """Return whether transformers, which is no dependency of the library, is installed."""
    return importlib.util.find_spec("transformers") is not None


def roof() -> None:
    """Multiply 1024 × 1024 matrices: what the machine's float32 products can reach."""
    a = torch.full((ROOF_SIZE, ROOF_SIZE), 0.5)
    for _ in range(ROOF_CALLS):
        torch.mm(a, a)


def _batch(shape: ModelConfig, rows: int) -> tuple[Tensor, Tensor]:
    """Random tokens and targets [rows, context]."""
    size = rows, shape.context + 1
    window = torch.randint(shape.vocabulary, size, generator=generator(0, "order"))
    return window[:, :-1].contiguous(), window[:, 1:].contiguous()


def llama(model: Decoder) -> nn.Module:
    """Return Hugging Face's model with the weights of ours."""
    with warnings.catch_warnings():  # tqdm's, about progress bars that are not shown
        warnings.simplefilter("ignore")
        from transformers import LlamaConfig, LlamaForCausalLM

    shape = model.config
    options: dict[str, Any] = {"rope_theta": shape.rope_base, "use_cache": False}
    peer: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.ffn,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.context,
            rms_norm_eps=shape.eps,
            tie_word_embeddings=shape.tied,
            **options,
        )
    )
    peer.load_state_dict(to_llama(model))
    return peer.train()


def agreement(shape: ModelConfig, rows: int = 2) -> pd.DataFrame:
    """Compare what is timed: the fused path with the plain one, and with Hugging Face's loss.

    One row a way: `loss`, the difference as a fraction, and `gradients`, the largest norm of a
    difference as a fraction of the gradient's. Raises ArithmeticError for more than `TOLERANCE`.
    """
    ids, targets = _batch(shape, rows)
    found = []
    for name, activation in ((SILU, make("silu")), (RELU, make("relu")), (STOCHA, StochA(0.7))):
        results = []
        for operations in (FUSED, DEFINITION):
            model = Decoder(shape, activation, operations=operations).train()
            with torch.no_grad():  # away from the initialisation, where activations are nearly 0
                for weight in model.parameters():
                    weight.mul_(3 if weight.ndim == 2 else 1)
            loss = model.loss(ids, targets, noise(0, range(rows), 0))
            results.append((loss.item(), torch.autograd.grad(loss, list(model.parameters()))))
        (ours, slopes), (plain, exact) = results
        worst = max(float((a - b).norm() / b.norm()) for a, b in zip(slopes, exact, strict=True))
        found.append((name, "plain PyTorch", abs(ours / plain - 1), worst))
        if name == SILU and has_peer():
            whole = torch.cat([ids, targets[:, -1:]], 1)
            with torch.no_grad():
                peer = llama(model)(input_ids=whole, labels=whole).loss.item() * targets.numel()
            found.append((name, "Hugging Face Llama", abs(ours / peer - 1), float("nan")))
    table = pd.DataFrame(found, columns=["way", "against", "loss", "gradients"])
    wrong = table[(table["loss"] > TOLERANCE) | (table["gradients"] > TOLERANCE)]
    if len(wrong):
        raise ArithmeticError(f"not the same computation, so not timed:\n{wrong}")
    return table


def _optimizer(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), TrainConfig.lr, fused=True)


def _step(model: nn.Module, losses: Callable[[slice], Tensor], batch: int, micro: int) -> Call:
    """A whole step: gradients of the batch, `micro` sequences at a time, clipping and AdamW.

    Parameters: `losses`, some sequences' share of the batch's mean loss.
    """
    optimizer = _optimizer(model)

    def step() -> None:
        optimizer.zero_grad()
        for start in range(0, batch, micro):
            torch.autograd.backward(losses(slice(start, start + micro)))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def steps(config: Config) -> dict[str, Call]:
    """Return what makes one whole step each, by way; other micro-batches than the usual of SiLU."""
    batch, (usual, *others) = config.batch, config.micro_batches
    ids, targets = _batch(config.shape, batch)

    def ours(activation: Activation, operations: Plain, micro: int) -> Call:
        model = Decoder(config.shape, activation, operations=operations).train()

        def losses(some: slice) -> Tensor:
            drawn = noise(0, range(some.start, some.stop), 0)
            return model.loss(ids[some], targets[some], drawn) / targets.numel()

        return _step(model, losses, batch, micro)

    def theirs(micro: int) -> Call:
        model = llama(Decoder(config.shape))

        def losses(some: slice) -> Tensor:
            loss: Tensor = model(input_ids=ids[some], labels=ids[some]).loss
            return loss * (micro / batch)

        return _step(model, losses, batch, micro)

    calls = {
        SILU: ours(make("silu"), FUSED, usual),
        RELU: ours(make("relu"), FUSED, usual),
        STOCHA: ours(StochA(0.7), FUSED, usual),
        PLAIN: ours(make("silu"), DEFINITION, usual),
    }
    if has_peer():
        calls[PEER] = theirs(usual)
    for other in others:
        calls[f"{SILU}, micro-batch {other}"] = ours(make("silu"), FUSED, other)
        if has_peer():
            calls[f"{PEER}, micro-batch {other}"] = theirs(other)
    return calls | {ROOF: roof}


def compared(times: pd.DataFrame, flops: float) -> pd.DataFrame:
    """Return the table `steps` of `run` from what `time_rounds` gave; `flops`, of one step."""
    wide = _by_way(times)[list(dict.fromkeys(times["way"]))]
    charged = pd.Series(flops / ROOF_FLOPS, wide.columns).mask(wide.columns == ROOF, 1.0)
    compared = {
        "ratio": wide.div(wide[SILU], axis=0),
        "of_roof": charged / wide.div(wide[ROOF], axis=0),
    }
    table = pd.DataFrame({"milliseconds": 1e3 * wide.median()})
    for name, by_round in compared.items():
        for ending, share in (("", 0.5), ("_q1", 0.25), ("_q3", 0.75)):
            table[name + ending] = by_round.quantile(share)
    return table.rename_axis("way").reset_index()


@dataclass(frozen=True)
class Part:
    """A part of a step: its calls a step, and the FLOPs of its products with weights in a call."""

    forward: Call
    backward: Call | None
    count: int
    flops: int


def parts(config: Config, operations: Plain = FUSED) -> dict[str, Part]:
    """Return the parts of a SiLU step, each to be timed by itself at its true shapes."""
    shape, usual, silu = config.shape, config.micro_batches[0], make("silu")
    ids, targets = _batch(shape, usual)
    model = Decoder(shape, silu, operations=operations)
    optimizer, layer, turn = _optimizer(model), model.layers[0], model.turn
    products, pieces = 2 * targets.numel() * shape.width, config.batch // usual
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def part(count: int, flops: int, function: Callable[..., Tensor], *sizes: int) -> Part:
        """Of `function` of as many residual streams as `sizes` has numbers."""
        inputs = [torch.randn(*ids.shape, size).requires_grad_() for size in sizes]
        y = function(*inputs)
        needed, slope = [*inputs, *model.parameters()], torch.randn_like(y)

        def backward() -> None:
            torch.autograd.grad(y, needed, slope, retain_graph=True, allow_unused=True)

        return Part(lambda: function(*inputs), backward, count * pieces, flops)

    def loss(x: Tensor) -> Tensor:
        return operations.head_loss(x.flatten(0, 1), model.head.weight, targets.flatten())

    width = shape.width
    return {
        "attention": part(
            shape.layers, products * (shape.qkv + width), lambda x: layer.attention(x, turn), width
        ),
        "feed-forward": part(shape.layers, products * 3 * shape.ffn, layer.ffn, width),
        "norms and residual sums": part(
            2 * shape.layers, 0, lambda x, y: x + layer.ffn_norm(y), width, width
        ),
        "embedding": part(1, 0, lambda: model.embedding(ids)),
        "head and loss": part(1, products * shape.vocabulary, loss, width),
        "clipping and AdamW": Part(update, None, 1, 0),
    }


def time_parts(config: Config) -> dict[str, pd.DataFrame]:
    """Return the tables `parts` and `decisions` of `run`; ratios are of times of one round."""

    def repeated(call: Call, times: int) -> Call:
        return lambda: [call() for _ in range(times)]

    sets = {"ours": parts(config), "plain": parts(config, DEFINITION)}
    calls = {
        f"{whose} {name} {which}": repeated(call, part.count)
        for whose, found in sets.items()
        for name, part in found.items()
        for which, call in (("forward", part.forward), ("backward", part.backward))
        if call is not None
    }
    wide = _by_way(time_rounds({ROOF: roof} | calls, config.part_rounds))
    rows, decisions = [], []
    for name, part in sets["ours"].items():
        forward = wide[f"ours {name} forward"]
        backward = wide.get(f"ours {name} backward", 0 * forward)
        share = 3 * part.flops * part.count / (forward + backward)
        of_roof = float((share * wide[ROOF] / ROOF_FLOPS).median()) if part.flops else None
        rows.append((name, 1e3 * forward.median(), 1e3 * backward.median(), of_roof))
        if part.backward is not None and name != "embedding":  # which both sets share
            kept = forward + backward
            first = wide[f"plain {name} forward"] + wide[f"plain {name} backward"]
            spread = (first / kept).quantile([0.5, 0.25, 0.75])
            decided = f"{name}: PyTorch's operations → products and kernels in blocks"
            decisions.append((decided, 1e3 * first.median(), 1e3 * kept.median(), *spread))
    columns = ["decision", "first", "kept", "ratio", "ratio_q1", "ratio_q3"]
    return {
        "parts": pd.DataFrame(rows, columns=["part", "forward", "backward", "of_roof"]),
        "decisions": pd.DataFrame(decisions, columns=columns),
    }


def _by_way(times: pd.DataFrame) -> pd.DataFrame:
    return times.pivot(index="round", columns="way", values="seconds")
