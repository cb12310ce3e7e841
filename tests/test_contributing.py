"""The recipes in CONTRIBUTING.md, followed in a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stocha.base.paths import project_root

ACTIVATION = {
    "src/stocha/activations/plain.py": [
        (
            "def relu(x: Tensor)",
            'def mish(x: Tensor) -> Tensor:\n    """Return x·tanh(softplus(x))."""\n'
            "    return with_limits(lambda x: x * torch.tanh(F.softplus(x)), x)\n\n\n"
            "def relu(x: Tensor)",
        ),
        (
            '    "silu": ("SiLU", silu),\n',
            '    "silu": ("SiLU", silu),\n    "mish": ("Mish", mish),\n',
        ),
    ],
    "src/stocha/figures.py": [
        ('    "silu": "#d55e00",\n', '    "silu": "#d55e00",\n    "mish": "#004d40",\n'),
    ],
}
CLAIM = {
    "src/stocha/claims/toy.py": [
        (
            '@_post(\n    "T1",',
            '@_post("T9", "Ours.", f"It lies in {HALF}.", page=CLASSIFICATION)\n'
            "def t9_ours(tables: Tables) -> Assessment:\n"
            '    """First-layer sparsity of ReLU at the end."""\n'
            '    ends = _last(_first_layer(tables, "relu"))\n'
            '    return of_parts(Part("", estimate(ends), HALF, "share", len(ends)))\n\n\n'
            '@_post(\n    "T1",',
        ),
    ],
}


@pytest.fixture
def house(tmp_path):
    """A copy of the repository's files, those not yet committed included."""
    root = project_root()
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (root / name).is_file() and not name.endswith((".pt", ".bin")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / name)
    return tmp_path


def follow(house: Path, recipe: dict[str, list[tuple[str, str]]]) -> None:
    for name, edits in recipe.items():
        text = (house / name).read_text(encoding="utf-8")
        for before, after in edits:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (house / name).write_text(text, encoding="utf-8")


def call(house: Path, *command: str) -> str:
    """What Python prints with the copy's library."""
    environment = os.environ | {
        "PYTHONPATH": str(house / "src"),
        "STOCHA_RUNS": str(house / "runs"),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=house, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_activation_is_added_in_three_files(house):
    follow(house, ACTIVATION)
    code = """
import json, torch
from stocha import activations, figures
from stocha.arms import Arm
arm = Arm.parse("mish+ft(0.1)")
x = torch.linspace(-3, 3, 7)
print(json.dumps({
    "file": activations.__file__,
    "named": arm.name,
    "label": arm.label,
    "at": [arm.phase_at(t, 100).activation for t in (0, 99)],
    "colour": figures.look(["mish"])["mish"]["color"],
    "right": bool(torch.allclose(activations.make("mish")(x), torch.nn.functional.mish(x))),
}))
"""
    found = json.loads(call(house, "-c", code))
    assert found == {
        "file": str(house / "src" / "stocha" / "activations" / "__init__.py"),
        "named": "mish+ft(0.1)",
        "label": "Mish + Swi+FT(0.1)",
        "at": ["mish", "relu"],
        "colour": "#004d40",
        "right": True,
    }
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "mish"]
    call(house, *options, "tests/test_activations.py")


def test_a_claim_is_added_in_two_files(house):
    follow(house, CLAIM)
    run = "import sys; from stocha.cli import main; sys.argv = ['stocha', *sys.argv[1:]]; main()"
    folder = Path(call(house, "-c", run, "run", "notebooks/01_claims.py").strip())
    table = pd.read_csv(folder / "tables" / "ledger.csv").set_index("id")
    assert list(table.index[:10]) == [*(f"T{number}" for number in range(1, 10)), "L1"]
    assert table.loc["T9", "criterion"] == "It lies in 0.40–0.60."
    assert table.loc["T9", "verdict"] in {"replicated", "not resolved"}
    page = next(folder.glob("*.ipynb")).read_text()
    assert "T9</span> | Ours. |" in page
