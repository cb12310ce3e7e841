import pytest

from stocha.toy.config import ToyConfig, Training


def test_defaults_are_the_posts_values():
    config = ToyConfig()
    assert (config.samples, config.features, config.classes) == (5000, 30, 2)
    assert (config.widths, config.n_layers) == ((4, 4, 4, 4), 4)
    assert (config.lr, config.weight_decay, config.batch_size) == (1e-3, 0.01, 128)
    assert (config.epochs, config.runs) == (100, 10)
    assert config.steps_per_epoch == 32


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("runs", 0),
        ("runs", True),
        ("batch_size", 0),
        ("samples", 9),
        ("features", 0),
        ("classes", 1),
        ("widths", ()),
        ("widths", (4, 0)),
        ("widths", 4),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -0.1),
        ("gate_weight_decay", float("inf")),
        ("threshold", 0),
        ("more_thresholds", (1e-3, -1.0)),
        ("seed", -1),
        ("data_seed", 2**32),
        ("dtype", "float16"),
        ("device", "abacus"),
    ],
)
def test_a_bad_value_is_one_line_naming_parameter_value_and_what_is_allowed(parameter, value):
    with pytest.raises(ValueError, match=rf"^{parameter}=.*: allowed: .+$") as error:
        ToyConfig(**{parameter: value})
    assert "\n" not in str(error.value)


def test_too_many_classes_for_the_features_is_refused_before_scikit_learn_sees_it():
    with pytest.raises(ValueError, match=r"^classes=5: allowed: at most 4 with features=3$"):
        ToyConfig(classes=5, features=3)


def test_an_unknown_activation_or_option_names_what_is_allowed():
    with pytest.raises(ValueError, match=r"activation='swish'.*gumbel_stoch"):
        ToyConfig(arm="swish")
    with pytest.raises(ValueError, match="slope"):
        ToyConfig(arm="relu(slope=1)")
    with pytest.raises(ValueError, match=r"p=1\.5.*\[0, 1\]"):
        ToyConfig(arm="stocha(1.5)")


def test_an_experiment_hands_its_settings_on():
    ensemble = Training(samples=90, epochs=3, seed=5).ensemble(arm="silu", widths=(3,), lr=0.1)
    assert ensemble == ToyConfig(samples=90, epochs=3, seed=5, arm="silu", widths=(3,), lr=0.1)


def test_inference_is_with_an_activation_that_needs_no_training():
    with pytest.raises(
        ValueError, match=r"^inference='gumbel_stoch': allowed: .* that learn nothing$"
    ):
        ToyConfig(inference=("relu", "gumbel_stoch"))


def test_gates_decay_like_everything_else_unless_told():
    assert ToyConfig().gate_decay == ToyConfig().weight_decay
    assert ToyConfig(gate_weight_decay=0.0).gate_decay == 0


def test_thresholds_hold_the_main_one_once_and_ascend():
    assert ToyConfig(threshold=1e-3, more_thresholds=(1e-2, 1e-3, 1e-4)).thresholds == (
        1e-4,
        1e-3,
        1e-2,
    )
