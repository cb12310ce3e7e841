"""Configurations refuse what would train a NaN, in one line and before any work."""

import math
from pathlib import Path

import pytest

from stocha.base.identity import normalised
from stocha.lm import config
from stocha.lm.config import ModelConfig, TrainConfig


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TrainConfig, "lr", math.inf),
        (TrainConfig, "lr", 0),
        (TrainConfig, "beta1", 1.0),
        (TrainConfig, "beta2", 2),
        (TrainConfig, "adam_eps", math.nan),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "schedule", "linear"),
        (TrainConfig, "tokens", 1.5),
        (ModelConfig, "eps", math.nan),
        (ModelConfig, "rope_base", 0.0),
        (ModelConfig, "rope_base", math.inf),
        (ModelConfig, "layers", 0),
        (ModelConfig, "kv_heads", 3),
        (ModelConfig, "tied", "no"),
    ],
)
def test_an_impossible_value_is_one_line_with_its_name(kind, name, value) -> None:
    with pytest.raises(ValueError, match=f"^{name}=") as caught:
        kind(**{name: value})
    assert "\n" not in str(caught.value)


def test_micro_batches_divide_the_batch() -> None:
    assert TrainConfig(batch=24).micro_batch == 12
    with pytest.raises(ValueError, match="micro_batch=5: must divide"):
        TrainConfig(batch=24, micro_batch=5)


def test_a_default_that_no_page_gives_names_the_result() -> None:
    source = Path(config.__file__).read_text()
    assert normalised(source) != normalised(source.replace("setting(0.95,", "setting(0.99,"))
