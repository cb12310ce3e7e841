import pytest
import torch
from torch import nn

from stocha.toy.fast.adam import FlatAdam


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("decoupled", [False, True])
def test_flat_adam_is_torchs(decay, decoupled):
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 2), (5,)]
    start = [torch.randn(s, generator=draw, dtype=torch.float64) for s in shapes]
    ours = [nn.Parameter(p.clone()) for p in start]
    torchs = [nn.Parameter(p.clone()) for p in start]
    flat = FlatAdam(ours, 0.05, decay, decoupled)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    adam = kind(torchs, lr=0.05, weight_decay=decay)
    for _ in range(20):
        scale = torch.randn((), generator=draw, dtype=torch.float64)
        for parameters in (ours, torchs):
            for p in parameters:
                (scale * p.pow(3).sum()).backward()
        flat.step()
        adam.step()
        adam.zero_grad()
        for p, q in zip(ours, torchs, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-13)
