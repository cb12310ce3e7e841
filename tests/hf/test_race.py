"""The race at smoke scale: what is right is timed, what is not is named."""

import copy
import dataclasses
import importlib.util
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from tests.hf.conftest import tiny
from transformers import AutoModelForCausalLM

from stocha.base.parameters import at_scale
from stocha.hf import race, use, ways
from stocha.hf.gguf_file import TYPES, write

ENTRIES = ways.entries


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """To compile takes minutes; `test_one_step_is_one_graph` shows that it can be done."""
    monkeypatch.setattr(torch, "compile", lambda forward: forward)


@pytest.mark.parametrize("precision", ways.BITS)
def test_every_way_is_right_and_timed_or_absent_with_its_reason(precision):
    tables = race.run(at_scale(race.Config, "smoke", precision=precision)).tables
    known = tables["ways"].set_index("way")
    assert set(known["state"]) <= {"right", "absent"}
    right = known.index[known["state"] == "right"]
    assert set(tables["speed"]["way"]) == set(right) > {"ours, dense", "ours, sparse"}
    assert (known.loc[known["state"] == "absent", "reason"].str.len() > 0).all()
    times = tables["times"].groupby("way")["round"].agg(list)
    assert all(rounds == [0, 1] for rounds in times)
    speed = tables["speed"].set_index("way")
    peer = speed.index[speed["peer"]].item()
    assert not speed.loc[peer, "ours"]
    assert (speed["rate_q1"] <= speed["rate"]).all()
    own = known[known["ours"]]
    assert own["deviation"].nunique() == 1  # to the bit the same, whatever is skipped
    assert tables["zeros"]["share"].between(0.8, 0.97).all()
    parameters = {field.name for field in dataclasses.fields(race.Config)}
    assert not any(parameters & set(table.columns) for table in tables.values())  # for sweeps
    parts = tables["parts"].groupby("way")["part"].agg(set)
    assert "Hugging Face, compiled" not in parts
    assert all({"attention", "head", "norms", "rest"} < found for found in parts)


def test_a_way_that_computes_something_else_is_named_and_not_timed(monkeypatch):
    def swapped(model, precision, threads, room, folder):
        for entry in ENTRIES(model, precision, threads, room, folder):
            if entry.name == "Hugging Face, eager":
                other = use(copy.deepcopy(model), "silu")
                make = partial(ways.Transformer, other, room)
                yield dataclasses.replace(entry, name="other", make=make)
            yield entry

    monkeypatch.setattr(race, "entries", swapped)
    tables = race.run(at_scale(race.Config, "smoke")).tables
    row = tables["ways"].set_index("way").loc["other"]
    assert (row["state"], row["reason"]) == ("wrong", "deviation: allowed: below 0.01")
    assert "other" not in set(tables["times"]["way"])


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    (found,) = [e for e in ENTRIES(tiny(), "float32", 1, 8, None) if e.name == "llama.cpp F32"]
    with pytest.raises(ways.Absent, match=r"pip install 'stocha\[peers\]'$"):
        found.make()


def test_without_a_peer_that_is_right_rates_are_kept_and_no_ratio_is_told():
    ours = ["ours, dense", "ours, sparse"]
    times = pd.DataFrame({"round": [0, 0, 1, 1], "way": ours * 2, "seconds": [2.0, 1.0, 2.0, 1.0]})
    states = {"ours": [True, True, False], "bits": 8, "state": ["right"] * 2 + ["wrong"]}
    speed = race._speed(times, pd.DataFrame({"way": [*ours, "peer"], **states}), tokens=4)
    assert dict(zip(speed["way"], speed["rate"], strict=True)) == dict(
        zip(ours, (2, 4), strict=True)
    )
    assert speed["ratio"].isna().all()


def test_made_weights_have_the_zeros_that_were_asked_for():
    for zeros in (0.5, 0.95):
        config = at_scale(race.Config, "smoke", zeros=zeros)
        prompts = np.random.default_rng(0).integers(0, config.vocabulary, (2, 30))
        model = race.made_model(config, prompts)
        seen = []
        hook = model.model.layers[1].mlp.act_fn.register_forward_hook(
            lambda _, __, y, seen=seen: seen.append((y == 0).float().mean().item())
        )
        with torch.no_grad():
            model(torch.from_numpy(prompts))
        hook.remove()
        assert seen == [pytest.approx(zeros, abs=0.005)]


def test_one_step_is_one_graph(monkeypatch):
    """`torch.compile` sees the sparse layer as one operation; nothing falls back to Python."""
    model = use(tiny(), "relu")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        dense = model(ids).logits
        (sparse,) = [
            e.make() for e in ENTRIES(model, "float32", 1, 8, None) if e.name == "ours, sparse"
        ]
        monkeypatch.undo()
        torch._dynamo.reset()
        forward = torch.compile(sparse.model.forward, backend="eager", fullgraph=True)
        found = forward(input_ids=ids, use_cache=False).logits
        again = copy.deepcopy(sparse.model)(ids).logits
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-4)
    assert torch.equal(found, again)


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")
@pytest.mark.parametrize("kind", TYPES)
def test_what_is_written_as_gguf_is_read_back_by_others(kind, tmp_path, tokens):
    model = tiny(hidden_size=32, intermediate_size=64, head_dim=16)
    write(model, tmp_path / "model.gguf", kind)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    with torch.no_grad():
        logits, truth = again(tokens).logits, model(tokens).logits
    bound = {"F32": 1e-5, "F16": 0.01, "BF16": 0.05, "Q8_0": 0.05, "Q4_1": 0.6}[kind]
    assert (logits - truth).square().mean().sqrt() < bound * truth.std()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"heads": 3}, "heads=3: allowed: a divisor of width, 64"),
        ({"kv_heads": 3}, "kv_heads=3: allowed: a divisor of heads, 2"),
        ({"precision": "half"}, "precision='half': allowed: "),
        ({"zeros": 1.0}, r"zeros=1\.0: allowed: "),
        ({"threads": 1000}, "threads=1000: allowed: "),
    ],
)
def test_a_mistake_is_one_line(changes, line):
    with pytest.raises(ValueError, match=f"^{line}.*$"):
        race.run(at_scale(race.Config, "smoke", **changes))
