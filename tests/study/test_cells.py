import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.base.parameters import check, parameter
from stocha.base.parameters import declaration as declared_by
from stocha.base.paths import project_root
from stocha.study.cells import held_to_experiment, read_declaration, update_notebooks, write_cells

CELL = """\
scale: str = "book"  # how much to run {smoke, book, full}
epochs: "Optional[int]" = None  # passes over the data [1, inf)
lr: float = 1e-3  # learning rate (0, inf)
p: float = 0.5  # probability of SiLU, = not a default [0, 1]
widths: list[int] = [4, 4]  # hidden widths [1, inf)
arms: list[str] = ["relu"]  # activations {relu, silu}
flag: bool = False  # a switch
label: "Optional[str]" = None  # a word
"""
SCALES = 'scales = {"smoke": {"epochs": 2}, "book": {"epochs": 100}}'


@pytest.fixture(name="declaration")
def declared():
    return read_declaration(CELL, SCALES)


def test_reads_types_defaults_and_meanings(declaration):
    assert [(p.name, p.type) for p in declaration.parameters] == [
        ("scale", "str"),
        ("epochs", "int | None"),
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
        ("epochs", "none", None),
        ("arms", "relu,silu", ["relu", "silu"]),
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
    assert message.startswith(f"{name}={text}: allowed: ")
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


@given(st.lists(st.integers(1, 2**63 - 1), min_size=1))
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
        ("epochs: int = None  # n", 'scales = {"a": {"epochs": 1}}', "epochs=None"),
        ("epochs: int | None = None  # n", None, "in quotes"),
        ("epochs: Optional[int] = None  # n", None, "in quotes"),
        (CELL, 'scales = {"smoke": {}, "book": {"epochs": 1}}', "epochs: allowed: a value at"),
        (CELL, 'scales = {"smoke": {"epoch": 2}}', "did you mean 'epochs'"),
        (CELL, 'scales = {"smoke": {"epochs": 0}}', "epochs=0"),
        (CELL, "scales = dict(smoke=1)", "literal dictionary"),
    ],
)
def test_a_faulty_declaration_is_named(cell, scales, message):
    with pytest.raises(UserError, match=message):
        read_declaration(cell, scales)


@dataclasses.dataclass(frozen=True)
class Config:
    """What the page below is on."""

    epochs: int = parameter(100, "passes over the data", "[1, inf)", smoke=2, book=20)
    arms: tuple[str, ...] = parameter(
        ("silu", "stocha(0.7,granularity=token)", "stocha(0.7)+ft(0.1)", "bernoulli_silu"),
        "arms, in order",
        smoke=("a b, c", 'd"e'),
    )
    caches: tuple[float, ...] = parameter((0.5, 1.0), "caches that are filled", "(0, inf)")
    none: tuple[str, ...] = parameter((), "further arms")
    seed: int = parameter(0, "of everything", "[0, 4294967295]")
    decay: float | None = parameter(None, "the gates' own [1/step]", "[0, inf)")
    flag: bool = parameter(False, "a switch")

    def __post_init__(self):
        check(self)


HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   stocha: {experiment: EXPERIMENT}
# ---

""".replace("EXPERIMENT", __name__)
PAGE = f"""{HEADER}# %% [markdown]
# # A page

# %% tags=["parameters"]
old: int = 1  # gone

# %% tags=["scales", "hide-input"]
scales = {{"smoke": {{}}}}

# %%
print(epochs)
"""


def test_what_is_written_reads_back_as_declared():
    declared = read_declaration(*write_cells(Config))
    assert declared == declared_by(Config)


def test_a_page_gets_its_cells_and_keeps_the_rest(tmp_path):
    page = tmp_path / "page.py"
    page.write_text(PAGE)
    assert update_notebooks([page]) == [page]
    text = page.read_text()
    assert 'epochs: "Optional[int]" = None  # passes over the data [1, inf)' in text
    assert "old" not in text
    assert text.startswith(PAGE[: PAGE.index("# %% tags")])
    assert text.endswith(PAGE[PAGE.index("# %%\nprint") :])
    assert update_notebooks([page]) == []
    tags = [cell.metadata.get("tags") for cell in jupytext.reads(text, "py:percent").cells]
    assert tags[1:3] == [["parameters", "hide-input"], ["scales", "hide-input"]]
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "format", "--check", "--line-length=100", page], check=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAGE.replace(__name__, "test_nothing"), "experiment=test_nothing: allowed: a module"),
        (PAGE.replace('"scales"', '"other"'), "0 cells tagged `scales`"),
        (PAGE.replace('"scales"', '"parameters"'), "2 cells tagged `parameters`"),
    ],
)
def test_a_page_that_cannot_be_held_is_named(tmp_path, text, message):
    page = tmp_path / "page.py"
    page.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        update_notebooks([page])
    assert str(caught.value).startswith(str(page))
    assert page.read_text() == text


def test_a_page_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.py: No such file"):
        update_notebooks([tmp_path / "nothing.py"])


def test_what_is_no_notebook_is_refused():
    with pytest.raises(UserError, match=r"^README\.md: allowed: a text notebook"):
        update_notebooks([Path("README.md")])


NOTEBOOKS = sorted((project_root() / "notebooks").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_declares_what_its_experiment_does(path):
    text = path.read_text()
    assert held_to_experiment(text) == text, f"stocha cells {path}"


def test_plain_papermill_knows_the_parameters(tmp_path):
    """The route in the README, with cells as they are written: no warning, values arrive."""
    page = tmp_path / "page.py"
    page.write_text(held_to_experiment(PAGE))
    notebook = tmp_path / "page.ipynb"
    nbformat.write(jupytext.read(page), notebook)
    found = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", "-p", "epochs", "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "unknown parameter" not in found.stderr
    outputs = [
        output["text"]
        for cell in json.loads((tmp_path / "out.ipynb").read_text())["cells"]
        for output in cell.get("outputs", [])
    ]
    assert outputs == [["5\n"]]
