"""A kernel's bits are the same in the process that compiles it and in those that load it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import stocha

SCRIPT = Path(__file__).with_name("every_kernel.py")


def run(cache: Path, *arguments: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(stocha.__file__).parents[1]),
        "NUMBA_CACHE_DIR": str(cache),
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_kernel_has_the_same_bits_cold_and_warm_and_in_any_order(tmp_path) -> None:
    cold = run(tmp_path)
    assert not cold["unused"]
    assert run(tmp_path)["hashes"] == cold["hashes"]
    assert run(tmp_path, "reversed")["hashes"] == cold["hashes"]
