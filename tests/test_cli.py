"""Mistakes in a call: one clear line, exit code 2, before any work."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "epoch=3"], "unknown parameter 'epoch': did you mean 'epochs'?"),
        (["-p", "epochs=0"], "epochs=0: allowed: an int in [1, inf)"),
        (["-p", "epochs=many"], "epochs=many: allowed: an int in [1, inf)"),
        (["-p", "p=1.5"], "p=1.5: allowed: a float in [0, 1]"),
        (["-p", "epochs"], "must read NAME=VALUE"),
        (["--jobs", "1000"], "--jobs 1000: must be from 1 to"),
        (["--jobs", "0"], "should be greater than or equal to 1"),
        (["--threads", "1000"], "--threads 1000: must be from 1 to"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(stocha, store, make_notebook, arguments, message):
    done = stocha("run", make_notebook(), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not store.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument"),
        (["run", "--epochs", "3", "x.py"], "No such option: --epochs"),
        (["run", "x.py", "--jobs", "two"], "should be a valid integer"),
        (["sweep", "plan"], "Missing argument"),
        (["sweep", "status", "x.yml", "--jobs", "0"], "should be greater than or equal to 1"),
    ],
)
def test_a_call_that_cannot_be_read_is_one_line_too(stocha, arguments, message):
    done = stocha(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_notebook_is_a_mistake(stocha):
    done = stocha("run", "notebooks/11_toy.py")
    assert done.returncode == 2
    assert "no notebook" in done.stderr


def test_an_unwritable_store_is_a_mistake(stocha, make_notebook):
    done = stocha("run", make_notebook(), STOCHA_RUNS="/proc/none")
    assert done.returncode == 2
    assert "cannot write to /proc/none" in done.stderr


def test_no_kernel_is_a_mistake(stocha, make_notebook, tmp_path):
    # An environment whose Jupyter paths hold no kernelspec at all.
    (tmp_path / "sitecustomize.py").write_text(
        "import jupyter_client.kernelspec as k\n"
        "k.KernelSpecManager.ensure_native_kernel = False\n"
        "k.KernelSpecManager.kernel_dirs = []\n"
        "k.KernelSpecManager.find_kernel_specs = lambda self: {}\n"
        "k.KernelSpecManager._find_spec_directory = lambda self, name: None\n"
    )
    done = stocha("run", make_notebook(), PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "no Jupyter kernel 'python3'" in done.stderr


def test_notebooks_are_listed_with_parameters_types_defaults_and_meaning(stocha):
    done = stocha("notebooks", "toy_classification")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["epochs"])
    assert "int" in line
    assert "passes over the training data" in line


def test_the_command_starts_without_the_science(stocha):
    # `stocha --help` in a fresh process must not pay for torch.
    code = "import sys, stocha.cli, stocha.study.commands; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
