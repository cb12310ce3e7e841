"""Import, disk cache, fork: what only a fresh process can show."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import stocha

SOURCE = str(Path(stocha.__file__).parents[1])
LAYER = """
    import numpy as np
    from stocha.sparse import SparseFFN
    rng = np.random.default_rng(0)
    gate, up, down = (rng.standard_normal((16, 16), np.float32) for _ in range(3))
    def run(threads):
        return SparseFFN(gate, up, down, method="sparse", threads=threads)(gate[0])
"""


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": SOURCE, **environment},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_import_compiles_nothing_and_does_not_import_torch():
    result = python(
        """
        import sys, time, numba
        from numba.core import event
        listener = event.RecordingListener()
        with event.install_listener("numba:compile", listener):
            import stocha.sparse
        print(len(listener.buffer), "torch" in sys.modules)
        """
    )
    assert result.stdout.split() == ["0", "False"], result.stderr


def test_an_unwritable_cache_directory_still_works():
    """Neither numba's own folder nor a user-wide one can be created."""
    nowhere = dict.fromkeys(("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME"), "/dev/null")
    locators = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    result = python(LAYER + "    print(run(1).shape)\n", **nowhere, **locators)
    assert result.stdout.strip() == "(16,)", result.stderr


def test_cache_entries_depend_on_all_code_that_a_kernel_reaches():
    result = python(
        """
        from stocha.base.identity import science
        from stocha.sparse import kernels
        print(science(kernels.__name__) in kernels.dots._cache._cache_file._source_stamp)
        """
    )
    assert result.stdout.strip() == "True", result.stderr


def test_one_thread_starts_no_thread_pool_and_several_do():
    result = python(
        LAYER
        + """
    import numba
    run(1)
    try:
        numba.threading_layer()
    except ValueError:
        print("none")
    run(2)
    print(numba.threading_layer() != "")
    """
    )
    assert result.stdout.split() == ["none", "True"], result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_falls_back_to_one_thread_with_the_same_bits():
    result = python(
        LAYER
        + """
    import os
    expected = run(2).tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if run(2).tobytes() == expected else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    )
    assert result.stdout.strip() == "0", result.stderr


@pytest.mark.parametrize("threads", [7])
def test_more_threads_than_cores_work(threads):
    result = python(LAYER + f"    print((run({threads}) == run(1)).all())\n", NUMBA_NUM_THREADS="2")
    assert result.stdout.strip() == "True", result.stderr
