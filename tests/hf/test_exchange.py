"""Every family's activation is exchanged as Hugging Face itself would have built it."""

import copy

import pytest
import torch
import transformers
from tests.hf.conftest import tiny
from transformers import AutoModelForCausalLM

from stocha import activations
from stocha.base.streams import generator
from stocha.hf import register, use
from stocha.hf.exchange import FAMILIES, Keyed, current, layers

HF_GPT2 = {"n_layer": 1, "n_embd": 8, "n_head": 1, "vocab_size": 16}


def logits(model, tokens):
    with torch.no_grad():
        return model(tokens).logits


@pytest.mark.parametrize("model_type", FAMILIES)
def test_relu_in_place_of_its_own_is_what_hugging_face_builds(model_type, tokens):
    model = tiny(model_type)
    field = FAMILIES[model_type]
    own, before = current(model), logits(model, tokens)

    config = copy.deepcopy(model.config)
    setattr(config, field, "relu")
    theirs = AutoModelForCausalLM.from_config(config).eval()
    theirs.load_state_dict(model.state_dict())

    use(model, "relu")
    assert torch.equal(logits(model, tokens), logits(theirs, tokens))
    assert not torch.equal(logits(model, tokens), before)
    use(model, own)
    assert torch.equal(logits(model, tokens), before)


@pytest.mark.parametrize("name", [name for name in activations.names() if name != "drelu"])
def test_every_activation_of_the_study_runs_and_loads_again(name, tokens, tmp_path):
    model = use(tiny(), name, seed=4)
    assert current(model).startswith(name)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    saved = model.state_dict()
    assert saved.keys() == again.state_dict().keys()
    assert all(torch.equal(saved[k], value) for k, value in again.state_dict().items())
    for index, layer in enumerate(layers(again)):
        if isinstance(layer.act_fn, Keyed):
            layer.act_fn.layer = index
            layer.act_fn.seek(4)
    # Hugging Face's own xIELU comes back with its constants in bfloat16
    near = {"atol": 2e-3, "rtol": 0} if name == "xielu" else {"atol": 0, "rtol": 0}
    torch.testing.assert_close(logits(model, tokens), logits(again, tokens), **near)


def test_the_activation_between_gate_and_down_is_the_study_s(tokens):
    model = use(tiny(), "stocha", p=0.7, seed=3)
    layer = layers(model)[1]
    seen = {}
    layer.act_fn.register_forward_hook(lambda _, x, y: seen.update(x=x[0], y=y))
    logits(model, tokens)
    source = generator(3, "activation", 1, "test", 1)
    expected = activations.stocha(seen["x"], 0.7, positive="identity", generator=source)
    assert torch.equal(seen["y"], expected)


def test_layers_and_calls_draw_independently_and_a_seed_repeats_them(tokens):
    first, second = (use(tiny(), "stocha(0.5)", seed=1) for _ in range(2))
    a, b = logits(first, tokens), logits(first, tokens)
    assert not torch.equal(a, b)
    assert torch.equal(a, logits(second, tokens))
    assert not torch.equal(a, logits(use(tiny(), "stocha(0.5)", seed=2), tokens))
    x = torch.linspace(-3, 3, 1000)
    drawn = [layer.act_fn(x) for layer in layers(first)]
    assert not torch.equal(*drawn)


def test_the_global_random_state_is_left_alone(tokens):
    model = use(tiny(), "stocha", p=0.5)
    state = torch.random.get_rng_state()
    logits(model, tokens)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_configuration_may_name_it(tokens):
    register("stocha(0.25)")
    for name in ("stocha", "stocha(0.25)"):
        model = tiny(hidden_act=name)
        assert [layer.act_fn.phase["p"] for layer in layers(model)] == [
            0.5 if name == "stocha" else 0.25
        ] * 2
        assert layers(model)[0].act_fn.layer != layers(model)[1].act_fn.layer
        assert torch.isfinite(logits(model, tokens)).all()


def test_gradients_flow_through_the_branch_that_each_element_took(tokens):
    model = use(tiny(), "stocha", p=0.7).train()
    model(tokens, labels=tokens).loss.backward()
    assert all(layer.gate_proj.weight.grad.abs().sum() > 0 for layer in layers(model))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: use(transformers.GPT2LMHeadModel(transformers.GPT2Config(**HF_GPT2)), "relu"),
            "model_type='gpt2': allowed: gemma, ",
        ),
        (lambda: use(tiny(), "stoch"), "activation='stoch': allowed: "),
        (lambda: use(tiny(), "stocha", q=1), "q=1: "),
        (lambda: use(tiny(), "stocha", p=2), "p=2"),
        (lambda: use(tiny(), "relu", p=0.5), "p=0.5: relu has no such option"),
        (lambda: use(tiny(), "drelu"), "activation='drelu': acts on the up projection too"),
        (lambda: use(tiny(), "xielu", beta=0.9), "beta=0.9: allowed"),
        (lambda: use(tiny(), "silu+ft(0.1)"), "activation='silu\\+ft"),
        (
            lambda: use(tiny("gemma"), "gelu"),
            "activation='gelu': its configuration reads that as gelu_pytorch_tanh",
        ),
    ],
)
def test_a_mistake_is_one_line(call, line):
    with pytest.raises(ValueError, match=f"^{line}.*$"):
        call()
