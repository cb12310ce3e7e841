"""The model that comes with the package, and the way another takes its place."""

import inspect
import json
import subprocess
import sys

import pytest
import torch

from stocha.arms import Arm
from stocha.lm import checkpoint, pretrained
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.evaluation import zeros
from stocha.lm.training import Run


def loss(model, tokenizer, text):
    ids = torch.tensor(tokenizer.encode(text).ids[:256])[None]
    with torch.no_grad():
        return float(model.loss(ids[:, :-1], ids[:, 1:])) / (ids.shape[1] - 1)


def test_the_kept_model_predicts_code_it_was_not_trained_on():
    model, tokenizer = pretrained.load()
    text = inspect.getsource(json.JSONEncoder)
    assert loss(model, tokenizer, text) < 4.5  # a uniform guess: log 2048 = 7.6
    assert loss(model, tokenizer, text) < loss(model, tokenizer, text[::-1]) - 1
    ids = torch.tensor(tokenizer.encode(text).ids[:256])[None]
    assert 0.5 < torch.stack(zeros(model, ids)).float().mean() < 1


def test_the_kept_model_takes_another_activation():
    model, tokenizer = pretrained.load("silu")
    assert loss(model, tokenizer, "import os\n") > 0
    assert "silu" in repr(model.activation).lower()


def test_the_kept_files_stay_small():
    assert sum(file.stat().st_size for file in pretrained.FOLDER.iterdir()) < 3e6


@pytest.fixture
def finished(tokens, tmp_path):
    """A finished training run of a very small model, and its checkpoint."""
    shape = ModelConfig(vocabulary=280, width=16, layers=1, heads=2, kv_heads=1, ffn=24, context=16)
    settings = TrainConfig(tokens=4 * 16 * 3, batch=4, lr=0.01, warmup=1)
    run = Run(shape, settings, Arm.parse("relu"), tokens, checkpoint.Store(tmp_path))
    run.train()
    return run, run.store.path(run.key(run.total))


def test_a_written_model_is_the_trained_one_in_half_precision(finished, tokens, tmp_path):
    run, trained = finished
    pretrained.write(trained, tokens.folder, tmp_path / "kept")
    model, tokenizer = pretrained.load(folder=tmp_path / "kept")
    for name, weight in run.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight.half().float()), name
    assert tokenizer.to_str() == tokens.tokenizer.to_str()
    about = pretrained.about(tmp_path / "kept")
    assert about["steps"] == run.total
    assert about["train_loss"] == run.record.loss[-1]


def test_a_corpus_that_the_model_was_not_trained_on_is_refused(finished, tokens, tmp_path):
    _, trained = finished
    (tmp_path / "other").mkdir()
    for file in tokens.folder.iterdir():
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    manifest = tokens.manifest | {"tokens_hash": "0" * 12}
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="trained on"):
        pretrained.write(trained, tmp_path / "other", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_missing_or_truncated_file_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        pretrained.load(folder=tmp_path)
    (tmp_path / "model.pt").write_bytes((pretrained.FOLDER / "model.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated"):
        pretrained.load(folder=tmp_path)
    (tmp_path / "model.pt").write_bytes((pretrained.FOLDER / "model.pt").read_bytes())
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        pretrained.load(folder=tmp_path)


@pytest.mark.parametrize("arguments", [[], ["nothing.pt", "nowhere"]])
def test_the_command_refuses_what_it_cannot_use(arguments):
    command = [sys.executable, "-m", "stocha.lm.pretrained", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
