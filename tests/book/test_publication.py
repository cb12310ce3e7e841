"""Citation and launch buttons, from `CITATION.cff` and the one setting in `_config.yml`."""

import tomllib
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from book_pages import ROOT
from publication import Citation, for_colab, launches, off_without_repository
from pybtex.database import parse_string
from sphinx_book_theme.header_buttons import update_context_with_repository_info
from sphinx_book_theme.header_buttons.launch import add_launch_buttons

PAGE, SOURCE = "book/executed/12_gates", "notebooks/12_gates.py"


class Settings(dict):
    """Settings by name, as items and as attributes: Sphinx's."""

    __getattr__ = dict.__getitem__


def launched(url: str) -> dict[str, str]:
    """What the header of a notebook offers where `repository: url:` is `url`."""
    given = yaml.safe_load((ROOT / "_config.yml").read_text())
    options = {
        "repository_url": url,
        "repository_branch": given["repository"]["branch"],
        "launch_buttons": given["launch_buttons"],
    }
    config = Settings(html_theme_options=options, html_context={})
    env = SimpleNamespace(doc2path=lambda page: f"{page}.ipynb", metadata={PAGE: {"kernelspec": 1}})
    app = SimpleNamespace(config=config, env=env, builder=None)
    off_without_repository(app, config)
    update_context_with_repository_info(app)
    context = config.html_context | {
        "header_buttons": [],
        "pagename": PAGE,
        "sourcename": f"{PAGE}.ipynb",
    }
    add_launch_buttons(app, PAGE, "", context, None)
    return launches(context["header_buttons"], PAGE, SOURCE)


def test_the_setting_is_unset_and_nothing_is_launched() -> None:
    assert launched(yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]) == {}


def test_a_repository_brings_binder_and_colab() -> None:
    assert launched("https://github.com/someone/stocha") == {
        "Binder": "https://mybinder.org/v2/gh/someone/stocha/main?urlpath=lab/tree/" + SOURCE,
        "Colab": "https://colab.research.google.com/github/someone/stocha/blob/colab/12_gates.ipynb",
    }


def test_colab_opens_one_provider_only() -> None:
    binder = "https://mybinder.org/v2/gl/someone%2Fstocha/main?urlpath=lab/tree/" + SOURCE
    assert launched("https://gitlab.com/someone/stocha") == {"Binder": binder}


def test_the_notebook_for_colab_brings_the_library_first(tmp_path) -> None:
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(executed, tmp_path / "page.ipynb")
    opened = for_colab(tmp_path / "page.ipynb", "https://github.com/someone/stocha")
    nbformat.validate(opened)
    setup, *cells = opened.cells
    assert "git clone --quiet --depth 1 https://github.com/someone/stocha stocha" in setup.source
    assert [cell.source for cell in cells] == ["1 + 1"]


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Citation.read(ROOT / "CITATION.cff").version == project["version"]


@pytest.mark.parametrize("url", ["", "https://github.com/someone/stocha"])
def test_bibtex_reads_the_entry_as_it_was_meant(tmp_path, url: str) -> None:
    (tmp_path / "CITATION.cff").write_text(
        "title: A study\nversion: 1.2\ndate-released: 2026-11-25\n"
        "authors: [{name: The stocha authors}]\n"
    )
    text = Citation.read(tmp_path / "CITATION.cff").bibtex(url)
    entry = parse_string(text, "bibtex").entries["stocha"]
    assert entry.type == "software"
    assert [str(person) for person in entry.persons["author"]] == ["{The stocha authors}"]
    fields = {"title": "A study", "year": "2026", "version": "1.2"} | ({"url": url} if url else {})
    assert dict(entry.fields) == fields


def test_authors_may_be_persons(tmp_path) -> None:
    (tmp_path / "CITATION.cff").write_text(
        "title: A study\nversion: 1.2\ndate-released: 2026-11-25\n"
        "authors: [{given-names: A, family-names: B}, {given-names: C, family-names: D}]\n"
    )
    said = Citation.read(tmp_path / "CITATION.cff")
    assert said.authors == "A B, C D"
    persons = parse_string(said.bibtex(), "bibtex").entries["stocha"].persons["author"]
    assert [person.last_names for person in persons] == [["B"], ["D"]]
