"""Scores, sparsity, probes and samples, against what they must be by definition."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stocha.activations import StochA, make
from stocha.lm import evaluation, probes
from stocha.lm.config import ModelConfig
from stocha.lm.corpus import TextFolder
from stocha.lm.generation import generate
from stocha.lm.model import Decoder
from stocha.lm.tokenizer import byte_lengths
from stocha.lm.tokens import Tokens, tokenise

SHAPE = ModelConfig(vocabulary=280, width=16, layers=2, heads=2, kv_heads=1, ffn=24, context=32)


@pytest.fixture
def model() -> Decoder:
    model = Decoder(SHAPE, "silu", seed=2)
    for parameter in model.parameters():
        parameter.data.mul_(8 if parameter.ndim == 2 else 1)
    return model


@pytest.fixture(scope="module")
def ids(tokens: Tokens) -> torch.Tensor:
    return evaluation.windows(tokens.splits["validation"], 32, 20)


def test_windows_are_fixed_and_do_not_overlap(tokens: Tokens) -> None:
    split = tokens.splits["validation"]
    ids = evaluation.windows(split, 32, 20)
    assert ids.shape == (20, 33)
    assert torch.equal(ids, evaluation.windows(split, 32, 20))
    whole = evaluation.windows(split, 32, (len(split) - 1) // 32)
    assert np.array_equal(whole[:, :-1].flatten(), split[: whole[:, :-1].numel()])
    with pytest.raises(ValueError, match="windows=100000"):
        evaluation.windows(split, 32, 100_000)


def test_the_loss_is_the_mean_cross_entropy_and_bits_are_per_byte(model, ids, tokens) -> None:
    sizes = byte_lengths(tokens.tokenizer)
    found = evaluation.score(model, ids, sizes)
    with torch.no_grad():
        expected = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    text = tokens.tokenizer.decode_batch(ids[:, 1:].tolist())
    size = sum(len(part.encode()) for part in text)
    bits = found["loss"] * ids[:, 1:].numel() / math.log(2) / size
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-9)


def test_recalled_targets_followed_the_same_two_tokens_before(ids) -> None:
    repeated = torch.cat([ids[:4, :17], ids[:4, 5:12], ids[:4, 3:11]], 1)
    for windows in (ids, repeated):
        expected = [
            [
                place > 0
                and any(
                    window[k : k + 3] == window[place - 1 : place + 2] for k in range(place - 1)
                )
                for place in range(len(window) - 1)
            ]
            for window in windows.tolist()
        ]
        assert evaluation.recalled(windows).tolist() == expected
    assert evaluation.recalled(repeated).any()


def test_the_loss_is_the_weighted_mean_of_its_two_parts(model, ids, tokens) -> None:
    found = evaluation.score(model, ids, byte_lengths(tokens.tokenizer))
    parts = found["recall"] * found["recall_loss"] + (1 - found["recall"]) * found["other_loss"]
    assert 0 < found["recall"] < 1
    assert parts == pytest.approx(found["loss"], rel=1e-9)


def test_the_gain_is_what_the_tokens_far_before_are_worth(model, ids) -> None:
    found = evaluation.context_gain(model, ids, make("relu"))
    recall = evaluation.recalled(ids)
    whole = evaluation.token_losses(model, ids, make("relu"))
    lost = []
    for row, place in recall.nonzero().tolist():
        if place >= evaluation.NEAR:
            near = ids[row, place + 1 - evaluation.NEAR : place + 2]
            alone = evaluation.token_losses(model, near[None], make("relu"))[0, -1]
            lost.append(float(alone - whole[row, place]))
    assert found["gain"] == pytest.approx(float(np.mean(lost)), abs=1e-4)
    assert found["recall_loss"] == pytest.approx(float(whole[recall].mean()), abs=1e-5)
    assert math.isnan(evaluation.context_gain(model, torch.arange(33)[None], make("relu"))["gain"])


def test_the_transition_is_the_first_step_whose_context_is_worth_half_a_nat() -> None:
    assert evaluation.transition([0, 10, 20, 30], [0.0, 0.49, 0.5, 0.4]) == 20
    assert math.isnan(evaluation.transition([0, 10], [0.1, float("nan")]))


def test_four_forms_of_one_model_differ_and_leave_it_as_it_was(model, ids) -> None:
    own, mode = model.activation, model.training
    forms = evaluation.choices(0.5)
    losses = {
        name: float(evaluation.token_losses(model, ids, activation).mean())
        for name, activation in forms.items()
    }
    assert set(losses) == {"sampled", "expected", "silu", "relu"}
    assert len(set(losses.values())) == 4
    assert model.activation is own
    assert model.training == mode
    again = evaluation.token_losses(model, ids, forms["sampled"])
    assert float(again.mean()) == losses["sampled"]


@pytest.mark.parametrize("mode", ["silu", "relu"])
def test_replacing_the_activation_is_having_trained_with_it(model, ids, mode) -> None:
    other = Decoder(SHAPE, mode)
    other.load_state_dict(model.state_dict())
    found = evaluation.token_losses(model, ids, make(mode))
    assert torch.equal(found, evaluation.token_losses(other, ids))


def test_zeros_are_where_the_gate_is_not_positive(model, ids) -> None:
    masks = evaluation.zeros(model, ids, make("relu"))
    assert [mask.shape for mask in masks] == [(20 * 32, 24)] * 2
    with torch.no_grad():
        block = model.layers[0]
        x = model.embedding(ids[:, :-1])
        x = x + block.attention(block.attention_norm(x), model.turn)
        gate = block.ffn.gate_up(block.ffn_norm(x)).chunk(2, -1)[0].flatten(0, 1)
    assert (masks[0] == (gate <= 0)).float().mean() > 0.999
    assert not any(mask.any() for mask in evaluation.zeros(model, ids, make("silu")))
    drawn = torch.cat(evaluation.zeros(model, ids, StochA(0.3))).float().mean()
    assert float(drawn) == pytest.approx(0.7 * float(torch.cat(masks).float().mean()), abs=0.02)


def test_sparsity_tells_dead_neurons_from_live_ones() -> None:
    mask = torch.zeros(100, 4, dtype=torch.bool)
    mask[:, 0] = True  # dead
    mask[:50, 1] = True
    (row,) = evaluation.sparsity([mask])
    assert row["sparsity"] == pytest.approx(150 / 400)
    assert row["dead"] == 0.25
    assert row["sparsity_live"] == pytest.approx(50 / 300)
    assert (row["q05"], row["q95"]) == (0.25, 0.5)


def test_union_sparsity_counts_neurons_that_stay_zero() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    rows = evaluation.union_sparsity([mask], spans=(1, 2, 4))
    assert [row["sparsity"] for row in rows] == pytest.approx([8 / 12, 3 / 6, 0])
    (batch,) = evaluation.union_sparsity([mask], spans=(2,), stride=2)
    assert batch["sparsity"] == pytest.approx(2 / 6)  # tokens 0 and 2 share one, 1 and 3 the other


def test_thresholds_trade_loss_for_zeros(model, ids) -> None:
    curve = evaluation.threshold_curve(model, ids, make("silu"), [0.0, 0.1, 0.3, 100.0])
    spared = [row["sparsity"] for row in curve]
    assert spared == sorted(spared)
    assert (spared[0], spared[-1]) == (0, 1)
    assert curve[0]["loss"] == float(evaluation.token_losses(model, ids, make("silu")).mean())


def test_sparsity_at_a_cost_is_interpolated() -> None:
    curve = [
        {"loss": 1.0, "sparsity": 0.1},
        {"loss": 1.1, "sparsity": 0.5},
        {"loss": 1.3, "sparsity": 0.9},
    ]
    assert evaluation.sparsity_at_cost(curve, 0.2) == pytest.approx(0.7)
    assert evaluation.sparsity_at_cost(curve, 5.0) == 0.9


def test_probes_are_fixed_and_ask_what_they_say(tokens: Tokens) -> None:
    split = np.concatenate([tokens.splits["validation"]] * 2)
    first, again = (probes.items(split, tokens.tokenizer, 20, 32) for _ in range(2))
    for probe, same in zip(first, again, strict=True):
        assert torch.equal(probe.ids, same.ids)
        for item, scored in zip(probe.ids, probe.scored.tolist(), strict=True):
            prefix = item[:, : item.shape[1] - scored]
            assert (prefix == prefix[0]).all()
            answers = item[:, -scored:]
            assert not (answers[1:] == answers[0]).all(1).any()
    by_name = {probe.name: probe for probe in first}
    corrupted = by_name["corrupted_line"].ids
    assert torch.equal(corrupted[:, 0].sort(1).values, corrupted[:, 1].sort(1).values)
    for item in by_name["copy"].ids:
        last_two = item[0, -2:].tolist()
        pairs = [item[0, i : i + 2].tolist() for i in range(item.shape[1] - 2)]
        assert last_two in pairs
        assert all(item[k, -2:].tolist() not in pairs for k in (1, 2, 3))


def test_a_probe_scores_the_answers_log_likelihood(model, tokens) -> None:
    split = np.concatenate([tokens.splits["validation"]] * 2)
    probe = probes.items(split, tokens.tokenizer, 12, 32)[0]
    found = probes.log_likelihoods(model, probe, make("relu"))
    model.use(make("relu"))
    for item in (0, 7):
        for choice in (0, 3):
            ids, scored = probe.ids[item, choice], int(probe.scored[item])
            with torch.no_grad():
                logs = model(ids[None, :-1]).log_softmax(-1)[0]
            expected = logs[torch.arange(len(ids) - 1), ids[1:]][-scored:].sum()
            assert found[item, choice] == pytest.approx(float(expected), rel=1e-4)
    row = probes.score(model, probe)
    assert row["accuracy"] == np.mean(found[:, 0] > found[:, 1:].max(1))


def test_graded_probes_ask_what_they_say(tmp_path) -> None:
    lines = [
        f"def measure_{n}(values, width):\n    if width:\n        table = [{{'measure': n}}]\n"
        f"    # what the values are is known, what it is not, was\n    return values[{n}]\n"
        for n in range(300)
    ]
    for number in range(0, 300, 10):
        (tmp_path / f"{number:03d}.py").write_text("".join(lines[number : number + 10]))
    text = tokenise(TextFolder(str(tmp_path), validation=0.4), 420, tmp_path / "cache")
    split = text.splits["validation"]
    found = {p.name: p for p in probes.graded(split, split, text.tokenizer, 20, 100)}
    again = {p.name: p for p in probes.graded(split, split, text.tokenizer, 20, 100)}
    assert set(found) >= {
        "corrupted_1",
        "corrupted_2",
        "bracket",
        "indent",
        "agreement",
        "recall_24",
    }
    for name, probe in found.items():
        assert torch.equal(probe.ids, again[name].ids)
        for item, scored in zip(probe.ids, probe.scored.tolist(), strict=True):
            assert (item[:, :-scored] == item[0, :-scored]).all()
            assert not (item[1:, -scored:] == item[0, -scored:]).all(1).any()
    for strength in (1, 2):
        ids = found[f"corrupted_{strength}"].ids
        assert ((ids[:, 1:] != ids[:, :1]).sum(2) == strength).all()
    word = text.tokenizer.decode
    for item in found["bracket"].ids:
        assert sorted(word([answer]) for answer in item[:, -1].tolist()) == [")", "]", "}"]
    for item in found["agreement"].ids:
        pair = {word([answer]).strip() for answer in item[:, -1].tolist()}
        assert pair in [set(words) for words in probes.AGREEING]
    for item in found["recall_24"].ids.tolist():
        before, answers = item[0][:-1], [choice[-1] for choice in item]
        assert 24 <= before[::-1].index(answers[0]) + 1 < 64
        assert all(answer in before for answer in answers)


def test_one_pass_gives_the_likelihoods_of_every_choice(model, tokens) -> None:
    split = np.concatenate([tokens.splits["validation"]] * 2)
    probe = next(p for p in probes.graded(split, split, tokens.tokenizer, 12, 32) if p.one_pass)
    each = probes.Items(probe.name, probe.ids, probe.scored)
    assert np.allclose(
        probes.log_likelihoods(model, probe), probes.log_likelihoods(model, each), atol=1e-5
    )


def test_too_many_questions_are_one_clear_line(tokens: Tokens) -> None:
    with pytest.raises(ValueError, match="questions=100000"):
        probes.items(tokens.splits["validation"], tokens.tokenizer, 100_000, 32)


def test_greedy_generation_is_the_argmax_of_one_pass(model) -> None:
    prompt = torch.arange(5, 12)
    out = generate(model, prompt, 10, temperature=0, activation=make("relu"))
    model.use(make("relu"))
    with torch.no_grad():
        logits = model(torch.cat([prompt, out[0]])[None])[0]
    assert torch.equal(logits[len(prompt) - 1 : -1].argmax(1), out[0])


def test_a_model_that_is_not_finite_generates_nothing(model) -> None:
    broken = Decoder(SHAPE)
    broken.norm.weight.data[0] = torch.nan
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"^logits: are not finite"):
            generate(broken, torch.arange(4), 2, temperature=temperature)
    with pytest.raises(ValueError, match=r"^temperature=inf: allowed: a number in \[0, inf\)"):
        generate(model, torch.arange(4), 2, temperature=torch.inf)


def test_samples_have_noise_of_their_own_and_do_not_depend_on_each_other(model) -> None:
    prompt = torch.arange(5, 12)
    drawn = {"temperature": 0.0, "activation": StochA(0.5, "mixed"), "seed": 4}
    many = generate(model, prompt, 16, samples=6, **drawn)
    assert len({tuple(row) for row in many.tolist()}) > 1
    assert torch.equal(many[:2], generate(model, prompt, 16, samples=2, **drawn))
    plain = generate(model, prompt, 16, samples=6, temperature=0.0, activation=make("silu"))
    assert (plain == plain[0]).all()
    warm = generate(model, prompt, 16, samples=6, temperature=1.0, seed=4)
    assert len({tuple(row) for row in warm.tolist()}) == 6
    assert not torch.equal(warm, generate(model, prompt, 16, samples=6, temperature=1.0, seed=5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1.0}, "temperature=-1"),
        ({"new_tokens": 30}, "at most 25 fit"),
        ({"samples": 0}, "samples=0"),
        ({"prompt": torch.arange(0)}, "prompt: needs"),
    ],
)
def test_impossible_generation_is_one_clear_line(model, wrong, message) -> None:
    arguments = {"prompt": torch.arange(7), "new_tokens": 4} | wrong
    with pytest.raises(ValueError, match=message):
        generate(model, arguments.pop("prompt"), arguments.pop("new_tokens"), **arguments)
