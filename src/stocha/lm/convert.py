"""Weights to and from the Hugging Face Llama family, so that a real checkpoint can be studied."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stocha.activations import Activation
from stocha.lm import checkpoint
from stocha.lm.config import ModelConfig
from stocha.lm.model import Decoder

_FAMILY = ("llama", "mistral")
_PART = "partial_rotary_factor"
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu", "gelu": "gelu", "relu2": "relu2"}
_READ = {
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"),
    *("rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings"),
    *(_PART, "hidden_act"),
}
_INERT = {
    *("architectures", "torch_dtype", "dtype", "transformers_version", "use_cache"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
    *("initializer_range", "attention_dropout", "pretraining_tp", "chunk_size_feed_forward"),
    *("id2label", "label2id", "return_dict", "output_attentions", "output_hidden_states"),
    *("problem_type", "is_llama_config", "_attn_implementation", "_name_or_path"),
}
"""Fields of a config.json that change no logit of a model without dropout."""


def from_llama_config(config: Mapping[str, Any], context: int | None = None) -> ModelConfig:
    """Return the `ModelConfig` of a Llama `config.json`.

    Parameters: `context`, a shorter one than the checkpoint's. Raises ValueError, naming the field,
    for every variant that the decoder does not have: a field is known here, or null or false.
    """
    for name, value in config.items():
        if name not in _READ | _INERT and value not in (None, False, [], {}):
            raise ValueError(f"{name}={value!r}: the decoder has nothing like it; allowed: null")

    def number(name: str, default: float | None = None, among: Any = config) -> Any:
        value: Any = among.get(name)
        value = default if value is None else value
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name}={value!r}: allowed: a finite number")
        return value

    if config.get("model_type", "llama") not in _FAMILY:
        listed = ", ".join(_FAMILY)
        raise ValueError(f"model_type={config['model_type']!r}: allowed: {listed}")
    rope: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        found = config.get(name) or {}
        kind = found.get("rope_type", found.get("type"))
        known = found.keys() <= {"rope_type", "type", "rope_theta", _PART}
        if not known or kind not in (None, "default"):
            raise ValueError(f"{name}={found!r}: allowed: RoPE of type 'default', not scaled")
        rope |= found
    for among in (config, rope):
        if number(_PART, 1.0, among) != 1:
            raise ValueError(f"{_PART}={among[_PART]}: allowed: 1, all of a head is rotated")
    heads, width = number("num_attention_heads"), number("hidden_size")
    if heads < 1:
        raise ValueError(f"num_attention_heads={heads}: allowed: 1 or more")
    tied = config.get("tie_word_embeddings", False)
    if tied not in (True, False, None):
        raise ValueError(f"tie_word_embeddings={tied!r}: allowed: true, false")
    if width // heads != number("head_dim", width // heads):
        raise ValueError(f"head_dim={config['head_dim']}: allowed: {width // heads}, width / heads")
    longest = number("max_position_embeddings")
    if context is not None and context > longest:
        raise ValueError(f"context={context}: allowed: at most {longest}, the checkpoint's")
    return ModelConfig(
        vocabulary=number("vocab_size"),
        width=width,
        layers=number("num_hidden_layers"),
        heads=heads,
        kv_heads=number("num_key_value_heads", heads),
        ffn=number("intermediate_size"),
        context=longest if context is None else context,
        rope_base=float(number("rope_theta", number("rope_theta", 10_000.0, rope))),
        eps=float(number("rms_norm_eps", 1e-6)),
        tied=bool(tied),
    )


_BLOCK = {
    "attention_norm": ["input_layernorm"],
    "ffn_norm": ["post_attention_layernorm"],
    "attention.qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention.out": ["self_attn.o_proj"],
    "ffn.gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "ffn.down": ["mlp.down_proj"],
}
"""The weights of a block, and Llama's, whose rows follow one another in ours."""


def _names(config: ModelConfig) -> dict[str, list[tuple[str, int]]]:
    """Our weights' names, each with Llama's of its row blocks and their heights."""
    kv = config.kv_heads * config.head_width
    heights = {"k_proj": kv, "v_proj": kv, "gate_proj": config.ffn, "up_proj": config.ffn}
    heights |= dict.fromkeys(("embed_tokens", "lm_head"), config.vocabulary)
    found = {"embedding": ["model.embed_tokens"], "norm": ["model.norm"]}
    found |= {} if config.tied else {"head": ["lm_head"]}
    for i in range(config.layers):
        found |= {f"blocks.{i}.{o}": [f"model.layers.{i}.{n}" for n in _BLOCK[o]] for o in _BLOCK}
    return {
        f"{ours}.weight": [
            (f"{name}.weight", heights.get(name.rpartition(".")[2], config.width)) for name in names
        ]
        for ours, names in found.items()
    }


def _reordered(weight: Tensor, pairs: int, halves: int) -> Tensor:
    """A head's rows from Llama's pairs (i, i + width/2) to ours, (2i, 2i + 1), or back.

    Parameters: `pairs`, `halves`, the order that they are in: 2 and width/2, or width/2 and 2.
    """
    heads = weight.view(-1, pairs, halves, weight.shape[-1])
    return heads.transpose(1, 2).reshape(weight.shape)


def to_llama(model: Decoder) -> dict[str, Tensor]:
    """Return the weights under the names and shapes of `LlamaForCausalLM`.

    Raises ValueError for a model with shifted keys, which Llama has not.
    """
    if model.config.shifted_keys:
        raise ValueError("shifted_keys=True: a Llama has no such keys; allowed: False")
    weights = model.state_dict()
    out: dict[str, Tensor] = {}
    for ours, theirs in _names(model.config).items():
        parts = weights[ours].split([height for _, height in theirs])
        for (name, _), part in zip(theirs, parts, strict=True):
            turned = name.endswith(("q_proj.weight", "k_proj.weight"))
            out[name] = (
                _reordered(part, model.config.head_width // 2, 2) if turned else part.clone()
            )
    if model.config.tied:
        out["lm_head.weight"] = out["model.embed_tokens.weight"]
    return out


def from_llama(
    weights: Mapping[str, Tensor], config: ModelConfig, activation: str | Activation = "silu"
) -> Decoder:
    """Return a decoder with Llama's `weights` and any `activation`.

    Raises ValueError, naming it, for a weight that is missing, of another shape, no finite floats,
    or one that the decoder has no place for, such as a bias or a head of its own in a tied model.
    """
    model = Decoder(config, activation)
    state = model.state_dict()
    known = {name for theirs in _names(config).values() for name, _ in theirs}
    if config.tied and "lm_head.weight" in weights:  # a tied head repeats the embedding
        if not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"]):
            raise ValueError("lm_head.weight: differs from the embedding, yet the head is tied")
        known |= {"lm_head.weight"}
    # frequencies of RoPE are computed
    left = [n for n in weights if n not in known and not n.endswith("rotary_emb.inv_freq")]
    if left:
        raise ValueError(f"{left[0]}: the model has no place for this weight")
    with torch.no_grad():
        for ours, theirs in _names(config).items():
            parts = []
            for name, height in theirs:
                part = _checked(weights, name, (height, *state[ours].shape[1:]))
                turned = name.endswith(("q_proj.weight", "k_proj.weight"))
                parts.append(_reordered(part, 2, config.head_width // 2) if turned else part)
            state[ours].copy_(torch.cat(parts))
    return model


def _checked(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """The weight `name` in single precision, if it is one of finite floats of this shape."""
    found = weights.get(name)
    if found is None or found.shape != shape:
        had = None if found is None else tuple(found.shape)
        raise ValueError(f"{name}: has shape {had}, the model needs {shape}")
    if not found.is_floating_point():
        raise ValueError(f"{name}: is {found.dtype}; allowed: floats, not quantised")
    if not bool(found.isfinite().all()):
        raise ValueError(f"{name}: holds NaN or infinity")
    return found.float()


def load_llama(
    folder: Path, activation: str | Activation | None = None, context: int | None = None
) -> Decoder:
    """Return the Llama checkpoint in `folder` (config.json, *.safetensors).

    Parameters: `activation`, any; by default the checkpoint's own, `hidden_act`; `context`, a
    shorter one than the checkpoint's. Raises ValueError, one line, if a file is missing or the
    variant is not supported.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    about = folder / "config.json"
    if not files or not about.is_file():
        raise ValueError(f"checkpoint={folder}: needs config.json and *.safetensors")
    weights: dict[str, Tensor] = {}
    try:
        described = dict(json.loads(about.read_text()))
        for file in files:
            weights |= load_file(file)
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"checkpoint={folder}: cannot be read ({error})") from error
    own = described.get("hidden_act", "silu")
    if activation is None and own not in _ACTIVATIONS:
        raise ValueError(f"hidden_act={own!r}: allowed: {', '.join(_ACTIVATIONS)}")
    config = from_llama_config(described, context)
    return from_llama(weights, config, activation or _ACTIVATIONS[own])


def save_half(path: Path, model: Decoder) -> None:
    """Write `model` in half precision with its shape: two bytes a parameter, atomically."""
    weights = {name: weight.half() for name, weight in model.state_dict().items()}
    if model.config.tied:
        del weights["head.weight"]
    checkpoint.save(path, {"config": asdict(model.config), "weights": weights})


def load_half(path: Path, activation: str | Activation) -> Decoder:
    """Return the model that `save_half` wrote, in single precision, with any `activation`.

    Raises ValueError, one line, if the file is missing or damaged, or a weight is.
    """
    state = checkpoint.load(path)
    try:
        model = Decoder(ModelConfig(**state["config"]), activation)
        weights = dict(state["weights"])
        if model.config.tied:
            weights["head.weight"] = weights["embedding.weight"]
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"checkpoint={path}: not a model of this library ({reason})") from error
    return model
