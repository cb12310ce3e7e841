"""Shares of what could be skipped, against masks made so that they are known."""

import pytest
import torch

from stocha.lm import blocks


@pytest.fixture
def masks(monkeypatch):
    """Two layers of 16 neurons; neuron n is zero at tokens t with t % 16 < n in every text."""
    token, neuron = torch.arange(32)[:, None], torch.arange(16)
    zero = (token % 16 < neuron).repeat(8, 1)  # eight texts
    shuffled = zero[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr(blocks, "zeros", lambda model, ids: [zero, shuffled])
    config = blocks.Config(documents=8, tokens=32, blocks=(1, 4, 16), batches=(1, 2, 8))
    return blocks.run(config)


def test_blocks_are_zero_only_whole_and_sorting_fills_them(masks) -> None:
    shares = masks.tables["blocks"].groupby(["order", "block"])["skipped"].mean()
    single = (15 * 16 / 2) / 16**2
    for order in (blocks.AS_TRAINED, blocks.SORTED):
        assert shares[order, 1] == pytest.approx(single)
        assert shares[order, 16] == 0  # neuron 0 is never zero
    # blocks of the sorted begin at neurons 0, 4, 8, 12, which are zero at as many of 16 tokens
    assert shares[blocks.SORTED, 4] == pytest.approx((0 + 4 + 8 + 12) / 4 / 16)
    assert shares[blocks.SORTED, 4] > shares[blocks.AS_TRAINED, 4]
    assert masks.metrics == {"sparsity": pytest.approx(single), "layers": 2, "neurons": 16}


def test_a_batch_needs_zeros_at_every_token(masks) -> None:
    shares = masks.tables["batches"].groupby(["kind", "tokens"])["skipped"].mean()
    assert shares["of one text", 1] == shares["of as many texts", 1]
    # all texts alike: a batch of them is one text
    assert shares["of as many texts", 8] == pytest.approx(shares["of one text", 1])
    # of two tokens in a row the later one decides: 1, 3, … 15 of 16 neurons are not zero
    assert shares["of one text", 2] == pytest.approx((14 + 12 + 10 + 8 + 6 + 4 + 2) / 8 / 16)
    counts = masks.tables["batches"].groupby(["kind", "tokens"])["text"].count()
    assert counts["of as many texts", 8] == 1
    assert counts["of one text", 8] == 8


def test_groups_of_four_fit_with_two_active_and_dealing_out_helps(masks) -> None:
    means = masks.tables["fours"].groupby("order")[["fit", "beyond"]].mean()
    assert means["fit"]["dealt out"] > means["fit"]["as trained"]
    # active at token t: neurons 0 … t; of a group dealt out {g, g + 4, g + 8, g + 12} they are
    # those up to t, so that three are active from t = g + 8 on and four from g + 12
    tokens = [sum(n <= t for n in (g, g + 4, g + 8, g + 12)) for g in range(4) for t in range(16)]
    assert means["fit"]["dealt out"] == pytest.approx(sum(n <= 2 for n in tokens) / len(tokens))
    over = sum(max(n - 2, 0) for n in tokens) / 4 / len(tokens)
    assert means["beyond"]["dealt out"] == pytest.approx(over)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"documents": 8}, "documents=8: allowed: at least the largest batch"),
        ({"tokens": 8}, "tokens=8: allowed: at least the largest batch"),
    ],
)
def test_texts_must_fill_the_largest_batch(given, said) -> None:
    with pytest.raises(ValueError, match=said):
        blocks.Config(**given)
