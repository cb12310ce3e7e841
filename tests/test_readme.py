"""The code in the README runs as it stands."""

import re
import subprocess
import sys

import pytest

from stocha.base.paths import project_root
from stocha.lm import pretrained

README = (project_root() / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", [code for code in BLOCKS if "stocha.hf" not in code])
def test_a_block_of_the_readme_runs(block):
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readme_says_how_large_the_model_is_that_comes_along():
    model, _ = pretrained.load()
    assert f"model of {model.config.parameters / 1e6:.1f} million parameters" in README
