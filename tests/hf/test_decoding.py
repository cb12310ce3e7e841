"""Sparse layers generate what the dense model generates."""

import pytest
import torch
from tests.hf.conftest import tiny

from stocha.hf import sparse, use
from stocha.hf.decoding import SparseMLP

SHARED = {"method": "sparse", "threads": 1}


@pytest.mark.parametrize("model_type", ["llama", "gemma2"])
@pytest.mark.parametrize("method", ["sparse", "screened"])
def test_the_same_tokens_as_dense(model_type, method, tokens):
    model = use(tiny(model_type), "relu")
    settings = {"max_new_tokens": 20, "do_sample": False}
    prompt = tokens[:1, :5]
    dense = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    keys = model.state_dict().keys()

    sparse(model, method=method, threads=1)
    found = [m for m in model.modules() if isinstance(m, SparseMLP)]
    assert len(found) == 2
    assert model.state_dict().keys() == keys
    again = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert torch.equal(dense, again)
    assert dense.shape[1] > prompt.shape[1] + 4
    assert all(0.2 < m.ffn.inactive < 0.9 for m in found)  # it was the sparse one that ran


def test_a_prompt_goes_through_the_dense_modules_and_has_their_bits(tokens):
    model = use(tiny(), "relu")
    with torch.no_grad():
        dense = model(tokens).logits
        sparse(model, **SHARED)
        assert torch.equal(model(tokens).logits, dense)
        short = model(tokens[:1, :8]).logits
    torch.testing.assert_close(short, dense[:1, :8], rtol=1e-4, atol=1e-4)


def test_bfloat16_weights_are_read_as_they_are(tokens):
    model = use(tiny().to(torch.bfloat16), "relu")
    with torch.no_grad():
        dense = model(tokens[:1, :8]).logits
        found = sparse(model, **SHARED)(tokens[:1, :8]).logits
    torch.testing.assert_close(found, dense, rtol=0.05, atol=0.3)


def test_break_even_points_are_measured_once():
    model = sparse(use(tiny(), "relu"), threads=1)
    points = [m.ffn.break_even for m in model.modules() if isinstance(m, SparseMLP)]
    assert points[0] is points[1] is not None


def test_a_gradient_is_refused_rather_than_lost(tokens):
    model = sparse(use(tiny(), "relu"), **SHARED)
    with pytest.raises(ValueError, match=r"^x=a tensor with gradient: "):
        model(tokens[:1, :8])


@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "silu"])
def test_an_activation_without_zeros_is_refused(activation):
    with pytest.raises(ValueError, match=rf"^activation={activation}: .* allowed: relu, relu2; "):
        sparse(use(tiny(), activation))
    assert sparse(use(tiny(), "silu"), threshold=0.1, **SHARED)
