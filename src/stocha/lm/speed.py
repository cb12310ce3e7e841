"""How long a training step takes: ours, plain PyTorch and Hugging Face's, in the same rounds.

Everything that is compared is called once a round, one after the other, and a ratio compares two
times of one round: the speed of a shared machine changes more between rounds than within one.
Chapter: Speed of the language model.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations import StochA, make
from stocha.base.streams import bernoulli, generator
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.convert import to_llama
from stocha.lm.fast import kernels
from stocha.lm.fast import operations as fused
from stocha.lm.fast.operations import Fused
from stocha.lm.model import Decoder
from stocha.lm.operations import Plain
from stocha.lm.training import noise

Call = Callable[[], Any]

SILU, RELU, STOCHA = "ours, SiLU", "ours, ReLU", "ours, StochA"
PLAIN, PEER, ROOF = "plain PyTorch, SiLU", "Hugging Face Llama, SiLU", "matrix product"
ROOF_SIZE, ROOF_CALLS = 1024, 24
"""Products that take about as long as a step, so that the machine's moods weigh on both alike."""
TOLERANCE = 1e-3
"""Largest difference of losses and gradients, as a fraction, of what is timed as the same."""


def has_peer() -> bool:
    """Return whether transformers, which is no dependency of the library, is installed."""
    return importlib.util.find_spec("transformers") is not None


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def roof() -> None:
    """Multiply 1024 × 1024 matrices: what the machine's float32 products can reach."""
    a = torch.full((ROOF_SIZE, ROOF_SIZE), 0.5)
    for _ in range(ROOF_CALLS):
        torch.mm(a, a)


ROOF_FLOPS = 2 * ROOF_SIZE**3 * ROOF_CALLS


def batch_of(config: ModelConfig, rows: int) -> tuple[Tensor, Tensor]:
    """Return random tokens and targets [rows, context]."""
    source = generator(0, "order")
    window = torch.randint(
        config.vocabulary, (rows, config.context + 1), generator=source, dtype=torch.long
    )
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


def agreement(config: ModelConfig, rows: int = 2) -> pd.DataFrame:
    """Compare what is timed: the fused path with the plain one, and with Hugging Face's loss.

    One row a way: `loss`, the difference as a fraction, and `gradients`, the largest norm of a
    difference as a fraction of the gradient's. Raises ArithmeticError for more than `TOLERANCE`.
    """
    ids, targets = batch_of(config, rows)
    drawn = noise(0, 0, range(rows))
    found = []
    for name, activation in ((SILU, "silu"), (RELU, "relu"), (STOCHA, StochA(0.5, "mixed"))):
        model = Decoder(config, activation).train()
        with torch.no_grad():  # away from the initialisation, where every activation is nearly 0
            for parameter in model.parameters():
                parameter.mul_(3 if parameter.ndim == 2 else 1)
        definition = Decoder(config, activation, operations=Plain()).train()
        definition.load_state_dict(model.state_dict())
        results = []
        for way in (model, definition):
            loss = way.loss(ids, targets, drawn)
            slopes = torch.autograd.grad(loss, list(way.parameters()))
            results.append((loss.item(), slopes))
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


def _step(
    config: ModelConfig, activation: Any, operations: Plain, batch: int, micro_batch: int
) -> Call:
    model = Decoder(config, activation, operations=operations).train()
    optimizer = _optimizer(model)
    ids, targets = batch_of(config, batch)
    done = 0

    def step() -> None:
        nonlocal done
        optimizer.zero_grad()
        for start in range(0, batch, micro_batch):
            rows = range(start, start + micro_batch)
            part = slice(start, start + micro_batch)
            loss = model.loss(ids[part], targets[part], noise(0, done, rows)) / targets.numel()
            torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done += 1

    return step


def _peer_step(config: ModelConfig, batch: int, micro_batch: int) -> Call:
    model = llama(Decoder(config))
    optimizer = _optimizer(model)
    ids, _ = batch_of(config, batch)

    def step() -> None:
        optimizer.zero_grad()
        for start in range(0, batch, micro_batch):
            part = ids[start : start + micro_batch]
            loss = model(input_ids=part, labels=part).loss * (micro_batch / batch)
            torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def whole_steps(config: ModelConfig, batch: int, micro_batches: list[int]) -> dict[str, Call]:
    """Return the calls that make one whole step each; the first of `micro_batches` is the usual.

    Gradients of the batch, clipping and AdamW are in; the other micro-batches are of SiLU.
    """
    usual, *others = micro_batches
    calls = {
        SILU: _step(config, "silu", Fused(), batch, usual),
        RELU: _step(config, "relu", Fused(), batch, usual),
        STOCHA: _step(config, StochA(0.5, "mixed"), Fused(), batch, usual),
        PLAIN: _step(config, "silu", Plain(), batch, usual),
    }
    if has_peer():
        calls[PEER] = _peer_step(config, batch, usual)
    for other in others:
        calls[f"{SILU}, micro-batch {other}"] = _step(config, "silu", Fused(), batch, other)
        if has_peer():
            calls[f"{PEER}, micro-batch {other}"] = _peer_step(config, batch, other)
    return calls | {ROOF: roof}


def time_rounds(
    calls: Mapping[str, Call], rounds: int, progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """Call everything once a round, after a round that is not counted.

    Returns rows (round, way, seconds).
    """
    rows = []
    for number in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            rows.append((number, name, time.perf_counter() - begun))
        if progress is not None:
            progress(number + 1, rounds + 1)
    table = pd.DataFrame(rows, columns=["round", "way", "seconds"])
    return table[table["round"] > 0].reset_index(drop=True)


def ratios(times: pd.DataFrame, base: str, flops: float | None = None) -> pd.DataFrame:
    """Return every way's seconds over those of `base`, round by round: median and quartiles.

    Parameters: `times`, of `time_rounds`; `flops`, of one call of a way: adds `of_roof`, the median
    fraction of the FLOP/s of `roof` in the same round. Rows are in the order of the first round.
    """
    wide = times.pivot(index="round", columns="way", values="seconds")
    wide = wide[list(dict.fromkeys(times["way"]))]
    relative = wide.div(wide[base], axis=0)
    table = pd.DataFrame(
        {
            "milliseconds": wide.median() * 1e3,
            "ratio": relative.median(),
            "ratio_q1": relative.quantile(0.25),
            "ratio_q3": relative.quantile(0.75),
        }
    )
    if flops is not None:
        share = (flops / ROOF_FLOPS) / wide.div(wide[ROOF], axis=0)
        table["of_roof"], table["of_roof_q1"], table["of_roof_q3"] = (
            share.median(), share.quantile(0.25), share.quantile(0.75)
        )  # fmt: skip
        table.loc[ROOF, ["of_roof", "of_roof_q1", "of_roof_q3"]] = 1.0
    return table.rename_axis("way").reset_index()


@dataclass(frozen=True)
class Part:
    """A part of a step: its calls a step, and the FLOPs of its products with weights in a call."""

    forward: Call
    backward: Call | None
    count: int
    flops: int


def _both_ways(function: Callable[..., Any], *inputs: Tensor) -> tuple[Call, Call]:
    """Return a call of `function`, and one of its backward pass."""
    for x in inputs:
        x.requires_grad_()

    def forward() -> Any:
        return function(*inputs)

    y = forward()
    outputs = y if isinstance(y, tuple) else (y,)
    slopes = [torch.randn_like(out) for out in outputs]

    def backward() -> None:
        torch.autograd.grad(outputs, inputs, slopes, retain_graph=True)

    return forward, backward


def _through(function: Callable[..., Any], *inputs: Tensor) -> Call:
    """Return a call of `function` and its backward pass."""
    for x in inputs:
        x.requires_grad_()
    y = function(*inputs)
    slopes = [torch.randn_like(out) for out in (y if isinstance(y, tuple) else (y,))]

    def both() -> None:
        y = function(*inputs)
        torch.autograd.grad(y if isinstance(y, tuple) else (y,), inputs, slopes)

    return both


class Shapes:
    """Tensors of the true shapes of one micro-batch, and the weights of one layer."""

    def __init__(self, config: ModelConfig, micro_batch: int) -> None:
        self.config, self.micro_batch = config, micro_batch
        self.rows = micro_batch * config.context
        self.model = Decoder(config)
        self.layer = self.model.layers[0]
        self.ids, targets = batch_of(config, micro_batch)
        self.targets = targets.flatten()
        self.weight = torch.rand(config.width) + 0.5

    def x(self) -> Tensor:
        """The residual stream [batch, context, width]."""
        return torch.randn(self.micro_batch, self.config.context, self.config.width)

    def flat(self) -> Tensor:
        """The residual stream [rows, width]."""
        return self.x().flatten(0, 1)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The weights of gate and up, stacked, and of down."""
        ffn = self.layer.ffn
        return ffn.gate_up.weight.detach().clone(), ffn.down.weight.detach().clone()


def parts(config: ModelConfig, batch: int, micro_batch: int) -> dict[str, Part]:
    """Return the parts of a SiLU step, each to be timed by itself at its true shapes."""
    at, turn = Shapes(config, micro_batch), Decoder(config).turn
    attention, pieces = at.layer.attention, batch // micro_batch
    gate_up, down = at.matrices()
    head, embedding = at.model.head.weight, at.model.embedding
    ours, silu = Fused(), make("silu")
    loss = ours.head_loss(at.flat().requires_grad_(), head, at.targets)
    optimizer = _optimizer(at.model)
    for parameter in at.model.parameters():
        parameter.grad = torch.randn_like(parameter)

    def update() -> None:
        nn.utils.clip_grad_norm_(at.model.parameters(), 1.0)
        optimizer.step()

    products = 2 * at.rows * config.width
    found = {
        "attention": Part(
            *_both_ways(lambda x, *_: attention(x, turn), at.x(),
                        attention.qkv.weight, attention.out.weight),
            config.layers * pieces, products * (config.qkv + config.width),
        ),
        "feed-forward": Part(
            *_both_ways(lambda x, g, d: ours.gated_ffn(x, g, d, silu), at.flat(), gate_up, down),
            config.layers * pieces, products * 3 * config.ffn,
        ),
        "norms and residual sums": Part(
            *_both_ways(lambda x, y, w: y + ours.rms_norm(x, w, config.eps),
                        at.x(), at.x(), at.weight),
            2 * config.layers * pieces, 0,
        ),
        "embedding": Part(
            *_both_ways(lambda w: F.embedding(at.ids, w), embedding.weight.detach().clone()),
            pieces, 0,
        ),
    }  # fmt: skip
    x = at.flat().requires_grad_()
    found["head and loss"] = Part(
        lambda: ours.head_loss(x, head, at.targets),
        lambda: torch.autograd.grad(loss, [head], retain_graph=True),
        pieces,
        products * config.vocabulary,
    )
    return found | {"clipping and AdamW": Part(update, None, 1, 0)}


def time_parts(config: ModelConfig, batch: int, micro_batch: int, rounds: int) -> pd.DataFrame:
    """Return milliseconds a step of every part, and the fraction of the roof of its products.

    Columns part, forward, backward, of_roof. Each part runs for about a step's share of calls in a
    round, at most eight.
    """
    found = parts(config, batch, micro_batch)
    calls: dict[str, Call] = {ROOF: roof}
    repeats = {name: min(part.count, 8) for name, part in found.items()}

    def repeated(call: Call, times: int) -> Call:
        return lambda: [call() for _ in range(times)] and None

    for name, part in found.items():
        calls[f"{name}, forward"] = repeated(part.forward, repeats[name])
        if part.backward is not None:
            calls[f"{name}, backward"] = repeated(part.backward, repeats[name])
    wide = time_rounds(calls, rounds).pivot(index="round", columns="way", values="seconds")
    rows = []
    for name, part in found.items():
        scale = part.count / repeats[name]
        forward = wide[f"{name}, forward"] * scale
        backward = wide.get(f"{name}, backward", forward * 0) * scale
        share = 3 * part.flops * part.count / (forward + backward)
        of_roof = float((share * wide[ROOF] / ROOF_FLOPS).median()) if part.flops else None
        rows.append((name, 1e3 * forward.median(), 1e3 * backward.median(), of_roof))
    return pd.DataFrame(rows, columns=["part", "forward", "backward", "of_roof"])


@contextmanager
def _setting(name: str, value: int) -> Iterator[None]:
    before = getattr(fused, name)
    setattr(fused, name, value)
    try:
        yield
    finally:
        setattr(fused, name, before)


def _with(name: str, value: int, call: Call) -> Call:
    def changed() -> None:
        with _setting(name, value):
            call()

    return changed


def _masked_softmax(scores: Tensor) -> Tensor:
    future = torch.full(scores.shape[-2:], float("-inf")).triu_(1)
    return torch.softmax(scores + future, -1)


def decisions(config: ModelConfig, micro_batch: int) -> dict[str, tuple[Call, Call]]:
    """Return what was decided: the first formulation, and the one kept, of the same result."""
    at, turn = Shapes(config, micro_batch), Decoder(config).turn
    gate_up, down = at.matrices()
    x, y = at.flat(), at.x()
    qkv = torch.randn(micro_batch, config.context, config.qkv)
    head = at.model.head.weight.detach().clone()
    scores = torch.randn(2 * config.heads, config.context, config.context)
    shape = (micro_batch, config.context, config.ffn)
    gates = torch.randn(fused.FFN_ROWS, 2, config.ffn)
    hidden = torch.empty(fused.FFN_ROWS, config.ffn)
    halves = gates[:, 0].contiguous(), gates[:, 1].contiguous()
    ours, silu, drawn = Fused(), make("silu"), make("stocha")
    kernel = fused.gate(silu, shape, None)
    assert kernel is not None

    def sources() -> list[torch.Generator]:
        return [generator(0, "activation", row) for row in range(micro_batch)]

    def plain_ffn(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        gate, up = F.linear(x, gate_up).chunk(2, -1)
        return F.linear(F.silu(gate) * up, down)

    def float_mask() -> Any:
        draw = bernoulli(0.5, shape, sources(), torch.float32).view(at.rows, -1)
        gate, up = F.linear(x, gate_up).chunk(2, -1)
        return F.linear(torch.lerp(F.relu(gate), F.silu(gate), draw) * up, down)

    def byte_mask() -> Any:
        return ours.gated_ffn(y, gate_up, down, drawn, sources())

    def multiply_down(matrix: Tensor) -> None:
        for _ in range(0, at.rows, fused.FFN_ROWS):
            torch.mm(halves[0], matrix)

    def plain_loss(x: Tensor, head: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, head), at.targets, reduction="sum")

    def optimizer(**options: Any) -> Call:
        model = Decoder(config)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        return torch.optim.AdamW(model.parameters(), TrainConfig.lr, **options).step

    feed = _through(lambda x, g, d: ours.gated_ffn(x, g, d, silu), x, gate_up, down)
    attend = _through(lambda t: ours.attention(t, turn, config), qkv)
    loss = _through(lambda x, w: ours.head_loss(x, w, at.targets), x, head)
    return {
        "feed-forward: PyTorch's operations → products and kernels in blocks": (
            _through(plain_ffn, x, gate_up, down), feed,
        ),
        f"feed-forward: all rows at once → {fused.FFN_ROWS}": (
            _with("FFN_ROWS", at.rows, feed), feed,
        ),
        "silu(gate) · up, in cache: PyTorch → one kernel": (
            lambda: torch.mul(F.silu(halves[0]), halves[1], out=hidden),
            lambda: kernel.forward(slice(None), gates.numpy(), hidden.numpy()),
        ),
        "products of the blocks with Dᵀ, forward: a view → a contiguous copy": (
            lambda: multiply_down(down.detach().t()),
            lambda: multiply_down(down.detach().t().contiguous()),
        ),
        "StochA's feed-forward, forward: mask of floats → of bytes, in the kernel": (
            float_mask, byte_mask,
        ),
        "StochA's draw: rand(…) < p → random bytes": (
            lambda: [torch.rand(shape[1:], generator=source) < 0.5 for source in sources()],
            lambda: bernoulli(0.5, shape, sources()),
        ),
        "attention: scaled_dot_product_attention → blocks of products": (
            _through(lambda t: Plain().attention(t, turn, config), qkv), attend,
        ),
        f"attention: all positions at once → {fused.ROWS}": (
            _with("ROWS", config.context, attend), attend,
        ),
        "causal softmax: add −∞, softmax → one kernel": (
            lambda: _masked_softmax(scores),
            lambda: kernels.causal_softmax(scores.clone().numpy(), 0, config.context),
        ),
        "RMSNorm: PyTorch → one kernel": (
            _through(lambda y, w: F.rms_norm(y, w.shape, w, config.eps), y, at.weight),
            _through(lambda y, w: ours.rms_norm(y, w, config.eps), y, at.weight),
        ),
        "head and loss: logits kept → gradients made at once": (
            _through(plain_loss, x, head), loss,
        ),
        f"head and loss: all rows at once → {fused.HEAD_ROWS}": (
            _with("HEAD_ROWS", at.rows, loss), loss,
        ),
        "AdamW: a list of parameters → fused": (optimizer(foreach=True), optimizer(fused=True)),
    }  # fmt: skip


def time_decisions(config: ModelConfig, micro_batch: int, rounds: int) -> pd.DataFrame:
    """Return milliseconds of both formulations of every decision, and their ratio by rounds.

    Columns decision, first, kept, ratio, ratio_q1, ratio_q3; a ratio above 1 is a gain.
    """
    pairs = decisions(config, micro_batch)
    calls = {
        f"{name}|{which}": call
        for name, pair in pairs.items()
        for which, call in zip(("first", "kept"), pair, strict=True)
    }
    wide = time_rounds(calls, rounds).pivot(index="round", columns="way", values="seconds")
    rows = []
    for name in pairs:
        first, kept = wide[f"{name}|first"], wide[f"{name}|kept"]
        ratio = first / kept
        rows.append(
            (name, 1e3 * first.median(), 1e3 * kept.median(), ratio.median(),
             ratio.quantile(0.25), ratio.quantile(0.75))
        )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["decision", "first", "kept", "ratio", "ratio_q1", "ratio_q3"]
    )
