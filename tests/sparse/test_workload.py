"""The benchmark's layers have the sparsity they state, and are no easier to screen than that."""

import numpy as np
import pytest
from scipy import stats

from stocha.sparse.workload import make_inputs, make_layer


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.97])
def test_layers_have_the_stated_sparsity(sparsity):
    layer = make_layer(512, 4096, sparsity, seed=1)
    closed = make_inputs(512, 8, seed=2) @ layer.gate.T <= 0
    assert closed.mean() == pytest.approx(sparsity, abs=0.012)


def test_pre_activations_are_a_shifted_gaussian():
    layer = make_layer(512, 4096, 0.9, seed=1, spread=0.0)
    values = (make_inputs(512, 1, seed=2) @ layer.gate.T).ravel()
    assert stats.kstest(values, "norm", (-1.2816, 1.0)).pvalue > 0.001


def test_inputs_have_unit_variance_and_different_masks():
    x = make_inputs(512, 4, seed=2)
    np.testing.assert_allclose(np.square(x).mean(axis=1), 1, rtol=1e-4)
    masks = x @ make_layer(512, 2048, 0.9, seed=1).gate.T > 0
    assert (masks[0] != masks[1]).mean() > 0.05


def test_views_share_memory_and_the_transpose_is_one():
    layer = make_layer(16, 32, 0.5, seed=0)
    assert layer.gate.base is layer.stacked
    assert (layer.down_rows == layer.down.T).all()


def test_impossible_sparsity():
    with pytest.raises(ValueError, match=r"sparsity=1.0: allowed: \[0, 1\)"):
        make_layer(8, 8, 1.0, seed=0)
