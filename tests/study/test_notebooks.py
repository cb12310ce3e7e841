import re
import shlex
from itertools import pairwise

import pytest

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.study.book import chapters
from stocha.study.notebooks import all_notebooks, read_notebook


def test_the_projects_notebooks_all_declare_scale_first():
    notebooks = all_notebooks()
    assert notebooks
    for notebook in notebooks:
        first = notebook.declaration.parameters[0]
        assert first.name == "scale", notebook.source
        assert set(notebook.declaration.scales) == {"smoke", "book", "full"}, notebook.source
        assert all(p.meaning for p in notebook.declaration.parameters), notebook.source


def test_every_notebook_is_in_the_table_of_contents():
    toc = (project_root() / "_toc.yml").read_text()
    assert [n.stem for n in chapters() if f"book/executed/{n.stem}\n" not in toc] == []


def test_run_id_changes_with_source_and_parameters_only(make_notebook):
    notebook = read_notebook(make_notebook())
    resolved = notebook.declaration.resolve({})
    assert notebook.run(resolved) == read_notebook(notebook.path).run(dict(resolved))
    assert notebook.run(resolved) != notebook.run({**resolved, "p": 0.25})
    changed = read_notebook(make_notebook("\n# %%\nx = 1\n"))
    assert notebook.run(resolved) != changed.run(resolved)


def test_run_id_counts_only_the_library_files_that_are_imported(make_notebook):
    plain = read_notebook(make_notebook("\n# %%\nx = 1\n", "50_a"))
    science = read_notebook(make_notebook("\n# %%\nfrom stocha import activations\n", "50_b"))
    assert plain.hashes["library"] != science.hashes["library"]
    again = read_notebook(make_notebook("\n# %%\nimport stocha.activations\n", "50_c"))
    assert again.hashes["library"] == science.hashes["library"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# %%\nx = 1\n", "no cell tagged `parameters`"),
        ('# %% tags=["parameters"]\nx: int = (\n', "parameters"),
        ('# %% tags=["parameters"]\nx = 1\n', "a line must read"),
    ],
)
def test_a_faulty_notebook_is_one_line_with_its_name(tmp_path, text, message):
    path = tmp_path / "faulty.py"
    path.write_text(text)
    with pytest.raises(UserError, match=r"faulty\.py") as caught:
        read_notebook(path)
    assert "\n" not in str(caught.value)


def test_a_missing_notebook_names_those_that_exist(tmp_path):
    (tmp_path / "10_real.py").write_text("")
    with pytest.raises(UserError, match=r"no notebook .*10_rael\.py; .* holds 10_real\.py"):
        read_notebook(tmp_path / "10_rael.py")


@pytest.mark.parametrize("page", ["README.md", "book/reexecute.md", "book/sweeps.md"])
def test_the_commands_that_readers_are_shown_name_parameters_that_are_there(page):
    text = (project_root() / page).read_text().replace("\\\n", " ")
    for line in re.findall(r"^ *stocha run (notebooks/.*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        given = [word for flag, word in pairwise(words) if flag == "-p"]
        for path in sorted(project_root().glob(words[0])):
            read_notebook(path).parse(given)
