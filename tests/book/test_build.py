"""The built book as files: complete, connected, free of errors, and whole without a network."""

import json
import re
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from book_pages import ROOT, Page, notebook_pages, toc_pages
from publication import Citation

from stocha.claims import front
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Tables, as_data, assess
from stocha.claims.page import numbers

pytestmark = pytest.mark.book

ELSEWHERE = re.compile(r"^(?:https?:)?//", re.IGNORECASE)
CSS_LOADS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")
OBJECT = re.compile(r"&lt;[\w.]+ (?:object|at 0x)[^&]*&gt;")
UNRESOLVED = re.compile(r"\{(?:glue|numref|ref|eq|cite|doc|fas)(?::\w+)?\}|\?\?\?|#fig-")


@cache
def parsed(path: Path) -> Page:
    return Page(path)


def built_pages(html: Path) -> list[Path]:
    return sorted(path for path in html.rglob("*.html") if "_static" not in path.parts)


def executed(html: Path, page: str) -> nbformat.NotebookNode:
    return nbformat.read(html / "_sources" / f"{page}.ipynb", as_version=4)


def test_the_root_leads_to_the_front_page(book_html: Path) -> None:
    assert "book/index.html" in (book_html / "index.html").read_text()


@pytest.mark.parametrize("page", toc_pages())
def test_every_page_of_the_contents_is_built(book_html: Path, page: str) -> None:
    assert (book_html / f"{page}.html").is_file()


@pytest.mark.parametrize("page", notebook_pages())
def test_every_cell_was_executed_and_none_failed(book_html: Path, page: str) -> None:
    for cell in executed(book_html, page).cells:
        if cell.cell_type == "code":
            assert cell.execution_count is not None, cell.source
            failed = [o.evalue for o in cell.outputs if o.output_type == "error"]
            assert not failed, cell.source


@pytest.mark.parametrize("page", notebook_pages())
def test_a_notebook_page_names_its_run_and_scale(book_html: Path, page: str) -> None:
    run = executed(book_html, page).metadata["stocha"]
    html = parsed(book_html / f"{page}.html").html
    footer = html.partition('class="run-footer"')[2]
    assert run["run_id"] in footer
    assert f"scale {run['scale']}" in footer
    assert ("scale-badge--reduced" in footer) == run["reduced"]


@pytest.mark.parametrize("page", notebook_pages())
def test_a_notebook_page_offers_its_text_source_and_its_executed_form(
    book_html: Path, page: str
) -> None:
    source = f"notebooks/{Path(page).name}.py"
    links = parsed(book_html / f"{page}.html").links
    assert any(link.endswith(f"_sources/{source}") for link in links)
    assert any(link.endswith(f"_sources/{page}.ipynb") for link in links)
    assert (book_html / "_sources" / source).read_text() == (ROOT / source).read_text()


def test_every_internal_link_and_anchor_resolves(book_html: Path) -> None:
    broken = []
    for path in built_pages(book_html):
        for link in parsed(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in {"", "#"}:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.name}: {link}")
                continue
            anchor = unquote(parts.fragment)
            if anchor and target.suffix == ".html" and anchor not in parsed(target).ids:
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_every_asset_is_local_and_there(book_html: Path) -> None:
    wrong = []
    for path in built_pages(book_html):
        for asset in parsed(path).loads:
            if asset.startswith("data:"):
                continue
            local = path.parent / unquote(urlsplit(asset).path)
            if ELSEWHERE.match(asset) or not local.is_file():
                wrong.append(f"{path.name}: {asset}")
    assert not wrong


def test_no_style_sheet_loads_from_elsewhere(book_html: Path) -> None:
    wrong = [
        f"{sheet.name}: {load}"
        for sheet in book_html.rglob("*.css")
        for load in CSS_LOADS.findall(sheet.read_text(encoding="utf-8"))
        if ELSEWHERE.match(load)
    ]
    assert not wrong


def test_no_role_or_reference_is_left_unresolved(book_html: Path) -> None:
    for path in built_pages(book_html):
        page = parsed(path)
        assert not page.problems, path.name
        assert not UNRESOLVED.findall(page.prose), path.name


def test_no_output_is_the_name_of_an_object(book_html: Path) -> None:
    for path in built_pages(book_html):
        assert not OBJECT.findall(parsed(path).html), path.name


def test_every_figure_has_a_numbered_caption_and_an_alternative_text(book_html: Path) -> None:
    figures = [(path.name, f) for path in built_pages(book_html) for f in parsed(path).figures]
    assert figures
    for name, figure in figures:
        assert figure.alts, name
        assert all(alt.strip() for alt in figure.alts), (name, figure.caption)
        assert re.match(r"\s*Fig\. \d+(\.\d+)* \S", figure.caption), (name, figure.caption)


def test_every_page_with_figures_gives_their_data(book_html: Path) -> None:
    for name in toc_pages():
        path = book_html / f"{name}.html"
        tables = [link for link in parsed(path).links if link.endswith(".csv")]
        assert bool(parsed(path).figures) <= bool(tables), name
        # a chapter on recorded runs says so where there are none yet, and its tables are empty
        unrecorded = re.search(
            r"\b0 of \d+ runs are recorded", " ".join(parsed(path).prose.split())
        )
        for table in tables:
            assert unrecorded or len(pd.read_csv(path.parent / table)) > 0, (name, table)


def test_the_front_page_says_what_the_tables_say(book_html: Path) -> None:
    tables = Tables()
    prose = " ".join(parsed(book_html / "book/index.html").prose.split()).replace("’", "'")
    assert front.sentence(tables) in prose
    for each in front.findings(tables):
        assert f"{each.text} {numbers(each.part)} · {each.claim.id}, " in prose


def test_the_claims_page_draws_every_estimate_and_lists_every_claim(book_html: Path) -> None:
    page = parsed(book_html / "book/executed/01_claims.html")
    assert {claim.id.lower() for claim in CLAIMS} <= page.ids
    parts = [part for claim in CLAIMS for part in assess(claim, Tables()).parts]
    assert page.html.count('<svg role="img"') == len(parts) > 0


def test_the_site_has_the_claims_as_data(book_html: Path) -> None:
    data = json.loads((book_html / "claims.json").read_text())
    assert data == as_data(CLAIMS, Tables())
    assert (book_html / data["$schema"]).is_file()
    for claim in data["claims"]:
        path, _, anchor = claim["entry"].partition("#")
        assert anchor in parsed(book_html / path).ids
        assert claim["page"] is None or (book_html / claim["page"]).is_file()


def test_every_page_says_who_made_it_and_how_to_cite_it(book_html: Path) -> None:
    said = Citation.read(ROOT / "CITATION.cff")
    for name in toc_pages():
        footer = parsed(book_html / f"{name}.html").html.partition('"bd-footer-content"')[2]
        assert f"{said.authors} · version {said.version} · {said.date}" in footer
        assert unescape(footer).count(said.bibtex()) == 1
    assert (book_html / "CITATION.cff").read_bytes() == (ROOT / "CITATION.cff").read_bytes()


INVALID = {
    "an empty heading": r"<th\b[^>]*>\s*(?:<p>\s*</p>)?\s*</th>",
    "a paragraph in a summary": r"<summary\b[^>]*>\s*<p\b",
    "pandas' own style": r"<style scoped|<table border",
}


@pytest.mark.parametrize("what", INVALID)
def test_no_page_has_what_html_forbids(book_html: Path, what: str) -> None:
    for path in built_pages(book_html):
        assert not re.findall(INVALID[what], parsed(path).html), path.name


def test_every_page_is_parsed_without_an_error(book_html: Path) -> None:
    import html5lib  # of the checks' packages only

    redirect = book_html / "index.html"  # one line that Jupyter Book writes, without a doctype
    wrong = []
    for path in set(built_pages(book_html)) - {redirect}:
        parser = html5lib.HTMLParser()
        parser.parse(parsed(path).html)
        wrong += [f"{path.name}: {where} {what}" for where, what, _ in parser.errors]
    assert not wrong


def test_only_pages_with_equations_load_mathjax(book_html: Path) -> None:
    pages = {name: parsed(book_html / f"{name}.html") for name in toc_pages()}
    loading = {name for name, page in pages.items() if "mathjax/" in " ".join(page.loads)}
    assert loading == {name for name, page in pages.items() if page.math}


def test_the_search_index_covers_every_page(book_html: Path) -> None:
    text = (book_html / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert set(toc_pages()) <= set(index["docnames"])


def test_no_page_prints_a_directive(book_html: Path) -> None:
    for path in built_pages(book_html):
        assert "```{" not in path.read_text(encoding="utf-8"), path.name


def test_no_page_writes_a_minus_as_a_hyphen(book_html: Path) -> None:
    for path in built_pages(book_html):
        prose = re.sub(r"\\\(.*?\\\)|\\\[.*?\\\]", "", parsed(path).prose, flags=re.DOTALL)
        found = re.findall(r".{0,30}(?<![\w−–-])-\d.{0,10}", prose)
        assert not found, path.name


@pytest.mark.parametrize("page", notebook_pages())
def test_parameters_and_solutions_are_folded(book_html: Path, page: str) -> None:
    html = parsed(book_html / f"{page}.html").html
    for tag in ("tag_parameters", "tag_scales", "tag_solution"):
        for cell in re.findall(rf'<div class="[^"]*\b{tag}\b[^"]*">', html):
            assert "tag_hide-" in cell or "tag_remove-" in cell
