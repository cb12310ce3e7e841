"""A finished page has nothing in it that HTML forbids."""

from lean_pages import mended


def test_shown_code_has_the_colours_of_the_page() -> None:
    page = "<style>pre { line-height: 125%; }\n.il { color: #666 }</style><pre>1</pre>"
    assert mended(page + "<style>#T_1 { color: red }</style>") == (
        "<pre>1</pre><style>#T_1 { color: red }</style>"
    )


def test_a_summary_holds_text_and_a_heading_is_not_empty() -> None:
    page = '<summary a="b"><p class="c">Show</p>\n<p>Hide</p></summary><p>x</p>'
    page += '<table><th class="head"><p></p></th><th><p>y</p></th></table>'
    assert mended(page) == (
        '<summary a="b"><span class="c">Show</span>\n<span>Hide</span></summary><p>x</p>'
        '<table><td class="head"></td><th><p>y</p></th></table>'
    )
