import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.errors import UserError
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


def test_grid_zip_points_and_exclusions(write):
    sweep = read_sweep(
        write(
            "fixed: {scale: smoke}\n"
            "grid: {p: [0, 1]}\n"
            "zip: {epochs: [2, 3], widths: [[4], [8]]}\n"
            "points: [{p: 0.5, epochs: 9}]\n"
            "exclude: [{p: 1, epochs: 3}]\n"
        )
    )
    assert values(sweep, "p", "epochs", "widths") == [
        (0.0, 2, [4]),
        (0.0, 3, [8]),
        (1.0, 2, [4]),
        (0.5, 9, [4, 4]),
    ]
    assert {point["scale"] for point in sweep.points} == {"smoke"}
    assert sweep.swept == ("epochs", "p", "widths")


def test_one_seed_of_every_configuration_comes_before_the_next_seed(write):
    sweep = read_sweep(write("grid: {p: [0, 0.5, 1]}\nseeds: 3\n"))
    assert values(sweep, "seed", "p") == [
        *((0, p) for p in (0, 0.5, 1)),
        *((1, p) for p in (0, 0.5, 1)),
        *((2, p) for p in (0, 0.5, 1)),
    ]


def test_scientific_notation_and_lists_are_typed_as_declared(write):
    sweep = read_sweep(write("grid: {p: [1e-4, 1e-3]}\nfixed: {widths: '[2, 3]'}\n"))
    assert values(sweep, "p", "widths") == [(1e-4, [2, 3]), (1e-3, [2, 3])]


def test_a_point_given_twice_is_one_point(write):
    sweep = read_sweep(write("grid: {p: [0.5, 1]}\npoints: [{p: 0.5}, {p: 0.25}]\n"))
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
    assert values(read_sweep(path), "seed", "epochs") == expected


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
        ("exclude: [{p: 0.5}]\n", r"no point is left"),
        ("collect: {tabel: x}\n", r"collect.tabel: unknown key"),
        ("collect: {tables: x}\n", r"collect.tables: must be a list"),
        ("collect: {metrics: x}\n", r"collect.metrics: must be a list"),
        ("page: {x: [1]\n", r"sweep.yml:\d+: "),
    ],
)
def test_a_mistake_is_told_with_line_and_key(write, body, message):
    with pytest.raises(UserError, match=message) as caught:
        read_sweep(write(body))
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
        read_sweep(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.yml: No such file"):
        read_sweep(tmp_path / "none.yml")
