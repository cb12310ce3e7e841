"""Random damage to what is stored and recorded: told, or without effect, never another number."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.base.recorded import read_table
from stocha.study.notebooks import all_notebooks
from stocha.study.recorded import read_record
from stocha.study.runs import Entry

pytestmark = pytest.mark.random
LONGER = 10 if os.environ.get("STOCHA_TEST_LONG") else 1
RECORDED = project_root() / "results"
FOLDERS = sorted(path.parent.name for path in RECORDED.glob("*/provenance.json"))


@st.composite
def damages(draw):
    """A function that damages a file among several; it says whether any byte has changed."""
    kind = draw(st.sampled_from(["cut", "flip", "swap", "conflict", "gone", "zeros", "line"]))
    share, other, bit = draw(st.floats(0, 1)), draw(st.floats(0, 1)), draw(st.integers(0, 7))

    def damage(files: list[Path]) -> str:
        path = files[int(share * (len(files) - 1))]
        data = path.read_bytes()
        place = int(other * max(0, len(data) - 1))
        if kind == "cut":
            path.write_bytes(data[:place])
        elif kind == "flip":
            changed = bytes([data[place] ^ (1 << bit)]) if data else b""
            path.write_bytes(data[:place] + changed + data[place + 1 :])
        elif kind == "swap":
            second = files[int(other * (len(files) - 1))]
            path.write_bytes(second.read_bytes())
            second.write_bytes(data)
        elif kind == "conflict":
            marks = b"<<<<<<< ours\n" + data[place:] + b"=======\n"
            path.write_bytes(data[:place] + marks + data[place:] + b">>>>>>> theirs\n")
        elif kind == "gone":
            path.unlink()
        elif kind == "zeros":
            path.write_bytes(data[:place] + bytes(len(data) - place))
        else:
            lines = data.splitlines(keepends=True)
            path.write_bytes(b"".join(lines[: int(other * len(lines))] + lines[-1:]))
        return kind

    return damage


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@settings(max_examples=50 * LONGER)
@given(damages())
def test_a_damaged_run_is_not_done(tmp_path_factory, damage):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCHA_RUNS", str(tmp_path_factory.getbasetemp() / "damaged"))
        entry = Entry("results/stocha.test.run", "0123")
        folder = entry.start()
        (folder / "tables").mkdir()
        (folder / "tables" / "curve.csv").write_text("t,loss\n0,0.5\n1,0.25\n")
        (folder / "tables" / "other.csv").write_text("t,loss\n0,0.5\n1,0.35\n")
        (folder / "metrics.json").write_text('{"best": 0.25}\n')
        entry.finish()
        before = contents(entry.folder)
        damage([path for path in sorted(entry.folder.rglob("*")) if path.is_file()])
        known = {name: data for name, data in before.items() if name != "DONE"}
        after = contents(entry.folder)
        assert not entry.is_done() or known.items() <= after.items()


@settings(max_examples=50 * LONGER)
@given(damages(), st.sampled_from(FOLDERS))
def test_a_damaged_record_is_told_by_name(tmp_path_factory, damage, name):
    folder = tmp_path_factory.getbasetemp() / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(RECORDED / name, folder)
    before, record = contents(folder), read_record(folder)
    assert record is not None
    damage([path for path in sorted(folder.iterdir()) if path.is_file()])
    for table in sorted(name for name in before if name.endswith(".csv")):
        try:
            read_table(folder / table)
            same = (folder / "provenance.json").is_file()
            assert not same or (folder / table).read_bytes() == before[table]
        except FileNotFoundError:
            assert not (folder / table).exists()
        except UserError as error:
            said = str(error)
            assert str(folder) in said
    try:
        assert read_record(folder) in (record, None)
    except UserError as error:
        said = str(error)
        assert str(folder) in said


NOTEBOOKS = all_notebooks()
NAMES = sorted({p.name for notebook in NOTEBOOKS for p in notebook.declaration.parameters})
VALUES = st.text(max_size=12) | st.sampled_from(["[]", "[,]", "nan", "1e999", "None", "9" * 5000])


@settings(max_examples=200 * LONGER)
@given(
    st.sampled_from(NOTEBOOKS),
    st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=4), VALUES), max_size=3),
)
def test_what_is_typed_on_the_command_line_is_taken_or_refused_in_one_line(notebook, typed):
    said = ""
    try:
        given = notebook.parse([f"{name}={value}" for name, value in typed])
        notebook.run(notebook.declaration.resolve(given))
    except UserError as error:
        said = str(error)
    assert said.isprintable()
