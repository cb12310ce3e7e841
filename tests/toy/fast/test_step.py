"""The written-out training step against autograd in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.activations import gated
from stocha.arms import Phase
from stocha.base.streams import generator, uniform
from stocha.toy import ensemble
from stocha.toy.config import ToyConfig
from stocha.toy.data import ToyData, make_data
from stocha.toy.fast.adam import FlatAdam
from stocha.toy.fast.step import Layer, has_kernel

CASES = {
    arm: ToyConfig(arm=arm)
    for arm in (
        "relu",
        "silu",
        "stocha(0.3,positive=mixed)",
        "stocha(0.3,positive=mixed,train=expectation)",
        "stocha(0.3,positive=mixed,train=silu)",
        "stocha(0,positive=mixed)",
        "learnable_stoch",
        "learnable_stoch(hidden=1)",
        "gumbel_stoch",
        "gumbel_stoch(temperature=0.5,train=soft)",
        "gumbel_stoch(train=expectation)",
        "anneal(positive=mixed)",
        "stocha(0.3)",
        "learnable_stoch(input=layer)",
        "learnable_stoch(positive=identity)",
        "gumbel_stoch(input=layer,positive=identity,start=even)",
    )
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SMALL = {"samples": 80, "features": 5, "runs": 3, "epochs": 1, "batch_size": 16}


def prepared(config: ToyConfig, scale: float):
    """Networks with parameters `scale` times the initial ones, ready to be differentiated."""
    network = ensemble.Ensemble(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    network.activations.at(2)
    parameters = list(network.parameters())
    FlatAdam(parameters, lr=1.0)
    return network, parameters


@cases
@given(
    widths=st.lists(st.integers(1, 9) | st.integers(30, 40), min_size=1, max_size=3).map(tuple),
    classes=st.integers(2, 4),
    batch=st.integers(1, 40),
    scale=st.floats(0.5, 4),
    seed=st.integers(0, 9),
)
@settings(max_examples=25)
def test_losses_and_gradients_are_autograds(case, widths, classes, batch, scale, seed):
    config = replace(case, **SMALL, widths=widths, classes=classes, seed=seed)
    data = make_data(config)
    order = torch.randint(config.train_samples, (3, batch), generator=generator(seed, "order"))
    network, parameters = prepared(config, scale)
    exact, wanted = prepared(replace(config, dtype="float64"), scale)
    with torch.no_grad():
        for p, q in zip(parameters, wanted, strict=True):
            q.copy_(p)
    double = ToyData(*(t.double() if t.is_floating_point() else t for t in vars(data).values()))
    noise = ensemble.RunNoise(config)
    step = ensemble.by_kernels(network, data)
    assert step is not None
    loss = step(order, noise.at(2))
    with pytest.MonkeyPatch.context() as patch:
        # the float64 layer decides by the uniforms that the float32 one draws
        patch.setattr(
            gated, "uniform", lambda shape, g, kind: uniform(shape, g, torch.float32).to(kind)
        )
        right = ensemble.by_autograd(exact, double)(order, noise.at(2))
    torch.testing.assert_close(loss.double(), right, rtol=1e-4, atol=1e-3)
    for p, q in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(p.grad.double(), q.grad, rtol=1e-3, atol=1e-4)


@cases
def test_limits_are_the_modules(case):
    config = replace(case, **SMALL, widths=(3,))
    network, _ = prepared(config, 1.0)
    activation = network.activations.in_force[0]
    far = torch.tensor([torch.inf, -torch.inf, 3e38, -3e38, 0.0, -0.0, torch.nan])
    layer = Layer(3, 3, len(far))
    layer.z[:] = far.numpy()
    noise = ensemble.RunNoise(config).at(2)
    layer.forward(activation, lambda: noise(0))
    with torch.no_grad():
        want = activation(
            torch.from_numpy(layer.z).mT, noise(0) if activation.stochastic else None
        ).mT
    torch.testing.assert_close(
        torch.from_numpy(layer.a), want, rtol=1e-5, atol=1e-30, equal_nan=True
    )


@pytest.mark.parametrize(
    "arm",
    [
        "gelu",
        "rrelu",
        "bernoulli_silu",
        "stocha(0.5,positive=silu)",
        "stocha(0.5,train=expectation)",
        "stocha(0.5,granularity=token,positive=mixed)",
        "relu+gelu(0.5)",
    ],
)
def test_what_has_no_kernel_is_left_to_autograd(arm):
    config = replace(ToyConfig(arm=arm), **SMALL)
    activation = config.plan.phase_at(1, 2).make(width=3)
    assert not has_kernel(activation)
    with pytest.raises(TypeError, match="no kernel"):
        Layer(2, 3, 4).forward(activation, list)
    assert ensemble.by_kernels(ensemble.Ensemble(config), make_data(config)) is None


def test_a_swap_between_batches_of_two_sizes_keeps_its_own_memory():
    config = replace(ToyConfig(arm="relu", inference=("silu",)), **SMALL)
    network, parameters = prepared(config, 1.0)
    step = ensemble.by_kernels(network, make_data(config))
    noise = ensemble.RunNoise(config).at(0)
    many, few = torch.arange(16).expand(3, -1), torch.arange(5).expand(3, -1)
    step(many, noise)
    first = [p.grad.clone() for p in parameters]
    step(few, noise)
    network.activations.put_in_force(Phase("silu"))
    step(many, noise)
    assert not all(torch.equal(p.grad, f) for p, f in zip(parameters, first, strict=True))
    network.activations.put_in_force(Phase("relu"))
    step(many, noise)
    for p, f in zip(parameters, first, strict=True):
        np.testing.assert_array_equal(p.grad, f)
