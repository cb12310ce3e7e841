"""Write a Llama as GGUF, the file that llama.cpp reads, in its own roundings of weights."""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from stocha.base.errors import UserError

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_1")
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def write(model: PreTrainedModel, path: Path, kind: str) -> None:
    """Write `model`'s weights to `path`, without a vocabulary: what reads it is given token ids.

    Parameters: `kind` of all matrices, one of `TYPES`; norms stay float32. The file has no place
    for the activation of a Llama: llama.cpp computes SiLU whatever the configuration says.
    Raises ValueError for another kind or architecture.
    """
    import gguf  # not every use of this package needs it

    config = model.config
    if kind not in TYPES:
        raise UserError(f"kind={kind!r}: allowed: {', '.join(TYPES)}")
    if config.model_type != "llama":
        raise UserError(f"model_type={config.model_type!r}: allowed: llama")
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    theta = getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"]
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    kinds = gguf.GGMLQuantizationType
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem = name.removesuffix(".weight")
        count = heads.get(stem.rsplit(".", 1)[-1])
        given = weight.detach().float()
        data = (given if count is None else _interleaved(given, count)).contiguous().numpy()
        wanted = kinds[kind] if data.ndim == 2 else kinds.F32
        writer.add_tensor(_name(stem), gguf.quants.quantize(data, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Order a head's rows as llama.cpp rotates them: pairs side by side, not half a head apart."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _name(stem: str) -> str:
    if stem in _NAMES:
        return f"{_NAMES[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_LAYER[part]}.weight"
