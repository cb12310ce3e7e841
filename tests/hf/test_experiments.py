"""What the chapters on a pretrained model compute, on a model that was never trained."""

import copy
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from tests.hf.conftest import ROOT, run_page, tiny

from stocha.base.parameters import at_scale
from stocha.claims import relufication as r
from stocha.hf import pretrained, race, relufication, swap, training
from stocha.hf.evaluation import evaluate
from stocha.hf.exchange import current, use
from stocha.hf.text import docstrings, tokens
from stocha.hf.training import Course
from stocha.lm.corpus import Document, PythonPackages


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("STOCHA_CACHE", str(tmp_path))


def few(monkeypatch):
    """A corpus of four small files, whose docstrings a test can read."""
    found = [
        Document(f"{split}/{n}.py", f'"""{text} {n}"""\nx = 1\n', split)
        for split, text in (("train", "a b c " * 60), ("validation", "d e " * 60))
        for n in range(2)
    ]
    held = Document("heldout/0.py", '"""f g ' + "h i " * 90 + '"""\ny = "z"\n', "heldout")
    monkeypatch.setattr(PythonPackages, "documents", lambda self: iter([*found, held]))


def test_docstrings_are_the_prose_and_nothing_else():
    source = '"""One."""\ndef f():\n    """Two.\n\n    Three."""\n    return "four"\n'
    documents = [Document("a.py", source, "train"), Document("b.py", "x = (", "train")]
    assert [d.text for d in docstrings(documents)] == ["One.\n\nTwo.\n\nThree."]


def test_tokens_end_each_document_and_keep_their_order(saved):
    _, tokenizer = pretrained.load(str(saved))
    documents = [Document(f"{n}.py", f"text {n}", "train") for n in range(5)]
    ids = tokens(documents, tokenizer)
    assert (ids == tokenizer.eos_token_id).sum() == 5
    assert np.array_equal(tokens(documents[::-1], tokenizer), ids)
    assert np.array_equal(tokens(documents, tokenizer, 7), ids[:7])
    with pytest.raises(ValueError, match=r"^text: allowed: "):
        tokens([], tokenizer)


def test_the_loss_is_the_mean_negative_log_probability(tokens):
    model = use(tiny(), "relu")
    ids = tokens.flatten().numpy().astype(np.uint32)
    found = evaluate(model, ids, 2, 8)
    with torch.no_grad():
        rows = torch.from_numpy(ids[:17].astype(np.int64)).unfold(0, 9, 8)
        expected = [
            F.cross_entropy(model(row[None, :-1]).logits[0].double(), row[1:]).item()
            for row in rows
        ]
    assert found.losses == pytest.approx(expected, abs=1e-5)
    assert found.loss == pytest.approx(np.mean(expected), abs=1e-5)
    assert all(0.2 < share < 0.8 for share in found.zeros)
    with pytest.raises(ValueError, match=r"^tokens=24: allowed: \[1, 23\]"):
        evaluate(model, ids, 3, 8)


def test_the_swap_s_tables(monkeypatch):
    few(monkeypatch)
    config = at_scale(swap.Config, "smoke", tokens=128, context=64, draws=2)
    found = swap.run(config)
    losses, zeros = found.tables["losses"], found.tables["zeros"]
    drawn = losses.groupby("activation")["draw"].nunique()
    assert (drawn["relu"], drawn["silu"], drawn["stocha(0.5)"]) == (1, 1, 2)
    assert set(losses["window"]) == {0, 1}
    shares = zeros.groupby("activation")["zeros"].mean()
    assert shares["silu"] == 0
    assert shares["stocha(0.7)"] == pytest.approx(0.3 * shares["relu"], abs=0.01)
    pd.testing.assert_frame_equal(losses, swap.run(config).tables["losses"])


def test_an_interrupted_fine_tuning_gives_the_same_tables(monkeypatch):
    few(monkeypatch)
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    config = at_scale(relufication.Config, "smoke", context=32, windows=1, tokens=1024)

    def interrupt(done, total, doing):
        if done == 5 * 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relufication.run(config, interrupt)
    resumed = relufication.run(config)
    model, _ = relufication.finished(config)
    assert current(model) == "relu"
    for state in (relufication.cache_root() / "hf").iterdir():
        state.unlink()
    whole = relufication.run(config)
    assert resumed.tables.keys() == whole.tables.keys()
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, resumed.tables[name])
    again, _ = relufication.finished(config)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_what_is_recorded_of_a_fine_tuning(monkeypatch):
    few(monkeypatch)
    small = {"context": 32, "windows": 1, "tokens": 2048, "lr": 0.003}
    tables = relufication.run(at_scale(relufication.Config, "smoke", **small)).tables
    assert sorted(set(tables["evaluation"]["tokens"])) == [0, 1024, 2048]
    assert set(tables["evaluation"]["text"]) == set(relufication.TEXTS)
    assert len(tables["training"]) == 16
    losses = tables["training"]["loss"]
    assert losses.iloc[-4:].mean() < losses.iloc[:4].mean() - 0.1
    (summary,) = tables["summary"].to_dict("records")
    last = tables["evaluation"].query("tokens == 2048 and text == 'heldout'")["loss"].mean()
    assert summary["heldout"] == pytest.approx(last)
    assert 0.3 < summary["zeros"] < 0.7
    cuts = tables["cuts"].set_index("cut")
    assert cuts.loc[0.9, "zeros"] == pytest.approx(0.9, abs=0.03)
    # whether a cut costs is chance in a model that has learnt next to nothing; that it acts is not
    assert cuts.loc[0.9, "loss"] != summary["heldout"]
    assert cuts.loc[0.9, "loss"] == pytest.approx(summary["heldout"], abs=1)


def trained(tmp_path, **changes):
    """The observed zeros and the distance from the first model, after a few steps on one text."""
    model, ids = use(tiny(), "relu"), np.arange(600, dtype=np.uint32) % 61 + 3
    first = copy.deepcopy(model)
    course = Course("relu", steps=30, batch=2, context=16, lr=0.01, **changes)
    training.finetune(model, ids, course, tmp_path / f"{changes}.state")
    rows = torch.from_numpy(ids[:65].astype(np.int64))[None]
    with torch.no_grad():
        now, then = (m(rows).logits.log_softmax(-1) for m in (model, first))
    zeros = evaluate(model, ids, 4, 16).zeros.mean()
    return zeros, F.kl_div(now, then, reduction="sum", log_target=True).item() / 65


def test_distillation_stays_near_the_first_model_and_zeros_are_pulled_to_their_aim(tmp_path):
    zeros, apart = trained(tmp_path)
    _, near = trained(tmp_path, distil=1.0)
    aimed, _ = trained(tmp_path, sparsity=0.9)
    assert near < 0.3 * apart
    assert zeros < 0.7
    assert zeros + 0.15 < aimed < 0.95


def test_layers_that_learn_by_themselves_come_near_to_the_first_model_s(tmp_path):
    """Attention and norms stay; each layer's error on its own input falls; no loss is claimed."""
    model, ids = tiny(), np.arange(600, dtype=np.uint32) % 61 + 3
    first = copy.deepcopy(model)
    course = Course("relu", steps=60, batch=2, context=16, lr=0.003, local=1.0)

    def error(own):
        x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return (own.mlp(x) - first.model.layers[1].mlp(x)).square().mean().item()

    before = error(use(copy.deepcopy(model), "relu").model.layers[1])
    done = training.finetune(model, ids, course, tmp_path / "local.state")
    assert all(np.isnan(done.losses))
    assert error(model.model.layers[1]) < 0.7 * before
    for own, was in zip(model.model.layers, first.model.layers, strict=True):
        assert torch.equal(own.self_attn.q_proj.weight, was.self_attn.q_proj.weight)
        assert not torch.equal(own.mlp.down_proj.weight, was.mlp.down_proj.weight)


def test_the_rate_rises_and_follows_one_cosine():
    course = Course("silu+ft(0.1)", steps=100, lr=1.0, warmup=0.1)
    rates = [course.rate(t) for t in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (t + 1) for t in range(10)])
    assert rates[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(rates[9:]))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"arm": "stoch"}, "arm='stoch': activation='stoch': allowed: "),
        ({"distil": 2.0}, "distil=2.0: allowed: "),
        ({"tokens": 0}, "tokens=0: allowed: "),
        ({"precision": "half"}, "precision='half': allowed: "),
    ],
)
def test_a_mistake_is_one_line(changes, line):
    with pytest.raises(ValueError, match=f"^{line}.*$"):
        relufication.Config(**changes)


def test_what_the_relufication_left_is_read_without_its_text(monkeypatch):
    few(monkeypatch)
    small = at_scale(relufication.Config, "smoke", arm="relu", context=8)
    monkeypatch.setattr(relufication, "Config", lambda arm: small)
    with pytest.raises(ValueError, match=r"^arm=relu: not trained here yet; allowed after: "):
        race._relufied("relu")
    trained, _ = relufication.finished(small)
    found, _ = race._relufied("relu")
    assert current(found) == "relu"
    own = trained.state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in found.state_dict().items())


def test_a_missing_model_is_one_line():
    with pytest.raises(ValueError, match=r"^model=smollm2: .*stocha model fetch smollm2$"):
        swap.run(swap.Config())


def test_the_chapter_reads_what_the_sweeps_record(monkeypatch, tmp_path):
    """*Making it sparse*, on tables of tiny runs: of the first sweep alone, then of more."""
    few(monkeypatch)
    sizes = {"context": 8, "windows": 8, "tokens": 256, "batch": 2, "points": 4, "lr": 0.003}
    root = tmp_path / "project"
    shutil.copytree(ROOT / "results" / "51_pretrained", root / "results" / "51_pretrained")
    told, counts = [], []
    for sweep in r.SWEEPS:
        plan = yaml.safe_load((ROOT / "sweeps" / f"{sweep}.yml").read_text())
        points = plan.get("points") or [{"arm": arm} for arm in plan["grid"]["arm"]]
        runs = [
            relufication.run(at_scale(relufication.Config, "smoke", **sizes, **point, seed=seed))
            for point in points
            for seed in range(plan["seeds"])
        ]
        folder = root / "results" / sweep
        folder.mkdir(parents=True)
        for name in (plan["collect"]["table"], *plan["collect"]["tables"]):
            table = pd.concat([found.tables[name] for found in runs])
            file = "points" if name == plan["collect"]["table"] else name
            table.to_csv(folder / f"{file}.csv", index=False)
        names = run_page("53_making_sparse", root)
        told.append(names["run"]._metrics)
        counts.append(len(set(r.FURTHER) - set(names["wide"].columns)))
        counts.append((names["answers"]["resolved"] == "not trained yet").sum())
    assert counts == [5, 3, 4, 3, 0, 0]
    assert told[0]["sparse-untrained"].startswith("not trained yet: ReLU, taught; ")
    assert told[2]["sparse-untrained"] == "all trained"
    assert told[2]["sparse-l8"] == "hold"  # the recorded table's
    assert told[2]["sparse-close-99"].startswith(("not known: ", "64 to"))
