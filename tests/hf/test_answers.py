"""Answers drawn from a model that was never trained, and what is said of them."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from tests.hf.conftest import tiny

from stocha.base.parameters import at_scale
from stocha.base.streams import generator
from stocha.hf import answers as a
from stocha.hf.prompts import CHECKED, Prompt, normalised, prompts, value


class Letters:
    """A tokenizer of 64 one-letter tokens; the first ends a line, the second a text."""

    all_special_ids = (1,)

    def __len__(self):
        return 64

    def batch_decode(self, ids):
        return ["\n" if row == [0] else chr(64 + row[0]) for row in ids]


@pytest.fixture
def sampler():
    return a.Sampler(tiny(), Letters(), seed=0)


def ask(sampler, ids, prompts, setting, answers=4, new_tokens=8):
    with torch.no_grad():
        return sampler.answers(ids, prompts, answers, new_tokens, setting)


def test_known_answers_are_right_and_others_are_not():
    every = prompts()
    assert len({prompt.text for prompt in every}) == len(every) == 228
    tasks = Counter(prompt.task for prompt in every)
    assert tasks == {"arithmetic": 72, "facts": 72, "code": 60, "open": 24}
    for prompt in every:
        checked = prompt.task in CHECKED
        assert prompt.right(prompt.known) == 1 if checked else math.isnan(prompt.right("a"))
        assert not checked or prompt.right("nothing") == 0
    by_text = {prompt.text.splitlines()[-2]: prompt for prompt in every if prompt.task == "facts"}
    assert by_text["Q: In which country is Prague?"].right("the Czech Republic.") == 1
    assert by_text["Q: Which month comes after May?"].right("Junes") == 0


def test_code_is_right_by_what_it_returns():
    square = next(p for p in prompts() if "def square" in p.text)
    assert [square.right(x) for x in ("x ** 2", "pow(x, 2)", "2 * x", "x *")] == [1, 0, 0, 0]
    assert normalised("code", "x*x") == normalised("code", "x * x") != normalised("code", "x ** 2")
    assert normalised("arithmetic", "17.") == normalised("arithmetic", "17 (") == "17"
    assert normalised("facts", "São Tomé!") == "sao tome"


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "open('x')",
        "'{0.a}'.format(1)",
        "(lambda: 1)()",
        "__import__('os')",
        "9 ** 9 ** 9",
        "[0] * 10000000000",
    ],
)
def test_what_a_model_writes_can_do_no_harm(text):
    with pytest.raises((ValueError, NameError)):
        value(text, {})


def test_an_expression_that_does_not_end_is_stopped():
    with pytest.raises(TimeoutError):
        value("sum(1 for i in range(x))", {"x": 10**12})


def test_without_draws_an_answer_is_the_model_s_likeliest_tokens(sampler, tokens):
    (found, *others), _ = ask(sampler, tokens, [0, 1], a.Setting(1))
    assert others == [found] * 3
    model, ids = tiny(), tokens[:1]
    for token in found:
        with torch.no_grad():
            assert model(ids).logits[0, -1].argmax() == token
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    assert len(found) == 8 or found[-1] in (0, 1)


@pytest.mark.parametrize(
    "setting", [a.Setting(0.5, grain=g) for g in ("element", "token", "layer", "answer")]
    + [a.Setting(1, 1.5), a.Setting(0.5, 1.0, 0.9)], ids=str
)  # fmt: skip
def test_an_answer_depends_on_seed_prompt_and_number_alone(sampler, tokens, setting):
    together = ask(sampler, tokens, [3, 5], setting)
    (alone,) = ask(sampler, tokens[1:], [5], setting, answers=2)
    assert together[1][:2] == alone
    assert len({tuple(answer) for answer in together[0]}) > 1
    other = a.Sampler(tiny(), Letters(), seed=1)
    assert ask(other, tokens, [3, 5], setting) != together


@pytest.mark.parametrize(
    ("grain", "shape", "kept"),
    [
        ("element", (8, 2, 1, 40), False),
        ("token", (8, 2, 1, 1), False),
        ("layer", (8, 2, 1, 1), True),
        ("answer", (8, 2, 1, 40), True),
    ],
)
def test_a_grain_says_what_shares_a_draw(sampler, tokens, grain, shape, kept, monkeypatch):
    sampler.ends[:] = False
    seen = []
    read = sampler._read
    monkeypatch.setattr(
        sampler, "_read", lambda *given: (seen.append(sampler.draws.clone()), read(*given))[1]
    )
    ask(sampler, tokens, [0, 1], a.Setting(0.9, grain=grain), new_tokens=60)
    assert tuple(seen[-1].shape) == shape
    assert all(torch.equal(each, seen[-1]) for each in seen[1:]) == kept
    if not kept:
        assert torch.cat([d.flatten() for d in seen]).mean() == pytest.approx(0.9, abs=0.03)


def test_tokens_are_picked_as_often_as_they_are_likely():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(4000, -1)
    generators = [generator(0, "sampling", n) for n in range(4000)]
    often = torch.bincount(a.pick(logits, a.Setting(1, 1.0), generators), minlength=4) / 4000
    assert often.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    generators = [generator(0, "sampling", n) for n in range(4000)]
    often = torch.bincount(a.pick(logits, a.Setting(1, 1.0, 0.75), generators), minlength=4) / 4000
    assert often.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)


def test_answers_are_judged_as_the_model_would_read_them_at_once(tokens):
    model, prompt = tiny(), tokens[0].tolist()
    answers = [[5, 6, 7], [5, 6, 7], [5, 9], [8]]
    with torch.no_grad():
        found = a.judged(model, prompt, answers)
        rows = [
            model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(1)
            for answer in answers
        ]
    own = [row[range(len(x)), x].mean() for row, x in zip(rows, answers, strict=True)]
    assert found["likelihood"] == pytest.approx(np.mean(own), abs=1e-5)
    sure = [row.exp().amax(1) for row in rows]
    assert found["sure"] == pytest.approx(np.mean([each.mean() for each in sure]), abs=1e-5)
    # of six pairs one is the same, two part after a token, three before any
    assert (found["prefix"], found["tokens"]) == (0.4, 2.25)
    expected = (2 * sure[0][1] + 3 * sure[0][0]) / 5
    assert found["sure_at_parting"] == pytest.approx(expected.item(), abs=1e-5)
    with torch.no_grad():
        assert math.isnan(a.judged(model, prompt, [[8], [8]])["prefix"])


def test_what_is_measured_of_answers():
    prompt = Prompt("arithmetic", "", 6, "7")
    found = a.measured(prompt, ["7", "8", "7.", "9"])
    assert (found["right"], found["majority"], found["distinct"]) == (0.5, 1, 3)
    assert found["entropy"] == pytest.approx(1.5 * math.log(2))
    same = a.measured(Prompt("open", "", 24), ["the sea is blue"] * 3)
    assert math.isnan(same["right"])
    assert (same["self_bleu"], same["distinct"], same["distinct_1"]) == (1, 1, pytest.approx(1 / 3))
    other = a.measured(Prompt("open", "", 24), ["the sea is blue", "a dog", "all birds can fly"])
    assert (other["distinct_1"], other["distinct_2"]) == (1, 1)
    assert other["self_bleu"] < 0.01


def test_the_tables_of_every_group():
    for group, settings in a.GROUPS.items():
        found = a.run(at_scale(a.Config, "smoke", group=group, per_task=1)).tables
        assert len(found["prompts"]) == 4 * len(settings)
        assert len(found["examples"]) == 3 * 4 * len(settings)
        assert set(found["prompts"]["tuned"]) == {group == "tuned"}
        assert found["prompts"]["likelihood"].between(-20, 0).all()


def test_a_mistake_is_one_line():
    with pytest.raises(ValueError, match=r"^group='all': allowed: one of temperature, .*$"):
        a.Config(group="all")
