import itertools
import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.study.sweeps.specification import read_sweep


@pytest.fixture
def write(make_notebook, tmp_path):
    notebook = make_notebook(
        '\n# %%\nrun.table("final", pd.DataFrame({"loss": [p]}))\n', name="50_small"
    )
    text = notebook.read_text().replace("p: float", "seed: int = 0  # a seed [0, inf)\np: float", 1)
    notebook.write_text(text)

    def make(body: str):
        path = tmp_path / "sweep.yml"
        path.write_text(f"notebook: {notebook}\n{body}")
        return path

    return make


def values(sweep, *names):
    return [tuple(point[name] for name in names) for point in sweep.points]


def test_grid_zip_and_points(write):
    sweep = read_sweep(
        write(
            "fixed: {scale: smoke}\n"
            "grid: {p: [0, 1]}\n"
            "zip: {epochs: [2, 3], widths: [[4], [8]]}\n"
            "points: [{p: 0.5, epochs: 9}]\n"
        ),
        outside=True,
    )
    assert values(sweep, "p", "epochs", "widths") == [
        (0.0, 2, [4]),
        (0.0, 3, [8]),
        (1.0, 2, [4]),
        (1.0, 3, [8]),
        (0.5, 9, [4, 4]),
    ]
    assert {point["scale"] for point in sweep.points} == {"smoke"}
    assert sweep.swept == ("epochs", "p", "widths")


def test_one_seed_of_every_configuration_comes_before_the_next_seed(write):
    sweep = read_sweep(write("grid: {p: [0, 0.5, 1]}\nseeds: 3\n"), outside=True)
    assert values(sweep, "seed", "p") == [
        *((0, p) for p in (0, 0.5, 1)),
        *((1, p) for p in (0, 0.5, 1)),
        *((2, p) for p in (0, 0.5, 1)),
    ]


def test_scientific_notation_and_lists_are_typed_as_declared(write):
    sweep = read_sweep(write("grid: {p: [1e-4, 1e-3]}\nfixed: {widths: '[2, 3]'}\n"), outside=True)
    assert values(sweep, "p", "widths") == [(1e-4, [2, 3]), (1e-3, [2, 3])]


def test_a_point_given_twice_is_one_point(write):
    sweep = read_sweep(write("grid: {p: [0.5, 1]}\npoints: [{p: 0.5}, {p: 0.25}]\n"), outside=True)
    assert values(sweep, "p") == [(0.5,), (1.0,), (0.25,)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), st.integers(1, 4))
def test_a_grid_has_the_product_of_its_lists(tmp_path_factory, epochs, seeds):
    folder = tmp_path_factory.mktemp("grid")
    (folder / "n.py").write_text(
        '# %% tags=["parameters"]\nscale: str = "book"  # s {book}\n'
        "epochs: int = 1  # e [1, inf)\nseed: int = 0  # s [0, inf)\n"
    )
    path = folder / "s.yml"
    path.write_text(f"notebook: {folder}/n.py\ngrid: {{epochs: {epochs}}}\nseeds: {seeds}\n")
    expected = list(itertools.product(range(seeds), epochs))
    assert values(read_sweep(path, outside=True), "seed", "epochs") == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("grid:\n  epoch: [1]\n", r"sweep.yml:3: grid.epoch.0: unknown parameter 'epoch'"),
        ("grid:\n  p:\n    - 0.5\n    - 1.5\n", r"sweep.yml:5: grid.p.1: p=1.5: allowed"),
        ("grid: {p: 0.5}\n", r"sweep.yml:2: grid.p: must be a list of values"),
        ("grid: {p: []}\n", r"grid.p: must be a list of values"),
        ("fixed: {p: x}\n", r"sweep.yml:2: fixed.p: p=x: allowed: a float in \[0, 1\]"),
        ("fixed: {p: 1}\ngrid: {p: [0]}\n", r"sweep.yml:3: grid.p: stands in `fixed` already"),
        ("zip: {p: [0, 1], epochs: [1]}\n", r"zip: lists of unequal length"),
        ("gird: {}\n", r"sweep.yml:2: gird: unknown key"),
        ("grid: {p: [0]}\ngrid: {p: [1]}\n", r"sweep.yml:3: grid: stands here a second time"),
        ("points: 3\n", r"points: must be a list"),
        ("points: [3]\n", r"points.0: must be a mapping"),
        ("seeds: 0\n", r"seeds: must be a number of seeds"),
        ("seeds: [a]\n", r"seeds: seed=a"),
        ("seeds: 1000000000\n", r"seeds: must be a number of seeds, at most"),
        ("grid: {seed: [1]}\nseeds: 2\n", r"sweep.yml:3: seeds: `seed` stands in `grid` already"),
        ("fixed: {seed: 1}\nseeds: 2\n", r"seeds: `seed` stands in `fixed` already"),
        ("points: [{seed: 1}]\nseeds: 2\n", r"seeds: `seed` stands in `points.0` already"),
        ("points: [null]\n", r"points.0: must be a mapping"),
        ("points: [{}]\n", r"points.0: must be a mapping"),
        ("collect: {tabel: x}\n", r"collect.tabel: unknown key"),
        ("collect: {tables: x}\n", r"collect.tables: must be a list"),
        ("collect: {metrics: x}\n", r"collect.metrics: must be a list"),
        ("collect: {table: ../x}\n", r"collect.table: must be the name of a table"),
        ("collect: {tables: [/x]}\n", r"collect.tables: must be a list of names"),
        ("page: {x: [1]\n", r"sweep.yml:\d+: "),
        ("grid: {p: [0, 1]}\npage: {x: nope}\n", r"sweep.yml:3: page.x: 'nope': allowed: p"),
        ("grid: {p: [0, 1]}\npage: {hue: label}\n", r"page.hue: 'label': allowed: p"),
        ("grid: {p: [0, 1]}\npage: {log_x: 'false'}\n", r"page.log_x: 'false': allowed: true"),
        ("fixed: {p: 2020-13-45}\n", r"sweep.yml:2: 2020-13-45: not a value of"),
        ("fixed: {p: !!int abc}\n", r"sweep.yml:2: abc: not a value of"),
        ("fixed: {p: 0x_}\n", r"sweep.yml:2: 0x_: not a value of"),
        (f"fixed: {{epochs: {'9' * 5000}}}\n", r"sweep.yml:2: 9+…: not a value of"),
        (f"fixed: {{p: {'9' * 400}.0}}\n", r"fixed.p: p="),
        ("fixed: &a [*a]\n", r"too large or deep"),
        (f"fixed: {'[' * 5000}\n", r"nested deeper|expected"),
        ("fixed: {p: \x01}\n", r"not YAML"),
        ("fixed: {p: \x00}\n", r"not YAML"),
    ],
)
def test_a_mistake_is_told_with_line_and_key(write, body, message):
    with pytest.raises(UserError, match=message) as caught:
        read_sweep(write(body), outside=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must be a mapping"),
        ("- 1\n", r"must be a mapping"),
        ("grid: {}\n", r"notebook: must name"),
        ("notebook: notebooks/none.py\n", r":1: notebook: no notebook"),
    ],
)
def test_a_sweep_needs_a_notebook(tmp_path, text, message):
    path = tmp_path / "sweep.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_sweep(path, outside=True)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.yml: No such file"):
        read_sweep(tmp_path / "none.yml")


def test_zero_has_no_sign(write):
    assert values(read_sweep(write("grid: {p: [0, -0.0]}\n"), True), "p") == [(0.0,)]


def test_aliases_of_aliases_are_not_followed_without_end(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(UserError, match="too large or deep"):
        read_sweep(write("\n".join(lines) + "\n"), True)


def test_a_notebook_outside_the_project_is_not_run_unasked(write):
    with pytest.raises(UserError, match=r"sweep.yml:1: notebook: .* outside the project"):
        read_sweep(write("grid: {p: [0]}\n"))


@pytest.mark.parametrize("name", ["..yml", " .yml", "a b.yml", "-x.yml"])
def test_a_sweeps_name_is_a_folders_name(tmp_path, name):
    (tmp_path / name).write_text("notebook: x\n")
    with pytest.raises(UserError, match="its name: allowed"):
        read_sweep(tmp_path / name)


LONGER = 10 if os.environ.get("STOCHA_TEST_LONG") else 1
KEYS = st.sampled_from(
    ["notebook", "fixed", "grid", "zip", "points", "seeds", "collect", "page", "p"]
)
ODD = st.sampled_from(
    [
        "~",
        "0x_",
        "2020-13-45",
        "1e400",
        "-0.0",
        ".nan",
        "'",
        '"',
        "{",
        "[",
        "*a",
        "&a [*a]",
        "!!int x",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3)
)


@pytest.mark.random
@settings(max_examples=200 * LONGER)
@given(
    st.dictionaries(KEYS, TREES, max_size=4),
    st.lists(st.tuples(st.integers(0, 200), ODD)),
    st.binary(max_size=4),
)
def test_no_text_makes_the_reader_fail_otherwise(tmp_path_factory, tree, insertions, tail):
    """Every file is a sweep or one line that says why not."""
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    text = yaml.safe_dump({"notebook": "notebooks/14_toy_run.py"} | tree)
    for position, odd in insertions:
        text = text[: position % (len(text) + 1)] + odd + text[position % (len(text) + 1) :]
    path.write_bytes(text.encode("utf-8", "surrogatepass") + tail)
    said = ""
    try:
        read_sweep(path)
    except UserError as error:
        said = str(error)
    assert said.isprintable()


def test_a_page_may_colour_by_a_column_of_the_collected_table(write):
    body = "grid: {p: [0, 1]}\ncollect: {table: final}\npage: {hue: activation}\n"
    assert read_sweep(write(body), outside=True).page == {"hue": "activation"}


@pytest.mark.parametrize(
    "path", sorted((project_root() / "sweeps").glob("*.yml")), ids=lambda path: path.stem
)
def test_every_sweep_of_the_study_is_read(path):
    assert read_sweep(path).points
