import json

import pandas as pd
import pytest

from stocha.base.errors import UserError
from stocha.base.files import digest
from stocha.base.recorded import read_table, write_provenance


@pytest.fixture
def folder(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("seed,loss\n0,0.5\n1,0.25\n")
    files = {table.name: digest(table.read_bytes())}
    write_provenance(tmp_path, {"seconds": 3.5, "files": files})
    return tmp_path


def test_a_table_is_read_as_it_was_recorded(folder):
    expected = pd.DataFrame({"seed": [0, 1], "loss": [0.5, 0.25]})
    pd.testing.assert_frame_equal(read_table(folder / "runs.csv"), expected)


def test_a_changed_digit_is_told_with_the_files_name(folder):
    (folder / "runs.csv").write_text("seed,loss\n0,0.5\n1,0.26\n")
    with pytest.raises(UserError, match=r"runs\.csv: damaged or edited: it has other bytes"):
        read_table(folder / "runs.csv")


def test_a_table_that_was_not_recorded_is_told(folder):
    (folder / "more.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match=r"more\.csv: damaged or edited: it is not listed"):
        read_table(folder / "more.csv")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}'])
def test_damaged_provenance_is_told(folder, text):
    (folder / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=r"provenance\.json: damaged"):
        read_table(folder / "runs.csv")


def test_edited_provenance_is_told_and_a_note_is_none(folder):
    path = folder / "provenance.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({"note": "why", **about}))
    assert len(read_table(folder / "runs.csv")) == 2
    path.write_text(json.dumps(about | {"seconds": 3.6}))
    with pytest.raises(UserError, match=r"provenance\.json: damaged or edited"):
        read_table(folder / "runs.csv")


def test_a_missing_table_is_missing(folder):
    with pytest.raises(FileNotFoundError):
        read_table(folder / "none.csv")
