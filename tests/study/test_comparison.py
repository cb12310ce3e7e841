from pathlib import Path

import pytest

from stocha.base.paths import project_root

# The picture is of its own for each p, without the seconds that a plotting library takes to import.
CELLS = """
# %% mystnb={"figure": {"name": "fig-small"}}
from base64 import b64encode
from IPython.display import display
run.table("curve", pd.DataFrame({"epoch": range(epochs), "loss": [p, p / 2]}))
run.metric(final=p / epochs)
display({"image/png": b64encode(str(p).encode()).decode()}, raw=True)
"""


@pytest.mark.notebooks
def test_two_executions_are_compared(stocha, store, make_notebook, tmp_path):
    path, page = make_notebook(CELLS), tmp_path / "page.html"
    half, quarter = (
        Path(stocha("run", path, "-p", "scale=smoke", "-p", f"p={p}").stdout.strip())
        for p in (0.5, 0.25)
    )
    same = stocha("diff", half, half.name[:8])
    assert same.returncode == 0, same.stderr
    assert "different" not in same.stdout.replace("0 different", "")
    done = stocha("diff", half, quarter, "--page", page)
    assert done.returncode == 1, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "parameters: 4 equal, 1 different" in lines
    assert "p: 0.5 | 0.25" in lines
    assert "tables: 1 equal, 1 different" in lines
    assert "curve.csv: loss: 2 of 2 values differ, by up to 2.5e-01, 5.0e-01 of themselves" in lines
    assert "final: 0.25 | 0.125" in lines
    assert "figures: 0 equal, 1 different" in lines
    assert page.read_text().count("<img ") == 2
    (half / "tables" / "curve.csv").write_text("epoch,loss\n")
    damaged = stocha("diff", half, quarter)
    assert damaged.returncode == 2
    assert "allowed: a run whose files are as it left them" in damaged.stderr


def test_recorded_tables_are_compared(stocha):
    widths, probabilities = (project_root() / "results" / f"toy_{n}" for n in ("bottleneck", "p"))
    assert stocha("diff", widths, widths).returncode == 0
    done = stocha("diff", widths, probabilities)
    assert done.returncode == 1, done.stderr
    lengths = [
        len((f / "points.csv").read_text().splitlines()) - 1 for f in (widths, probabilities)
    ]
    assert "points.csv: rows: {} | {}".format(*lengths) in done.stdout


@pytest.mark.parametrize("text", ["0000", "results/toy", "../*", ""])
def test_what_is_no_execution_is_one_line(stocha, text):
    done = stocha("diff", text, text)
    assert done.returncode == 2
    assert done.stderr.startswith(f"stocha: run={text}: allowed: a folder of a run or of results/")
    assert len(done.stderr.splitlines()) == 1
