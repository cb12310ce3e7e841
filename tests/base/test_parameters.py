import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.parameters import at_scale, check, declaration, parameter


@dataclasses.dataclass(frozen=True)
class Config:
    epochs: int = parameter(100, "passes over the data", "[1, inf)", smoke=2, book=20)
    lr: float = parameter(1e-3, "peak learning rate", "(0, inf)", smoke=0.1)
    widths: tuple[int, ...] = parameter((4, 4), "hidden widths", "[1, inf)")
    others: tuple[str, ...] = parameter((), "further arms")
    positive: str = parameter("mixed", "reading of x >= 0", "{identity, silu, mixed}")
    decay: float | None = parameter(None, "the gates' own", "[0, inf)")
    flag: bool = parameter(False, "a switch")

    def __post_init__(self):
        check(self)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"epochs": 0}, "epochs=0: allowed: an int in [1, inf)"),
        ({"epochs": True}, "epochs=True: allowed: an int in [1, inf)"),
        ({"epochs": None}, "epochs=None: allowed: an int in [1, inf)"),
        ({"lr": math.nan}, "lr=nan: allowed: a float in (0, inf)"),
        ({"lr": 10**400}, f"lr={10**400}: allowed: a float in (0, inf)"),
        ({"widths": ()}, "widths=(): allowed: a non-empty list, each an int in [1, inf)"),
        ({"widths": [4, 0]}, "widths=[4, 0]: allowed: a non-empty list, each an int in [1, inf)"),
        ({"others": "relu"}, "others='relu': allowed: a list, each a str"),
        ({"positive": "odd"}, "positive='odd': allowed: one of identity, silu, mixed"),
        ({"decay": -1}, "decay=-1: allowed: a float in [0, inf)"),
    ],
)
def test_a_configuration_refuses_in_one_line(given, line):
    with pytest.raises(ValueError, match=r"=.*: allowed: ") as caught:
        Config(**given)
    assert str(caught.value) == line


def test_equal_values_make_equal_configurations():
    assert Config(lr=1, widths=[4], decay=0) == Config(lr=1.0, widths=(4,), decay=0.0)
    assert isinstance(Config(lr=1).lr, float)


def test_the_default_is_the_full_scale_and_a_scale_sets_what_it_names():
    assert at_scale(Config, "full") == Config()
    assert at_scale(Config, "book") == Config(epochs=20)
    assert at_scale(Config, "smoke") == Config(epochs=2, lr=0.1)
    assert at_scale(Config, "smoke", lr=0.5, flag=True) == Config(epochs=2, lr=0.5, flag=True)


def test_a_page_leaves_to_the_scale_what_depends_on_it():
    declared = declaration(Config)
    assert [one.name for one in declared.parameters] == [
        "scale",
        *(field.name for field in dataclasses.fields(Config)),
    ]
    assert declared["epochs"].type == "int | None"
    assert declared["epochs"].default is None
    assert declared.scales["full"] == {"epochs": 100, "lr": 1e-3}


@given(st.integers())
def test_a_field_takes_exactly_what_its_interval_holds(value):
    if not -(2**63) <= value < 2**63:
        with pytest.raises(ValueError, match="epochs: allowed: an int of at most 64 bits"):
            Config(epochs=value)
    elif value >= 1:
        assert Config(epochs=value).epochs == value
    else:
        with pytest.raises(ValueError, match="epochs="):
            Config(epochs=value)


def test_a_default_or_a_scale_outside_what_is_allowed_is_found_with_the_class():
    @dataclasses.dataclass(frozen=True)
    class Wrong:
        epochs: int = parameter(1, "passes", "[1, inf)", smoke=0)

    with pytest.raises(ValueError, match="epochs=0"):
        declaration(Wrong)
