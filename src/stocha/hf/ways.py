"""Ways to decode one token at a time, ours and other people's, behind one interface.

A way is started with a prompt and then led through given tokens, so that all do the same work.
Chapter *Decoding, end to end*.
"""

import copy
import ctypes
import importlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import DynamicCache, PreTrainedModel, StaticCache

from stocha.hf.decoding import place
from stocha.hf.exchange import layers
from stocha.hf.gguf_file import write
from stocha.sparse.ffn import SparseFFN

Logits = NDArray[np.float32]
"""[vocabulary]."""

BITS = {"float32": 32, "bfloat16": 16, "int8": 8}
"""By precision, of a weight."""

WRONG = {32: 0.01, 16: 0.1, 8: 0.1, 4: 0.5}
"""By bits, the deviation from the reference from which a way is wrong: root mean square over all
positions, relative to the spread of the reference's logits."""

_LLAMA_CPP = {
    "float32": ("F32",),
    "bfloat16": ("BF16", "F16"),
    "int8": ("Q8_0", "Q4_1"),
}


class Way(Protocol):
    """Something that decodes."""

    def start(self, prompt: Sequence[int]) -> Logits:
        """Forget what was before, read the prompt, return the logits after it."""

    def step(self, token: int) -> Logits:
        """Read one token more and return the logits after it."""


@dataclass(frozen=True)
class Entry:
    """A way that can be made: `make` returns it, or raises `Absent`."""

    name: str
    ours: bool
    bits: int
    make: Callable[[], Way]
    activation: str = "relu"
    """What it computes between gate and down: llama.cpp knows a Llama with SiLU only."""


class Absent(Exception):
    """A way cannot be had here; says why."""


class Transformer:
    """A Hugging Face model, with a growing cache, or with one of fixed size and compiled.

    Parameters: `model`; `room`, tokens that fit the cache of fixed size; `compiled`, the model's
    forward by `torch.compile`; `ffns`, one for each of its `SparseMLP`s, put there by `start`, so
    that ways may share a model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        room: int,
        compiled: Any = None,
        ffns: Sequence[SparseFFN] = (),
    ) -> None:
        if compiled is not None and shutil.which("g++") is None:
            raise Absent("torch.compile: no g++")
        self.model, self.compiled, self.ffns, self.read = model, compiled, ffns, 0
        self.cache: Any = DynamicCache() if compiled is None else StaticCache(model.config, room)

    def start(self, prompt: Sequence[int]) -> Logits:
        """Read the prompt, uncompiled: its length is its own."""
        for mlp, ffn in zip(layers(self.model), self.ffns, strict=False):
            mlp.ffn = ffn
        if self.compiled is None:
            self.cache = DynamicCache()
        else:  # the same memory for every prompt: another would be compiled anew
            self.cache.reset()
        self.read = 0
        return self._read(self.model.forward, prompt)

    def step(self, token: int) -> Logits:
        """Read one token."""
        return self._read(self.compiled or self.model.forward, [token])

    def _read(self, forward: Any, tokens: Sequence[int]) -> Logits:
        ids = torch.tensor([tokens])
        places = torch.arange(self.read, self.read + len(tokens))[None]
        self.read += len(tokens)
        with torch.no_grad():
            out = forward(
                input_ids=ids,
                position_ids=places,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return np.asarray(out.logits[0, -1].float().numpy())


class LlamaCpp:
    """llama.cpp by llama-cpp-python, on a file of that kind; F32 has such keys and values, too."""

    def __init__(
        self, model: PreTrainedModel, kind: str, room: int, threads: int, folder: Path
    ) -> None:
        try:
            cpp: Any = importlib.import_module("llama_cpp")
        except (ImportError, OSError, RuntimeError) as error:
            raise Absent(f"{error}: pip install 'stocha[peers]'") from error
        path = folder / f"{kind}.gguf"
        write(model, path, kind)
        kept = cpp.GGML_TYPE_F32 if kind == "F32" else cpp.GGML_TYPE_F16
        self.llm = cpp.Llama(
            str(path),
            n_ctx=room,
            n_threads=threads,
            n_threads_batch=threads,
            type_k=kept,
            type_v=kept,
            verbose=False,
        )

    def start(self, prompt: Sequence[int]) -> Logits:
        """Read the prompt."""
        self.llm.reset()
        return self._read(prompt)

    def step(self, token: int) -> Logits:
        """Read one token."""
        return self._read([token])

    def _read(self, tokens: Sequence[int]) -> Logits:
        self.llm.eval(list(tokens))
        found: Any = ctypes.cast(self.llm._ctx.get_logits(), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(found, (self.llm.n_vocab(),)).copy()


def entries(
    model: PreTrainedModel, precision: str, threads: int, room: int, folder: Path
) -> Iterator[Entry]:
    """Yield every way at `precision`, peers first.

    Parameters: `model` with ReLU, float32; `threads` of each way; `room`, tokens that a prompt and
    what follows it fill at most; `folder` for files that a peer reads.
    Ours are compiled, too. In int8 they have it in the feed-forward layers, the rest is bfloat16.
    """
    bits = BITS[precision]
    half: Any = model if precision == "float32" else copy.deepcopy(model)
    half.to(torch.float32 if half is model else torch.bfloat16)
    if precision == "int8":
        yield Entry("Hugging Face, dynamic int8", False, bits, partial(_dynamic, model, room))
    else:
        for name, forward in (("eager", None), ("compiled", torch.compile(half.forward))):
            peer = partial(Transformer, half, room, forward)
            yield Entry(f"Hugging Face, {name}", False, bits, peer)
    for kind in _LLAMA_CPP[precision]:
        llama = partial(LlamaCpp, model, kind, room, threads, folder)
        yield Entry(f"llama.cpp {kind}", False, 4 if kind == "Q4_1" else bits, llama, "silu")

    ffns = []
    for mlp in layers(model if precision == "int8" else half):
        weights = (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        ffns.append(SparseFFN(*weights, method="dense", threads=threads, weights=precision))
    own = place(shared(half), ffns)
    methods = {"dense": "dense", "sparse": "sparse", "certified": "screened"}
    if precision == "int8":
        del methods["certified"]
    forward = torch.compile(own.forward)  # once for all methods
    for name, method in methods.items():
        variants = [ffn.variant(method=method) for ffn in ffns]
        ours = partial(Transformer, own, room, forward, variants)
        yield Entry(f"ours, {name}", True, bits, ours)


def shared(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules of `model` on the same parameters."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def _dynamic(model: PreTrainedModel, room: int) -> Way:
    """Torch's own int8: weights rounded by row, inputs while it runs."""
    try:
        from torch.ao import quantization
    except ImportError as error:
        raise Absent(f"torch.ao.quantization: {error}") from error
    quantised: Any = quantization.quantize_dynamic
    by_row = {nn.Linear: quantization.per_channel_dynamic_qconfig}
    return Transformer(quantised(shared(model), by_row, inplace=True), room)
