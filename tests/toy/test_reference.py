from dataclasses import replace

import numpy as np
import pytest

from stocha.toy import reference
from stocha.toy.config import ToyConfig

SMALL = ToyConfig(
    arm="stocha(0.5,positive=mixed)", samples=200, features=5, widths=(3,), epochs=1, runs=2
)


def test_processes_give_the_runs_in_order():
    pooled = reference.train(SMALL, workers=2)
    assert pooled.seeds == (0, 1)
    for row, seed in enumerate(SMALL.run_seeds):
        np.testing.assert_array_equal(
            pooled.val_loss[row], reference.train_run(SMALL, seed).val_loss[0]
        )


def test_workers_are_checked():
    with pytest.raises(ValueError, match=r"^workers=0: allowed: an integer >= 1$"):
        reference.train(replace(SMALL, runs=1), workers=0)
