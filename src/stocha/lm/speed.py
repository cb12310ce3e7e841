"""How long a training step takes: ours, plain PyTorch's and Hugging Face's, in the same rounds.

Everything is on one thread. `run` first compares what it will time: a way that computes something
else is not timed. Chapter *Speed of the language model*.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations import Activation, StochA, make
from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.base.streams import bernoulli, generator
from stocha.base.timing import Call, one_thread, time_rounds
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.convert import to_llama
from stocha.lm.fast import kernels
from stocha.lm.fast import operations as fast
from stocha.lm.model import Decoder
from stocha.lm.operations import Plain
from stocha.lm.training import keep_heap, noise

SILU, RELU, STOCHA = "ours, SiLU", "ours, ReLU", "ours, StochA"
PLAIN, PEER, ROOF = "plain PyTorch, SiLU", "Hugging Face Llama, SiLU", "matrix product"
ROOF_SIZE, ROOF_CALLS = 1024, 24
"""Products that take about as long as a step, so that the machine's moods weigh on both alike."""
ROOF_FLOPS = 2 * ROOF_SIZE**3 * ROOF_CALLS
TOLERANCE = 1e-3
"""Largest difference of losses and gradients, as a fraction, of what is timed as the same."""

FUSED, DEFINITION = fast.Fused(), Plain()


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
    part_rounds: int = parameter(15, "of parts and decisions", "[1, inf)", smoke=2, book=3)

    def __post_init__(self) -> None:
        check(self)
        assert self.shape  # refuses widths that do not fit together
        for micro_batch in self.micro_batches:
            TrainConfig(batch=self.batch, micro_batch=micro_batch)

    @property
    def shape(self) -> ModelConfig:
        names = ("vocabulary", "width", "layers", "heads", "kv_heads", "ffn", "context")
        return ModelConfig(**{name: getattr(self, name) for name in names})


def run(config: Config, progress: Progress | None = None) -> Result:
    """Measure a step of every way, a SiLU step by its parts, and the decisions one by one.

    Tables: `agreement`, see there; `steps`, of every way milliseconds, `ratio`, its time over that
    of ours with SiLU in the same round, and `of_roof`, the fraction of a matrix product's FLOP/s,
    both with quartiles; `parts` (milliseconds a step forward and backward, `of_roof`);
    `decisions` (milliseconds of what one would write `first` and of what is `kept`, `ratio` > 1 is
    a gain). Raises ArithmeticError if the ways do not compute the same.
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
        tables["parts"] = time_parts(config)
        tables["decisions"] = time_decisions(config)
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
            loss = model.loss(ids, targets, noise(0, 0, range(rows)))
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
            drawn = noise(0, 0, range(some.start, some.stop))
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


def _through(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Call, Call, Call]:
    """Return a call of `function`, one of its backward pass, and one of both."""
    for x in inputs:
        x.requires_grad_()
    y = function(*inputs)
    slope = torch.randn_like(y)

    def backward() -> None:
        torch.autograd.grad(y, inputs, slope, retain_graph=True)

    def both() -> None:
        torch.autograd.grad(function(*inputs), inputs, slope)

    return lambda: function(*inputs), backward, both


class _Layer:
    """Inputs of the true shapes of one micro-batch, and the weights of one layer."""

    def __init__(self, config: Config) -> None:
        self.shape, self.micro_batch = config.shape, config.micro_batches[0]
        self.ids, self.targets = _batch(self.shape, self.micro_batch)
        self.rows = self.targets.numel()
        self.model = Decoder(self.shape)
        self.head = self.model.head.weight.detach().clone()
        ffn = self.model.layers[0].ffn
        self.gate_up, self.down = (p.weight.detach().clone() for p in (ffn.gate_up, ffn.down))
        self.norm = torch.rand(self.shape.width) + 0.5

    def x(self) -> Tensor:
        """The residual stream [batch, context, width]."""
        return torch.randn(*self.ids.shape, self.shape.width)

    def loss(self, x: Tensor, head: Tensor) -> Tensor:
        return FUSED.head_loss(x.flatten(0, 1), head, self.targets.flatten())


@dataclass(frozen=True)
class Part:
    """A part of a step: its calls a step, and the FLOPs of its products with weights in a call."""

    forward: Call
    backward: Call | None
    count: int
    flops: int


def parts(config: Config) -> dict[str, Part]:
    """Return the parts of a SiLU step, each to be timed by itself at its true shapes."""
    at, shape = _Layer(config), config.shape
    attention, silu, optimizer = at.model.layers[0].attention, make("silu"), _optimizer(at.model)
    products, pieces = 2 * at.rows * shape.width, config.batch // at.micro_batch
    for weight in at.model.parameters():
        weight.grad = torch.randn_like(weight)

    def update() -> None:
        nn.utils.clip_grad_norm_(at.model.parameters(), 1.0)
        optimizer.step()

    def part(count: int, flops: int, function: Callable[..., Tensor], *inputs: Tensor) -> Part:
        return Part(*_through(function, *inputs)[:2], count * pieces, flops)

    return {
        "attention": part(
            shape.layers, products * (shape.qkv + shape.width),
            lambda x, *_: attention(x, at.model.turn),
            at.x(), attention.qkv.weight, attention.out.weight,
        ),
        "feed-forward": part(
            shape.layers, products * 3 * shape.ffn,
            lambda x, g, d: FUSED.gated_ffn(x, g, d, silu), at.x(), at.gate_up, at.down,
        ),
        "norms and residual sums": part(
            2 * shape.layers, 0,
            lambda x, y, w: x + FUSED.rms_norm(y, w, shape.eps), at.x(), at.x(), at.norm,
        ),
        "embedding": part(1, 0, lambda w: F.embedding(at.ids, w), at.head.clone()),
        "head and loss": part(1, products * shape.vocabulary, at.loss, at.x(), at.head),
        "clipping and AdamW": Part(update, None, 1, 0),
    }  # fmt: skip


def time_parts(config: Config) -> pd.DataFrame:
    """Return the table `parts` of `run`; in a round each part is called at most eight times."""
    found = parts(config)
    repeats = {name: min(part.count, 8) for name, part in found.items()}

    def repeated(call: Call, times: int) -> Call:
        return lambda: [call() for _ in range(times)]

    calls: dict[str, Call] = {ROOF: roof}
    for name, part in found.items():
        calls[f"{name}, forward"] = repeated(part.forward, repeats[name])
        if part.backward is not None:
            calls[f"{name}, backward"] = repeated(part.backward, repeats[name])
    wide = _by_way(time_rounds(calls, config.part_rounds))
    rows = []
    for name, part in found.items():
        scale = part.count / repeats[name]
        forward = wide[f"{name}, forward"] * scale
        backward = wide.get(f"{name}, backward", forward * 0) * scale
        share = 3 * part.flops * part.count / (forward + backward)
        of_roof = float((share * wide[ROOF] / ROOF_FLOPS).median()) if part.flops else None
        rows.append((name, 1e3 * forward.median(), 1e3 * backward.median(), of_roof))
    return pd.DataFrame(rows, columns=["part", "forward", "backward", "of_roof"])


def _by_way(times: pd.DataFrame) -> pd.DataFrame:
    return times.pivot(index="round", columns="way", values="seconds")


def _with(name: str, value: int, call: Call) -> Call:
    """`call` with another size of blocks."""

    def changed() -> None:
        before = getattr(fast, name)
        setattr(fast, name, value)
        try:
            call()
        finally:
            setattr(fast, name, before)

    return changed


def _masked_softmax(scores: Tensor) -> Tensor:
    future = torch.full(scores.shape[-2:], float("-inf")).triu_(1)
    return torch.softmax(scores + future, -1)


def decisions(config: Config) -> Mapping[str, tuple[Call, Call]]:
    """Return what was decided: the first formulation, and the one kept, of the same result."""
    at, shape, silu, drawn = _Layer(config), config.shape, make("silu"), StochA(0.5)
    x, turn, wide = at.x(), at.model.turn, (*at.ids.shape, shape.ffn)
    qkv = torch.randn(*at.ids.shape, shape.qkv)
    scores = torch.randn(2 * shape.heads, shape.context, shape.context)
    gates = torch.randn(fast.FFN_ROWS, 2, shape.ffn)
    hidden, kernel = torch.empty(fast.FFN_ROWS, shape.ffn), fast.gate(silu, wide, None)
    assert kernel is not None

    def sources() -> list[torch.Generator]:
        return [generator(0, "activation", row) for row in range(at.micro_batch)]

    def feed(operations: Plain, activation: Activation) -> Call:
        noise = sources() if activation.stochastic else None
        return _through(
            lambda x, g, d: operations.gated_ffn(x, g, d, activation, noise), x, at.gate_up, at.down
        )[2]

    def attend(operations: Plain) -> Call:
        return _through(lambda t: operations.attention(t, turn, shape), qkv)[2]

    def normed(operations: Plain) -> Call:
        return _through(lambda y, w: operations.rms_norm(y, w, shape.eps), x, at.norm)[2]

    def plain_loss(x: Tensor, head: Tensor) -> Tensor:
        return DEFINITION.head_loss(x.flatten(0, 1), head, at.targets.flatten())

    def optimizer(**options: Any) -> Call:
        model = Decoder(shape)
        for weight in model.parameters():
            weight.grad = torch.randn_like(weight)
        return torch.optim.AdamW(model.parameters(), TrainConfig.lr, **options).step

    loss = _through(at.loss, x, at.head)[2]
    return {
        "feed-forward: PyTorch's operations → products and kernels in blocks": (
            feed(DEFINITION, silu), feed(FUSED, silu),
        ),
        f"feed-forward: all rows at once → {fast.FFN_ROWS}": (
            _with("FFN_ROWS", at.rows, feed(FUSED, silu)), feed(FUSED, silu),
        ),
        "silu(gate) · up, in cache: PyTorch → one kernel": (
            lambda: torch.mul(F.silu(gates[:, 0]), gates[:, 1], out=hidden),
            lambda: kernel.forward(slice(None), gates.numpy(), hidden.numpy()),
        ),
        "StochA's feed-forward: mask of floats → of bytes, in the kernel": (
            feed(DEFINITION, drawn), feed(FUSED, drawn),
        ),
        "StochA's draw: rand(…) < p → random bytes": (
            lambda: [torch.rand(wide[1:], generator=source) < 0.5 for source in sources()],
            lambda: bernoulli(0.5, wide, sources()),
        ),
        "attention: scaled_dot_product_attention → blocks of products": (
            attend(DEFINITION), attend(FUSED),
        ),
        f"attention: all positions at once → {fast.ROWS}": (
            _with("ROWS", shape.context, attend(FUSED)), attend(FUSED),
        ),
        "causal softmax: add −∞, softmax → one kernel": (
            lambda: _masked_softmax(scores),
            lambda: kernels.causal_softmax(scores.clone().numpy(), 0, shape.context),
        ),
        "RMSNorm: PyTorch → one kernel": (normed(DEFINITION), normed(FUSED)),
        "head and loss: logits kept → gradients made at once": (
            _through(plain_loss, x, at.head)[2], loss,
        ),
        f"head and loss: all rows at once → {fast.HEAD_ROWS}": (
            _with("HEAD_ROWS", at.rows, loss), loss,
        ),
        "AdamW: a list of parameters → fused": (optimizer(foreach=True), optimizer(fused=True)),
    }  # fmt: skip


def time_decisions(config: Config) -> pd.DataFrame:
    """Return the table `decisions` of `run`; ratios are of times of one round."""
    pairs = decisions(config)
    calls = {
        f"{which} {name}": call
        for name, pair in pairs.items()
        for which, call in zip(("first", "kept"), pair, strict=True)
    }
    wide = _by_way(time_rounds(calls, config.part_rounds))
    rows = []
    for name in pairs:
        first, kept = wide[f"first {name}"], wide[f"kept {name}"]
        spread = (first / kept).quantile([0.5, 0.25, 0.75])
        rows.append((name, 1e3 * first.median(), 1e3 * kept.median(), *spread))
    columns = ["decision", "first", "kept", "ratio", "ratio_q1", "ratio_q3"]
    return pd.DataFrame(rows, columns=columns)
