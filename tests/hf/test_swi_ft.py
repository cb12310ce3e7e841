"""Swi+FT in a real `Trainer`: interrupted and resumed, accumulated, recomputed."""

import json
import subprocess
import sys

import pytest
import torch
from tests.hf.conftest import tiny
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from stocha.hf import SwiFT, at_step, use
from stocha.hf.exchange import current, layers
from stocha.hf.swi_ft import zeros_counted

ARM = "stocha(0.7)+ft(0.5)"


class Sentences(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        ids = torch.randint(3, 64, (8,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


class Interrupt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def trainer(folder, *more, arm=ARM, **changes):
    settings = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "save_steps": 2,
        "logging_steps": 1,
        "learning_rate": 0.01,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    arguments = TrainingArguments(**settings | changes)
    callbacks = [SwiFT(arm, seed=5), *more]
    return Trainer(tiny(), arguments, train_dataset=Sentences(), callbacks=callbacks)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = trainer(tmp_path_factory.mktemp("whole"))
    run.train()
    return run


@pytest.mark.parametrize("step", [3, 5], ids=["in the first phase", "in the second"])
def test_an_interrupted_run_goes_on_to_the_same_bits(step, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, Interrupt(step)).train()
    resumed = trainer(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    losses = [[e["loss"] for e in r.state.log_history if "loss" in e] for r in (resumed, whole)]
    assert losses[0] == losses[1]


def test_gradient_checkpointing_repeats_the_draws(whole, tmp_path):
    for reentrant in (True, False):
        run = trainer(
            tmp_path / str(reentrant),
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": reentrant},
        )
        run.train()
        torch.testing.assert_close(weights(run.model), weights(whole.model), rtol=0, atol=1e-6)


def test_what_cannot_be_repeated_is_refused(tokens):
    model = use(tiny(), "stocha", p=0.7).train()
    model.gradient_checkpointing_enable()
    model(tokens, labels=tokens).loss.backward()
    losses = [model(tokens, labels=tokens).loss for _ in range(2)]
    with pytest.raises(RuntimeError, match="one backward pass a forward pass"):
        losses[0].backward()


def test_the_log_tells_the_switch_and_the_zeros_of_each_layer(whole):
    entries = [entry for entry in whole.state.log_history if "loss" in entry]
    shares = [[entry["zeros/0"], entry["zeros/1"]] for entry in entries]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert all(0.05 < share < 0.25 for step in shares[:3] for share in step)  # 0.3 of about half
    assert all(0.3 < share < 0.7 for step in shares[3:] for share in step)
    assert entries[0]["zeros"] == pytest.approx(sum(shares[0]) / 2)


def test_steps_around_the_switch_are_logged_one_by_one(tmp_path):
    run = trainer(tmp_path, logging_steps=100, max_steps=30, gradient_accumulation_steps=1)
    run.train()
    steps = [entry["step"] for entry in run.state.log_history if "loss" in entry]
    assert steps == list(range(11, 21))


def test_the_result_loads_where_stocha_cannot_be_imported(whole, tmp_path, tokens):
    assert current(whole.model) == "relu"
    whole.save_model(str(tmp_path))
    program = """
import json, sys
sys.modules["stocha"] = None
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.no_grad():
    print(json.dumps(model(torch.tensor(json.loads(sys.argv[2]))).logits.flatten().tolist()))
"""
    command = [sys.executable, "-c", program, str(tmp_path), json.dumps(tokens.tolist())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with torch.no_grad():
        expected = whole.model.eval()(tokens).logits.flatten()
    assert json.loads(done.stdout.splitlines()[-1]) == expected.tolist()


def test_a_loop_of_one_s_own_trains_what_the_trainer_trains(tmp_path):
    """Plain SGD on batches of one sentence in the order of a sampler that does not shuffle."""
    settings = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    run = trainer(tmp_path, train_sampling_strategy="sequential", **settings)
    run.train()

    model, batches = tiny().train(), iter(range(0, 64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for t in range(6):
        for micro in range(2):
            at_step(model, ARM, t, 6, micro=micro, seed=5)
            first = next(batches)
            ids = torch.stack([Sentences()[first + i]["input_ids"] for i in range(2)])
            (model(ids, labels=ids).loss / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(weights(model), weights(run.model), rtol=0, atol=1e-5)


def test_draws_are_a_function_of_step_micro_batch_process_and_seed():
    x = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    model = tiny().train()

    def draw(t=0, **key):
        at_step(model, "stocha(0.5)", t, 4, **key)
        return layers(model)[0].act_fn(x)

    kinds = [{}, {"t": 1}, {"micro": 1}, {"rank": 1}, {"seed": 1}]
    drawn = [draw(**key) for key in kinds]
    assert all(torch.equal(draw(**key), first) for key, first in zip(kinds, drawn, strict=True))
    for i, one in enumerate(drawn):
        assert all(not torch.equal(one, other) for other in drawn[:i])


def test_zeros_are_counted_once_though_computed_twice(tokens):
    model = use(tiny(), "relu").train()
    model.gradient_checkpointing_enable()
    with zeros_counted(model) as counted:
        model(tokens, labels=tokens).loss.backward()
    assert [len(shares) for shares in counted] == [1, 1]
    model(tokens)
    assert [len(shares) for shares in counted] == [1, 1]


@pytest.mark.parametrize(
    ("arm", "line"),
    [
        ("learnable_stoch+ft(0.5)", "activation='learnable_stoch': no optimizer"),
        ("stoch+ft(0.5)", "arm='stoch\\+ft\\(0.5\\)': activation='stoch': allowed: "),
    ],
)
def test_a_mistake_is_one_line(arm, line, tmp_path):
    with pytest.raises(ValueError, match=f"^{line}.*$"):
        trainer(tmp_path, arm=arm).train()
