import pandas as pd
import pytest

from stocha.claims.ledger import Tables, Verdict
from stocha.claims.sparse import PAGE, l7_speed_of_the_ffn


@pytest.mark.parametrize(
    ("quartiles", "expected"),
    [
        ((2.2, 2.3, 2.4), Verdict.REPLICATED),
        ((1.5, 1.7, 1.9), Verdict.NOT_RESOLVED),
        ((1.1, 1.2, 1.3), Verdict.CONTRADICTED),
    ],
)
def test_l7_rests_on_the_quartiles_at_90_percent_in_one_thread(tmp_path, quartiles, expected):
    rows = [
        {
            "d": 2048,
            "h": 8192,
            "threads": threads,
            "sparsity": sparsity,
            "method": method,
            **dict(zip(("ratio_q1", "ratio_median", "ratio_q3"), values, strict=True)),
        }
        for threads in (1, 2)
        for sparsity in (0.5, 0.9)
        for method in ("numba sparse", "numba screened")
        for values in [quartiles if (threads, sparsity) == (1, 0.9) else (0.1, 9.0, 10.0)]
    ]
    (tmp_path / PAGE).mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / PAGE / "ffn_speed.csv", index=False)
    found = l7_speed_of_the_ffn.assess(Tables(tmp_path))
    assert found.verdict is expected
    assert f"{quartiles[1]:.2f}×" in found.estimate
