"""Weights to and from the Hugging Face Llama family, so that a real checkpoint can be studied."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stocha.activations import Activation
from stocha.lm import checkpoint
from stocha.lm.config import ModelConfig
from stocha.lm.model import Decoder


def from_llama_config(config: Mapping[str, Any], context: int | None = None) -> ModelConfig:
    """Return the `ModelConfig` of a Llama `config.json`.

    Parameters: `context`, a shorter one than the checkpoint's. Raises ValueError for a variant the
    decoder does not have: scaled RoPE, biases, or heads of another width than width / heads.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    heads = int(config["num_attention_heads"])
    width = int(config["hidden_size"])
    if kind != "default":
        raise ValueError(f"rope_type={kind!r}: only the unscaled 'default' is supported")
    for bias in ("attention_bias", "mlp_bias"):
        if config.get(bias):
            raise ValueError(f"{bias}=true: only models without biases are supported")
    if (config.get("head_dim") or width // heads) != width // heads:
        raise ValueError(f"head_dim={config['head_dim']}: must be {width // heads}, width / heads")
    return ModelConfig(
        vocabulary=int(config["vocab_size"]),
        width=width,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        ffn=int(config["intermediate_size"]),
        context=context or int(config["max_position_embeddings"]),
        rope_base=float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
        eps=float(config.get("rms_norm_eps", 1e-6)),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _names(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    """Yield our name, Llama's names of its row blocks, and their heights."""
    kv = config.kv_heads * config.head_width
    yield "embedding.weight", ("model.embed_tokens.weight",), (config.vocabulary,)
    yield "norm.weight", ("model.norm.weight",), (config.width,)
    if not config.tied:
        yield "head.weight", ("lm_head.weight",), (config.vocabulary,)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        yield (
            f"{ours}.attention_norm.weight",
            (f"{theirs}.input_layernorm.weight",),
            (config.width,),
        )
        yield (
            f"{ours}.ffn_norm.weight",
            (f"{theirs}.post_attention_layernorm.weight",),
            (config.width,),
        )
        yield (
            f"{ours}.attention.qkv.weight",
            tuple(f"{attention}.{part}_proj.weight" for part in "qkv"),
            (config.width, kv, kv),
        )
        yield f"{ours}.attention.out.weight", (f"{attention}.o_proj.weight",), (config.width,)
        yield (
            f"{ours}.ffn.gate_up.weight",
            (f"{mlp}.gate_proj.weight", f"{mlp}.up_proj.weight"),
            (config.ffn, config.ffn),
        )
        yield f"{ours}.ffn.down.weight", (f"{mlp}.down_proj.weight",), (config.width,)


def _paired(weight: Tensor, width: int) -> Tensor:
    """Reorder a head's rows from Llama's pairs (i, i + width/2) to ours, (2i, 2i + 1)."""
    heads = weight.view(-1, 2, width // 2, weight.shape[-1])
    return heads.transpose(1, 2).reshape(weight.shape)


def _halved(weight: Tensor, width: int) -> Tensor:
    """Undo `_paired`."""
    heads = weight.view(-1, width // 2, 2, weight.shape[-1])
    return heads.transpose(1, 2).reshape(weight.shape)


def to_llama(model: Decoder) -> dict[str, Tensor]:
    """Return the weights under the names and shapes of `LlamaForCausalLM`.

    Raises ValueError for a model with shifted keys, which Llama has not.
    """
    if model.config.shifted_keys:
        raise ValueError("shifted_keys=True: a Llama has no such keys; allowed: False")
    weights = model.state_dict()
    out: dict[str, Tensor] = {}
    for ours, theirs, heights in _names(model.config):
        for name, part in zip(theirs, weights[ours].split(heights), strict=True):
            turned = name.endswith(("q_proj.weight", "k_proj.weight"))
            out[name] = _halved(part, model.config.head_width) if turned else part.clone()
    if model.config.tied:
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    return out


def from_llama(
    weights: Mapping[str, Tensor], config: ModelConfig, activation: str | Activation = "silu"
) -> Decoder:
    """Return a decoder with Llama's `weights` and any `activation`.

    Raises ValueError, naming it, for a weight that is missing, of another shape, or one that the
    decoder has no place for, such as a bias.
    """
    model = Decoder(config, activation)
    state = model.state_dict()
    known = {name for _, theirs, _ in _names(config) for name in theirs}
    # a tied head repeats the embedding; frequencies of RoPE are computed
    known |= {"lm_head.weight"} if config.tied else set()
    left = [n for n in weights if n not in known and not n.endswith("rotary_emb.inv_freq")]
    if left:
        raise ValueError(f"{left[0]}: the model has no place for this weight")
    with torch.no_grad():
        for ours, theirs, heights in _names(config):
            for name, height in zip(theirs, heights, strict=True):
                shape = (height, *state[ours].shape[1:])
                found = tuple(weights[name].shape) if name in weights else None
                if found != shape:
                    raise ValueError(f"{name}: has shape {found}, the model needs {shape}")
            parts = [
                _paired(weights[name].float(), config.head_width)
                if name.endswith(("q_proj.weight", "k_proj.weight"))
                else weights[name].float()
                for name in theirs
            ]
            state[ours].copy_(torch.cat(parts))
    return model


def load_llama(
    folder: Path, activation: str | Activation = "silu", context: int | None = None
) -> Decoder:
    """Return the Llama checkpoint in `folder` (config.json, *.safetensors) with any `activation`.

    Raises ValueError if the files are missing or the variant is not supported.
    """
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        raise ValueError(f"checkpoint={folder}: needs config.json and *.safetensors")
    config = from_llama_config(json.loads((folder / "config.json").read_text()), context)
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= load_file(file)
    return from_llama(weights, config, activation)


def save_half(path: Path, model: Decoder) -> None:
    """Write `model` in half precision with its shape: two bytes a parameter, atomically."""
    weights = {name: weight.half() for name, weight in model.state_dict().items()}
    if model.config.tied:
        del weights["head.weight"]
    checkpoint.save(path, {"config": asdict(model.config), "weights": weights})


def load_half(path: Path, activation: str | Activation) -> Decoder:
    """Return the model that `save_half` wrote, in single precision, with any `activation`.

    Raises ValueError, one line, if the file is missing or truncated.
    """
    state = checkpoint.load(path)
    model = Decoder(ModelConfig(**state["config"]), activation)
    model.load_state_dict(state["weights"], strict=not model.config.tied)
    return model
