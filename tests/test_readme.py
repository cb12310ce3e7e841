"""The code in the README runs as it stands."""

import re
import subprocess
import sys

import pytest

from stocha.base.paths import project_root

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (project_root() / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("block", [code for code in BLOCKS if "stocha.hf" not in code])
def test_a_block_of_the_readme_runs(block):
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
