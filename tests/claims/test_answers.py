"""The protocol's rules, on tables made up so that the answer is known."""

import math

import numpy as np
import pandas as pd
import pytest

from stocha.base.statistics import Estimate
from stocha.claims import answers as a
from stocha.claims.ledger import Verdict

CURVE = {0.0: (1, 0.6), 0.3: (2, 0.58), 0.6: (3, 0.55), 1.0: (5, 0.4), 1.5: (7, 0.1)}
"""Distinct answers and accuracy by temperature."""


def rows(settings, noise=0.0):
    """Recorded rows of settings, each with the distinct answers and accuracy that it is given."""
    rng = np.random.default_rng(1)
    tasks = [*["arithmetic"] * 72, *["facts"] * 72, *["code"] * 60, *["open"] * 24]
    own = rng.normal(0, 0.3, len(tasks))  # prompts differ, alike in every setting
    found = []
    for setting, (distinct, right) in settings:
        about = {"tuned": False, "p": 1.0, "temperature": 0.0, "top_p": 1.0}
        about |= {"grain": "element", "positive": "mixed"} | setting
        for n, task in enumerate(tasks):
            value = right + own[n] - own[:204].mean() + rng.normal(0, noise)
            checked = task in a.CHECKED
            quality = dict.fromkeys(("right", "majority"), value if checked else math.nan)
            found.append(about | {"task": task, "prompt": n, "distinct": distinct} | quality)
    return pd.DataFrame(found).assign(likelihood=-1.0, sure=0.8, sure_at_parting=0.3)


def temperatures(tuned=False):
    p = {"p": 0.0, "positive": "identity"} if tuned else {"p": 1.0}
    return [({"tuned": tuned, "temperature": t} | p, level) for t, level in CURVE.items()]


def drawn(gap, tuned=False, distinct=4.0):
    """StochA(0.7) with the accuracy of the curve at `distinct`, between 3 and 5, and a gap."""
    right = 0.55 - 0.15 * (distinct - 3) / 2 + gap
    about = {"tuned": tuned, "p": 0.7, "positive": "identity" if tuned else "mixed"}
    return [(about, (distinct, right))]


def assessed(settings, noise=0.0):
    table = rows(settings, noise)

    def read(sweep, name):
        assert (sweep, name) == (a.SWEEP, "points")
        return table

    return a.l11_several_answers.assess(read), a.Compared(a.recorded(read))


def both_models(gap, noise=0.0, **more):
    return assessed(
        [
            *temperatures(),
            *drawn(gap, **more),
            *temperatures(tuned=True),
            *drawn(gap, True, **more),
        ],
        noise,
    )


@pytest.mark.parametrize(
    ("gap", "noise", "more", "verdict"),
    [
        (-0.02, 0.0, {}, Verdict.REPLICATED),
        (+0.02, 0.0, {}, Verdict.PARTLY),  # not lower
        (-0.10, 0.0, {}, Verdict.PARTLY),  # not slightly
        (-0.02, 0.0, {"distinct": 1.5}, Verdict.PARTLY),  # not several
        (0.0, 1.0, {}, Verdict.PARTLY),  # several, and nothing else is known
        (-0.02, 0.0, {"distinct": 8.0}, Verdict.NOT_RESOLVED),  # beyond the curve
    ],
)
def test_the_verdict_on_l11(gap, noise, more, verdict):
    found, _ = both_models(gap, noise, **more)
    assert found.verdict is verdict
    assert len(found.parts) == 6


def test_the_gap_is_the_distance_from_the_curve_in_each_sample():
    _, compared = both_models(-0.02)
    assert compared.gap(["StochA(0.7)"], False) == Estimate(*[pytest.approx(-0.02)] * 3)
    assert compared.gap(["StochA(0.7)"], False, than="StochA(0.7)").mean == 0
    assert compared.gap(["tuned, StochA(0.7)"], False).mean == pytest.approx(-0.02)
    assert compared.distinct(["StochA(0.7)"]).mean == pytest.approx(4)
    _, noisy = both_models(-0.02, 0.5)
    found = noisy.gap(["StochA(0.7)"], False)
    assert 0.08 < found.high - found.low < 0.25  # 4 × 0.5 × √(1.6 / 204) = 0.18


def test_one_model_alone_resolves_nothing_of_the_other():
    found, compared = assessed([*temperatures(), *drawn(-0.02)])
    assert found.verdict is Verdict.PARTLY
    assert [part.verdict for part in found.parts[3:]] == [Verdict.NOT_RESOLVED] * 3
    assert compared.compared("stocha", True) == []


def test_settings_have_names_and_groups():
    mixed = {"p": 0.9}
    table = rows(
        [
            *temperatures(),
            ({"temperature": 1.0, "top_p": 0.5}, (3, 0.5)),
            (mixed, (3, 0.5)),
            (mixed | {"grain": "answer"}, (3, 0.5)),
            (mixed | {"positive": "identity"}, (3, 0.5)),
            (mixed | {"temperature": 0.6, "top_p": 0.9}, (3, 0.5)),
            *drawn(0, tuned=True),
        ]
    )
    found = a.recorded(lambda sweep, name: table)
    assert a.settings(found, "temperature")[:2] == ["SiLU, temperature 0", "SiLU, temperature 0.3"]
    assert a.settings(found, "top_p") == ["SiLU, temperature 1, top-p 0.5"]
    assert a.settings(found, "stocha") == ["StochA(0.9)"]
    assert a.settings(found, "grains") == [
        "StochA(0.9), one network an answer",
        "StochA(0.9), identity",
    ]
    assert a.settings(found, "both") == ["StochA(0.9), temperature 0.6, top-p 0.9"]
    assert a.settings(found, "stocha", tuned=True) == ["tuned, StochA(0.7)"]


def test_means_by_setting_are_of_checked_prompts_and_of_sentences():
    table = rows(temperatures()).assign(self_bleu=0.5, distinct_1=0.4, distinct_2=0.6, entropy=1.0)
    found = a.by_setting(a.recorded(lambda sweep, name: table))
    assert found["right"].tolist() == pytest.approx([right for _, right in CURVE.values()])
    assert found["distinct"].tolist() == [distinct for distinct, _ in CURVE.values()]
    assert 0.9 < found["pass_8"].iloc[0] <= 1  # a share of prompts above 0, by their own spread
    assert set(found["open_self_bleu"]) == {0.5}


def test_answers_part_where_the_model_is_unsure():
    table = rows(temperatures()).assign(sure_at_parting=0.3)
    found = a.parting(table)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.5,) * 3)
    assert a.shown(a.parting(table.assign(sure_at_parting=math.nan))) == "—"
