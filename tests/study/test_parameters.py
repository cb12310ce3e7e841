import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.study.parameters import read_declaration

CELL = """\
scale: str = "book"  # how much to run {smoke, book, full}
epochs: int = None  # passes over the data [1, inf)
lr: float = 1e-3  # learning rate (0, inf)
p: float = 0.5  # probability of SiLU, = not a default [0, 1]
widths: list[int] = [4, 4]  # hidden widths [1, inf)
arms: list[str] = ["relu"]  # activations {relu, silu}
flag: bool = False  # a switch
label: str | None = None  # a word
"""
SCALES = 'scales = {"smoke": {"epochs": 2}, "book": {"epochs": 100}}'


@pytest.fixture
def declaration():
    return read_declaration(CELL, SCALES)


def test_reads_types_defaults_and_meanings(declaration):
    assert [(p.name, p.type) for p in declaration.parameters] == [
        ("scale", "str"),
        ("epochs", "int"),
        ("lr", "float"),
        ("p", "float"),
        ("widths", "list[int]"),
        ("arms", "list[str]"),
        ("flag", "bool"),
        ("label", "str | None"),
    ]
    assert declaration["p"].meaning == "probability of SiLU, = not a default"
    assert str(declaration["p"].allowed) == "in [0, 1]"
    assert str(declaration["arms"].allowed) == "one of relu, silu"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "20", 20),
        ("lr", "1e-4", 1e-4),
        ("lr", "1", 1.0),
        ("p", "0", 0.0),
        ("widths", "[16,16, 16]", [16, 16, 16]),
        ("widths", "8", [8]),
        ("arms", "[relu, 'silu']", ["relu", "silu"]),
        ("flag", "true", True),
        ("flag", "False", False),
        ("label", "none", None),
        ("label", "a=b", "a=b"),
    ],
)
def test_types_what_a_command_line_gives(declaration, name, text, value):
    parsed = declaration[name].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "0"),
        ("epochs", "2.0"),
        ("epochs", "none"),
        ("epochs", ""),
        ("lr", "0"),
        ("lr", "inf"),
        ("lr", "nan"),
        ("p", "1.5"),
        ("p", "-0.1"),
        ("widths", "[]"),
        ("widths", "[4, 0]"),
        ("widths", "[4, a]"),
        ("arms", "[gelu]"),
        ("flag", "1"),
        ("scale", "huge"),
    ],
)
def test_refuses_what_is_not_allowed_in_one_line(declaration, name, text):
    with pytest.raises(UserError) as caught:
        declaration[name].parse(text)
    message = str(caught.value)
    assert message.startswith(f"parameter {name}={text}: must be ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", True), ("epochs", 2.0), ("p", "0.5"), ("widths", 4), ("label", 3)],
)
def test_refuses_values_of_another_type(declaration, name, value):
    with pytest.raises(UserError, match=name):
        declaration[name].check(value)


def test_a_declaration_over_several_lines_keeps_its_comment():
    cell = """\
arms: list[str] = [
    "relu",
]  # arms {relu, silu}
x: str = (
    "a"  # which {a, b}
)
"""
    declaration = read_declaration(cell, None)
    assert [p.meaning for p in declaration.parameters] == ["arms", "which"]
    assert str(declaration["x"].allowed) == "one of a, b"


def test_unknown_name_suggests_the_nearest(declaration):
    with pytest.raises(UserError, match=r"unknown parameter 'epoch': did you mean 'epochs'\?"):
        declaration.resolve({"epoch": 3})


def test_resolving_prefers_given_then_default_then_scale(declaration):
    assert declaration.resolve({})["epochs"] == 100
    assert declaration.resolve({"scale": "smoke"})["epochs"] == 2
    assert declaration.resolve({"scale": "smoke", "epochs": 7})["epochs"] == 7
    assert declaration.resolve({})["label"] is None
    assert list(declaration.resolve({})) == [p.name for p in declaration.parameters]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_an_interval_holds_exactly_what_it_says(value):
    declaration = read_declaration(CELL, SCALES)
    allowed = not math.isnan(value) and 0 <= value <= 1
    if allowed:
        assert declaration["p"].parse(repr(value)) == value
    else:
        with pytest.raises(UserError):
            declaration["p"].parse(repr(value))


@given(st.lists(st.integers(min_value=1), min_size=1))
def test_a_printed_list_reads_back(values):
    assert read_declaration(CELL, SCALES)["widths"].parse(str(values)) == values


@pytest.mark.parametrize(
    ("cell", "scales", "message"),
    [
        ("epochs = 3", None, "a line must read"),
        ("epochs: int = 1 + 1  # n", None, "must be a literal"),
        ("epochs: tuple = ()  # n", None, "type 'tuple'"),
        ("epochs: int = 0  # n [1, inf)", None, "epochs=0"),
        ("epochs: int = None  # n", None, "epochs=None"),
        ("epochs: int = None  # n", 'scales = {"a": {}, "b": {"epochs": 1}}', "epochs=None"),
        (CELL, 'scales = {"smoke": {"epoch": 2}}', "did you mean 'epochs'"),
        (CELL, 'scales = {"smoke": {"epochs": 0}}', "epochs=0"),
        (CELL, "scales = dict(smoke=1)", "literal dictionary"),
    ],
)
def test_a_faulty_declaration_is_named(cell, scales, message):
    with pytest.raises(UserError, match=message):
        read_declaration(cell, scales)
