"""The kernels of an ensemble against the library's modules in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stocha import activations
from stocha.activations import make
from stocha.randomness import generator, uniform
from stocha.toy.stacked import activate

RUNS, BATCH, WIDTH = 2, 7, 3
CASES = {
    "stocha": ("stocha", {"p": 0.3}),
    "learnable": ("learnable_stoch", {}),
    "learnable, one unit": ("learnable_stoch", {"hidden": 1}),
    "gumbel": ("gumbel_stoch", {}),
    "gumbel, soft": ("gumbel_stoch", {"train": "soft", "temperature": 0.5}),
    "gumbel, expected": ("gumbel_stoch", {"train": "expectation"}),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def layers(case):
    """The same layer in float32 and float64."""
    name, options = case
    size = {} if name == "stocha" else {"runs": RUNS, "width": WIDTH}
    single, double = (make(name, **size, **options).train() for _ in range(2))
    return single, double.double()


def noise(seed):
    return [generator(seed, "noise", run) for run in range(RUNS)]


def value_and_gradients(function, layer, z, slope):
    """The layer's output at z `[runs, width, batch]` transposed, and all gradients."""
    x = z.detach().clone().requires_grad_()
    y = function(layer, x.mT, noise(3))
    return y, torch.autograd.grad(y, [x, *layer.parameters()], slope.mT)


@pytest.fixture
def float32_draws(monkeypatch):
    """Let the float64 layer decide by the uniforms that the float32 one draws."""
    monkeypatch.setattr(
        activations, "uniform", lambda shape, g, dtype: uniform(shape, g, torch.float32).to(dtype)
    )


finite = st.floats(-30, 30, width=32)


@cases
@given(
    z=arrays(np.float32, (RUNS, WIDTH, BATCH), elements=finite),
    slope=arrays(np.float32, (RUNS, WIDTH, BATCH), elements=st.floats(-2, 2, width=32)),
)
@settings(max_examples=30, deadline=None)
def test_value_and_gradients_are_the_modules(case, z, slope):
    single, double = layers(case)
    z, slope = torch.from_numpy(z), torch.from_numpy(slope)
    with pytest.MonkeyPatch.context() as patch:
        float32_draws.__wrapped__(patch)
        y, gradients = value_and_gradients(activate, single, z, slope)
        want, wanted = value_and_gradients(
            lambda layer, x, g: layer(x, g), double, z.double(), slope.double()
        )
    torch.testing.assert_close(y.double(), want, rtol=1e-5, atol=1e-5)
    for found, right in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=3e-4)


@cases
def test_limits_are_the_modules(case, float32_draws):
    single, double = layers(case)
    far = torch.tensor([torch.inf, -torch.inf, 3e38, -3e38, 0.0, -0.0, torch.nan])
    z = far.expand(RUNS, WIDTH, BATCH)
    y = activate(single, z.mT, noise(3)).double()
    want = double(z.double().mT, noise(3))
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-30, equal_nan=True)


@cases
def test_rows_may_lie_either_way(case):
    single, _ = layers(case)
    z = torch.randn(RUNS, WIDTH, BATCH, generator=generator(0, "data"))
    across = activate(single, z.mT, noise(3))
    along = activate(single, z.mT.contiguous(), noise(3))
    assert torch.equal(across, along)
    assert across.mT.is_contiguous()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {}),
        ("stocha", {"p": 1.0}),
        ("stocha", {"positive": "silu"}),
        ("stocha", {"granularity": "token"}),
        ("stocha", {"train": "expectation"}),
        ("learnable_stoch", {"input": "layer", "runs": RUNS, "width": WIDTH}),
    ],
)
def test_everything_else_is_the_module_itself(name, options):
    layer = make(name, **options)
    x = torch.randn(RUNS, BATCH, WIDTH, generator=generator(0, "data"))
    assert torch.equal(activate(layer, x, noise(3)), layer(x, noise(3)))
