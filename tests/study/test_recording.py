import shutil

import pytest

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.base.recorded import PROVENANCE, require_recorded
from stocha.study.notebooks import read_notebook
from stocha.study.recorded import all_records
from stocha.study.recording import findings, pictures, readme_text, record_runs


def test_the_readme_shows_what_the_recorded_tables_say():
    text = (project_root() / "README.md").read_text()
    assert findings() in text, "`stocha readme` brings it up to date"
    assert readme_text(text) == text
    for name, svg in pictures().items():
        assert (project_root() / name).read_text() == svg


def test_a_readme_without_markers_is_told():
    with pytest.raises(UserError, match="markers"):
        readme_text("# A title\n")


def test_only_a_finished_full_scale_run_is_recorded(make_notebook, store, tmp_path, monkeypatch):
    monkeypatch.setattr("stocha.study.recording.results_root", lambda: tmp_path / "results")
    path = make_notebook()
    with pytest.raises(UserError, match="-p scale=full"):
        record_runs([path])
    notebook = read_notebook(path)
    run = notebook.run(notebook.declaration.resolve({"scale": "full"}))
    (run.start() / "tables").mkdir()
    (run.partial / "tables" / "curve.csv").write_text("epoch,loss\n0,0.5\n")
    (run.partial / "provenance.json").write_text("{}\n")
    run.finish()
    (folder,) = record_runs([path])
    assert sorted(file.name for file in folder.iterdir()) == ["curve.csv", "provenance.json"]
    shutil.rmtree(run.folder)
    with pytest.raises(UserError):
        record_runs([path])
    assert (folder / "curve.csv").is_file()


@pytest.mark.parametrize("record", all_records(), ids=lambda record: record.folder.name)
def test_what_is_committed_is_as_it_was_recorded(record):
    for path in sorted(record.folder.glob("*")):
        if path.name != PROVENANCE:
            require_recorded(path, path.read_bytes())
    assert record.points
    assert (project_root() / record.notebook).is_file()
