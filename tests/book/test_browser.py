"""The built book in Chromium, over HTTP: every page in both themes, and what a reader does."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from book_pages import ROOT, Page, notebook_pages, toc_pages

from stocha.activations.drawn import POSITIVE, stocha_expectation
from stocha.claims import sparse
from stocha.sparse import traffic

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 390, "height": 844}
DARK_PAGE = "rgb(18, 18, 18)"  # what a figure's white becomes in dark mode


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(book_html: Path) -> Iterator[str]:
    """The book's address on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=book_html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium: install it, or name it in $CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def tab(browser, site: str, theme: str = "light", viewport: dict[str, int] = WIDE):
    """A tab that fails the test if the page logs an error, misses a file or asks another server."""
    context = browser.new_context(
        viewport=viewport, color_scheme=theme, accept_downloads=True, base_url=site
    )
    page = context.new_page()
    problems: list[str] = []

    def failed(request) -> None:
        # aborted by the page itself: it was left meanwhile, or the request became a download
        if request.failure != "net::ERR_ABORTED":
            problems.append(f"failed: {request.failure} {request.url}")

    def logged(message) -> None:
        # some Chromium ask for an icon at the server's root that no page names
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            problems.append(f"console: {message.text} {message.location['url']}")

    page.on("console", logged)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("requestfailed", failed)
    page.on("response", lambda r: r.status >= 400 and problems.append(f"{r.status}: {r.url}"))
    page.on(
        "request",
        lambda r: (
            r.url.startswith((site, "data:", "blob:")) or problems.append(f"external: {r.url}")
        ),
    )
    try:
        yield page
        assert not problems
    finally:
        context.close()


def typeset(page) -> None:
    """Wait until MathJax, where a page has it, is done and every font it asked for has come."""
    page.evaluate(
        "async () => { await window.MathJax?.startup?.promise; await document.fonts.ready }"
    )


@cache
def axe() -> str:
    """The source of axe-core, which a package carries."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def violations(page) -> list[str]:
    """What axe-core finds: rule and element."""
    page.evaluate(axe())
    # preloading would ask for imported style sheets beside the page, where they do not lie
    found = page.evaluate("async () => (await axe.run({preload: false})).violations")
    return [
        f"{each['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [*toc_pages(), "search"])
def test_page(browser, site: str, book_html: Path, name: str, theme: str) -> None:
    source = Page(book_html / f"{name}.html")
    with tab(browser, site, theme) as page:
        page.goto(f"{name}.html")
        typeset(page)
        assert page.locator("html").get_attribute("data-theme") == theme

        math = page.locator(".math").count()
        assert math == source.math
        assert page.locator(".math:has(mjx-container)").count() == math
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0

        images = page.locator("figure img")
        images.evaluate_all("all => all.forEach(i => i.loading = 'eager')")
        assert (
            images.evaluate_all(
                "all => Promise.all(all.map(i => i.decode().then(() => i.naturalWidth > 0)))"
            )
            == [True] * images.count()
        )
        assert images.count() == sum(len(figure.alts) for figure in source.figures)

        if theme == "dark":
            background = "e => getComputedStyle(e).backgroundColor"
            assert page.locator("body").evaluate(background) == DARK_PAGE
            filters = images.evaluate_all("all => all.map(i => getComputedStyle(i).filter)")
            assert all("invert" in applied for applied in filters)

        assert not violations(page)

        page.set_viewport_size(NARROW)
        inner, outer = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert inner <= outer
        page.evaluate("() => new Promise((done) => setTimeout(done, 50))")  # the page heard of it
        boxes = page.locator("figure, .text_html, div.math, mjx-container[display]")
        mute = "all => all.filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length"
        assert boxes.evaluate_all(mute) == 0
        # letters of 10 pt in a picture of 200 dpi have 27.8 pixels: 11 of the page's at least
        shown = "all => all.map(i => i.getBoundingClientRect().width / i.naturalWidth)"
        assert all(scale > 0.39 for scale in images.evaluate_all(shown))


def test_the_book_has_equations_figures_and_data(book_html: Path) -> None:
    pages = [Page(book_html / f"{name}.html") for name in toc_pages()]
    assert sum(page.math for page in pages) > 0
    assert sum(len(page.figures) for page in pages) > 0


def test_the_first_page_is_less_than_a_megabyte_and_has_its_icons(browser, site: str) -> None:
    with tab(browser, site) as page:
        sizes: dict[str, int] = {}
        page.on("response", lambda r: sizes.update({r.url: int(r.headers["content-length"])}))
        page.goto("book/index.html", wait_until="networkidle")
        assert sum(sizes.values()) < 1_000_000, sizes
        assert any("fa-solid" in url for url in sizes)
        drawn = "e => getComputedStyle(e, '::before').content"
        icons = page.locator("i.fas, i.fa-solid")
        assert icons.count() > 0
        assert "none" not in icons.evaluate_all(f"all => all.map({drawn})")


def test_the_root_opens_the_front_page(browser, site: str) -> None:
    with tab(browser, site) as page:
        page.goto("index.html")
        page.wait_for_url("**/book/index.html")
        assert "reproduced" in page.locator("h1").first.inner_text()


def test_the_theme_can_be_switched(browser, site: str) -> None:
    with tab(browser, site) as page:
        page.goto("book/index.html")
        seen = set()
        for _ in range(3):
            page.locator(".article-header-buttons .theme-switch-button").click()
            seen.add(page.locator("html").get_attribute("data-theme"))
        assert seen == {"light", "dark"}


def test_search_finds_a_term_and_opens_its_page(browser, site: str) -> None:
    with tab(browser, site) as page:
        page.goto("book/method.html")
        page.locator(".search-button-field:visible, .search-button:visible").first.click()
        field = page.locator("input[type=search]:visible").first
        field.fill("bottleneck")
        field.press("Enter")
        page.wait_for_url("**/search.html?q=bottleneck*")
        results = page.locator("#search-results li a")
        results.filter(has_text="Method").first.click()  # waits: results appear one by one
        page.wait_for_url("**/method.html**")
        assert "bottleneck" in page.locator("article").inner_text()


@pytest.mark.parametrize("name", notebook_pages()[:1])
def test_the_menu_saves_the_notebook_and_its_text_source(
    browser, site: str, tmp_path: Path, name: str
) -> None:
    with tab(browser, site) as page:
        page.goto(f"{name}.html")
        for suffix in (".ipynb", ".py"):
            page.locator(".dropdown-download-buttons > button").click()
            with page.expect_download() as saved:
                page.locator(f".dropdown-menu a[download$='{suffix}']").click()
            target = tmp_path / saved.value.suggested_filename
            saved.value.save_as(target)
            assert target.name == Path(name).name + suffix
            page.keyboard.press("Escape")
        notebook = nbformat.read(tmp_path / f"{Path(name).name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        assert any(cell.get("outputs") for cell in notebook.cells)
        source = f"{Path(name).name}.py"
        assert (tmp_path / source).read_text() == (ROOT / "notebooks" / source).read_text()


def test_a_figures_data_can_be_saved(browser, site: str, book_html: Path, tmp_path: Path) -> None:
    name = next(n for n in toc_pages() if Page(book_html / f"{n}.html").figures)
    with tab(browser, site) as page:
        page.goto(f"{name}.html")
        with page.expect_download() as saved:
            page.locator("a.download[href$='.csv']").first.click()
        saved.value.save_as(tmp_path / "data.csv")
    assert len(pd.read_csv(tmp_path / "data.csv")) > 0


def test_a_numbered_reference_leads_to_what_it_names(browser, site: str, book_html: Path) -> None:
    name = next(n for n in toc_pages() if "std-numref" in Page(book_html / f"{n}.html").html)
    with tab(browser, site) as page:
        page.goto(f"{name}.html")
        typeset(page)
        link = page.locator("a.reference.internal:has(.std-numref)").first
        number = link.inner_text()
        link.click()
        page.wait_for_url("**#*")
        target = page.locator(f"[id='{page.url.partition('#')[2]}']")
        assert number in target.inner_text()
        in_view = (
            "e => { const y = e.getBoundingClientRect().top; return 0 <= y && y < innerHeight }"
        )
        page.wait_for_function(in_view, arg=target.element_handle())


def test_the_live_models_compute_what_the_library_does(browser, site: str) -> None:
    x = torch.linspace(-6, 6, 41, dtype=torch.float64)
    shares = [0.0, 0.25, 0.5, 0.9, 0.95]
    with tab(browser, site) as page:
        page.goto("book/explore.html")
        ask = "([x, p, reading]) => x.map((x) => explore.stocha(x, p, reading))"
        for reading in POSITIVE:
            for p in (0.0, 0.3, 1.0):
                found = page.evaluate(ask, [x.tolist(), p, reading])
                assert found == pytest.approx(stocha_expectation(x, p, reading).tolist(), abs=1e-12)
        ask = """([method, shares]) => shares.map((s) => explore.limit(method, s, 4, JSON.parse(
            document.querySelector("[data-kind=traffic] script").textContent)))"""
        for method in ("sparse", "screened"):
            found = page.evaluate(ask, [method, shares])
            right = [traffic.limit(method, sparse.WIDTH, sparse.NEURONS, share) for share in shares]
            assert found == pytest.approx(right, rel=1e-6)


def test_the_live_models_are_moved_by_keyboard(browser, site: str) -> None:
    with tab(browser, site) as page:
        page.goto("book/explore.html")
        box = page.locator("[data-kind=activation]")
        box.locator("[name=drawn]").focus()
        page.keyboard.press("Space")
        box.locator("[name=p]").focus()
        for _ in range(6):
            page.keyboard.press("ArrowRight")
        assert box.locator("output").inner_text() == "0.80"
        assert "10 % become exactly zero" in box.locator(".said").inner_text()
        before = box.locator(".live").inner_html()
        box.locator("[name=again]").focus()
        page.keyboard.press("Enter")
        assert box.locator(".live").inner_html() != before
        label = box.locator("svg").get_attribute("aria-label")
        assert label == box.locator(".said").inner_text()


def test_without_scripts_the_models_are_figures(browser, site: str) -> None:
    context = browser.new_context(base_url=site, java_script_enabled=False)
    page = context.new_page()
    page.goto("book/explore.html")
    assert page.locator(".explore svg .live path").count() >= 2
    assert page.locator(".explore form:visible").count() == 0
    context.close()
