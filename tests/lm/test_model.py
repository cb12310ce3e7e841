"""The decoder against Hugging Face's Llama, and the laws that attention and RoPE obey."""

import json
import math
import re

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from stocha.activations import StochA, make
from stocha.base.streams import generator
from stocha.lm import checkpoint
from stocha.lm.config import ModelConfig
from stocha.lm.convert import (
    from_llama,
    from_llama_config,
    load_half,
    load_llama,
    save_half,
    to_llama,
)
from stocha.lm.fast.operations import Fused
from stocha.lm.model import Decoder
from stocha.lm.operations import Plain, shift

HEADS = [(4, 4), (4, 2), (4, 1), (2, 1), (6, 3)]


def config(heads: int = 4, kv_heads: int = 2, **options: object) -> ModelConfig:
    return ModelConfig(
        **{
            "vocabulary": 61,
            "width": 48,
            "layers": 2,
            "heads": heads,
            "kv_heads": kv_heads,
            "ffn": 40,
            "context": 160,
            **options,
        }
    )


def llama(config: ModelConfig, activation: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.ffn,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.context,
        rms_norm_eps=config.eps,
        rope_theta=config.rope_base,
        tie_word_embeddings=config.tied,
        hidden_act=activation,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(shape).eval()


def ids(rows: int = 2, length: int = 150) -> Tensor:
    return torch.randint(0, 61, (rows, length), generator=torch.Generator().manual_seed(1))


def drawn(layer: int) -> list[torch.Generator]:
    return [generator(0, "activation", 0, layer, row) for row in range(2)]


@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("operations", [Plain(), Fused()], ids=type)
def test_logits_are_those_of_llama(
    activation: str, heads: int, kv_heads: int, operations: Plain
) -> None:
    peer = llama(config(heads, kv_heads), activation)
    weights = from_llama(peer.state_dict(), config(heads, kv_heads), activation).state_dict()
    model = Decoder(config(heads, kv_heads), activation, operations=operations)
    model.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(model(ids()), peer(ids()).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_survive_the_way_to_llama_and_back(tied: bool) -> None:
    model = Decoder(config(tied=tied), "relu", seed=3)
    peer = llama(model.config, "relu")
    peer.load_state_dict(to_llama(model))
    with torch.no_grad():
        torch.testing.assert_close(model(ids()), peer(ids()).logits, atol=1e-5, rtol=1e-4)
    back = from_llama(peer.state_dict(), model.config, "relu")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name]), name


def test_a_checkpoint_on_disk_is_loaded_with_another_activation(tmp_path) -> None:
    peer = llama(config(), "silu")
    peer.save_pretrained(tmp_path)
    model = load_llama(tmp_path, "relu")
    assert model.config == config()
    reference = llama(config(), "relu")
    reference.load_state_dict(peer.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(ids()), reference(ids()).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_half_precision_model_survives_the_disk(tmp_path, tied: bool) -> None:
    model = Decoder(config(tied=tied), "relu", seed=3)
    save_half(tmp_path / "model.pt", model)
    size = (tmp_path / "model.pt").stat().st_size
    assert size < 2 * model.config.parameters + 20_000
    back = load_half(tmp_path / "model.pt", "silu")
    assert back.config == model.config
    assert "silu" in str(back.activation)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.half().float(), back.state_dict()[name]), name


def test_a_key_with_a_shift_is_half_its_own_and_half_the_one_before() -> None:
    k = torch.arange(24.0).view(1, 1, 3, 8)
    assert shift(k, None)[0, 0, :, 0].tolist() == [0, 8, 16]
    assert shift(k, None)[0, 0, :, 4].tolist() == [4, 4, 12]
    assert shift(k, k[:, :, 2:])[0, 0, :, 4].tolist() == [20, 4, 12]


def test_a_model_with_shifted_keys_is_no_llama() -> None:
    with pytest.raises(ValueError, match="shifted_keys=True"):
        to_llama(Decoder(config(shifted_keys=True)))


def test_unsupported_weights_are_refused() -> None:
    weights = llama(config(), "silu").state_dict()
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.zeros(16)}
    with pytest.raises(ValueError, match=r"q_proj\.bias: the model has no place"):
        from_llama(weights | bias, config())
    down = "model.layers.1.mlp.down_proj.weight"
    broken = weights[down].clone()
    broken[0, 0] = torch.nan
    for part, message in [
        (None, "has shape None"),
        (weights[down][:1], "has shape"),
        (weights[down].to(torch.int8), "is torch.int8; allowed: floats, not quantised"),
        (broken, "holds NaN or infinity"),
    ]:
        other = {name: part if name == down else w for name, w in weights.items()}
        with pytest.raises(ValueError, match=f"^{re.escape(down)}: {message}"):
            from_llama({n: w for n, w in other.items() if w is not None}, config())
    with pytest.raises(ValueError, match=r"^lm_head\.weight: differs from the embedding"):
        from_llama(weights | {"lm_head.weight": torch.zeros(61, 48)}, config(tied=True))


REFUSED = {
    "model_type": ["granite", "qwen2", "mixtral", "gpt2"],
    "sliding_window": [4096],
    "partial_rotary_factor": [0.5],
    "rope_scaling": [{"factor": 2.0}, {"rope_type": "llama3"}, {"type": "default", "factor": 2.0}],
    "rope_parameters": [{"full_attention": {"rope_type": "default", "rope_theta": 1e4}}],
    "rope_theta": [math.nan, math.inf, "10000"],
    "attention_bias": [True],
    "mlp_bias": [True],
    "embedding_multiplier": [12.0],
    "residual_multiplier": [0.22],
    "attention_multiplier": [1.0],
    "logits_scaling": [8.0],
    "final_logit_softcapping": [30.0],
    "attn_logit_softcapping": [50.0],
    "num_local_experts": [8],
    "quantization_config": [{"load_in_8bit": True}],
    "query_pre_attn_scalar": [256],
    "head_dim": [16],
    "num_attention_heads": [0],
    "tie_word_embeddings": ["yes"],
    "rope_interleaved": [True],
    "vocab_size": [None, "61"],
    "a_field_of_tomorrow": [3],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, vs in REFUSED.items() for v in vs])
def test_a_variant_that_the_decoder_has_not_is_refused_by_the_fields_name(
    field: str, value: object
) -> None:
    shape = llama(config(), "silu").config.to_dict()
    assert from_llama_config(shape) == config()
    with pytest.raises(ValueError, match=f"^{field}=") as caught:
        from_llama_config(shape | {field: value})
    assert "\n" not in str(caught.value)


def test_real_configurations_of_the_family_are_read() -> None:
    smollm = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576,
        "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
        "is_llama_config": True, "max_position_embeddings": 8192, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": False,
        "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": True,
        "vocab_size": 49152,
    }  # fmt: skip
    found = from_llama_config(smollm, 512)
    assert (found.width, found.kv_heads, found.rope_base, found.context) == (576, 3, 1e5, 512)
    with pytest.raises(ValueError, match=r"^context=0: allowed:"):
        from_llama_config(smollm, 0)
    with pytest.raises(ValueError, match=r"^context=9000: allowed: at most 8192"):
        from_llama_config(smollm, 9000)


def test_a_checkpoints_own_activation_is_taken_where_none_is_asked_for(tmp_path) -> None:
    llama(config(), "relu").save_pretrained(tmp_path)
    assert "relu" in str(load_llama(tmp_path).activation)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(described | {"hidden_act": "gelu_new"}))
    with pytest.raises(ValueError, match=r"^hidden_act='gelu_new': allowed: silu"):
        load_llama(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"^checkpoint=.*: cannot be read"):
        load_llama(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("lost", ["blocks.1.ffn.down.weight", "norm.weight", "embedding.weight"])
def test_a_kept_model_with_a_part_missing_is_refused(tmp_path, tied: bool, lost: str) -> None:
    model = Decoder(config(tied=tied), "relu")
    save_half(tmp_path / "model.pt", model)
    state = checkpoint.load(tmp_path / "model.pt")
    del state["weights"][lost]
    checkpoint.save(tmp_path / "model.pt", state)
    with pytest.raises(ValueError, match=f"not a model of this library.*{lost}") as caught:
        load_half(tmp_path / "model.pt", "relu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        "silu",
        "gelu",
        "relu2",
        "bernoulli_silu",
        *(
            StochA(0.3, positive, granularity, train)
            for positive in ("identity", "silu", "mixed")
            for granularity, train in [
                ("element", "sample"),
                ("token", "sample"),
                ("layer", "sample"),
                ("element", "expectation"),
            ]
        ),
        "learnable_stoch",
    ],
    ids=str,
)
@pytest.mark.parametrize("shifted", [False, True])
def test_fused_and_plain_agree_in_loss_and_every_gradient(activation, shifted) -> None:
    results = []
    for operations in (Fused(), Plain()):
        shape = config(4, 2, shifted_keys=shifted)
        act = make(activation) if isinstance(activation, str) else activation
        model = Decoder(shape, act, seed=1, operations=operations).train()
        for parameter in model.parameters():  # away from the initialisation's tiny activations
            parameter.data.mul_(5 if parameter.ndim == 2 else 0.7)
        loss = model.loss(ids()[:, :-1], ids()[:, 1:], drawn)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=2e-4, atol=2e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("operations", [Plain(), Fused()], ids=type)
def test_no_position_sees_the_future(operations: Plain, shifted: bool) -> None:
    model = Decoder(config(shifted_keys=shifted), "silu", operations=operations)
    changed = ids()
    changed[:, 130:] = (changed[:, 130:] + 1) % 61
    with torch.no_grad():
        before, after = model(ids()), model(changed)
    assert torch.equal(before[:, :130], after[:, :130])
    assert not torch.allclose(before[:, 130:], after[:, 130:])


def test_rope_depends_on_relative_positions_only() -> None:
    model = Decoder(config(layers=1), "silu")
    block = model.layers[0].attention
    x = torch.randn(1, 20, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        here = block(x, model.turn[:20])
        there = block(x, model.turn[90:110])
        stretched = block(x, model.turn[:40:2])
    torch.testing.assert_close(here, there, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(here, stretched, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_the_cache_gives_the_logits_of_one_pass(heads: int, kv_heads: int, shifted: bool) -> None:
    model = Decoder(config(heads, kv_heads, shifted_keys=shifted), "relu")
    cache = model.cache(2)
    with torch.no_grad():
        whole = model(ids(length=40))
        parts = [
            model(ids(length=40)[:, a:b], None, cache) for a, b in ((0, 17), (17, 18), (18, 40))
        ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_than_the_kernels_are_plain(dtype: torch.dtype) -> None:
    fused, plain = (Decoder(config(), StochA(0.5), operations=o()) for o in (Fused, Plain))
    losses = [m.to(dtype).loss(ids()[:, :-1], ids()[:, 1:], drawn) for m in (fused, plain)]
    assert losses[0].dtype == dtype
    assert torch.equal(*losses)


def test_initialisation_is_the_seeds_alone_and_as_documented() -> None:
    first, again, other = (Decoder(ModelConfig(), "silu", seed) for seed in (0, 0, 1))
    torch.manual_seed(99)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    layer = first.layers[0]
    assert float(layer.ffn.gate_up.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(layer.ffn.down.weight.detach().std()) == pytest.approx(0.02 / 8**0.5, rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted(tied: bool) -> None:
    shape = ModelConfig(tied=tied)
    model = Decoder(shape)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2)
    assert shape.matrix_parameters == matrices - (0 if tied else model.embedding.weight.numel())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 5}, "heads=5"),
        ({"heads": 64, "width": 64}, "heads=64"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads=3"),
        ({"layers": 0}, "layers=0"),
        ({"heads": 8, "shifted_keys": True}, "shifted_keys=True"),
    ],
)
def test_impossible_shapes_are_one_clear_line(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        config(**wrong)
    assert "\n" not in str(caught.value)


def test_misuse_is_one_clear_line() -> None:
    model = Decoder(config(), StochA(0.5))
    with pytest.raises(ValueError, match="noise=None"):
        model(ids())
    model.use(make("silu"))
    with pytest.raises(ValueError, match="context is 160"):
        model(ids(length=161))


@pytest.mark.parametrize("operations", [Plain, Fused])
def test_drelu_gates_with_both_projections(operations) -> None:
    model = Decoder(config(), "drelu", operations=operations())
    ffn, x = model.layers[0].ffn, torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    plain = ffn(x)
    ffn.probe = seen.append
    gate, up = torch.nn.functional.linear(x, ffn.gate_up.weight).relu().chunk(2, -1)
    torch.testing.assert_close(ffn(x), plain)
    torch.testing.assert_close(plain, (gate * up) @ ffn.down.weight.T)
    torch.testing.assert_close(seen[0], gate * up)


def test_layers_share_an_activation_unless_it_learns() -> None:
    shared, own = Decoder(config(), "silu").activations, Decoder(config(), "xielu").activations
    assert shared[0] is shared[1]
    assert own[0] is not own[1]
    assert own[0].learnt is not own[1].learnt
