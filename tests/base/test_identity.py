import shutil

import pytest

from stocha.base import identity


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, to be edited."""
    copy = tmp_path / "stocha"
    shutil.copytree(identity.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identity, "PACKAGE", copy)
    return copy


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_prose_plots_and_machinery_change_no_identity(package):
    before = identity.science("stocha.lm.training")
    edit(package / "lm" / "training.py", '"""The training loop', '"""THE training loop')
    edit(package / "figures.py", "import", "import os\nimport")
    edit(package / "study" / "runs.py", "import", "import os\nimport")
    with open(package / "lm" / "model.py", "a") as file:
        file.write("\n\n# a remark\n")
    assert identity.science("stocha.lm.training") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("base/elementwise.py", "0.49999994", "0.49999991"),
        ("lm/training.py", "fused=True", "fused=False"),
        ("activations/drawn.py", "torch.lerp", "torch . add"),
    ],
)
def test_a_changed_number_changes_it(package, file, old, new):
    before = identity.science("stocha.lm.training")
    edit(package / file, old, new)
    assert identity.science("stocha.lm.training") != before


@pytest.mark.parametrize(
    ("module", "file"), [("sparse.peers", "sparse/fused.c"), ("lm.blocks", "lm/tiny_relu/model.pt")]
)
def test_c_code_and_a_shipped_models_weights_count(package, module, file):
    before = identity.science(f"stocha.{module}")
    with open(package / file, "ab") as data:
        data.write(b"\n")
    assert identity.science(f"stocha.{module}") != before


def test_an_unknown_module_is_refused():
    with pytest.raises(ValueError, match=r"module=stocha\.none: allowed"):
        identity.science("stocha.none")


def test_a_parameters_meaning_and_scales_do_not_count():
    declared = 'class Config:\n    lr: float = parameter({}, "{}", "(0, inf)", smoke={})\n'
    before = identity.normalised(declared.format(0.1, "step", 1))
    assert identity.normalised(declared.format(0.2, "step width", 2)) == before
    assert identity.normalised(declared.format(0.1, "step", 1) + "    p: int = 3\n") != before


def test_the_code_that_numbers_come_from_is_named_by_file():
    found = identity.code(["stocha.lm.training"])
    assert "lm/training.py" in found
    assert not {"base/files.py", "base/paths.py", "figures.py"} & found.keys()
    assert identity.combined(found) == identity.science("stocha.lm.training")
