"""Which cells of an HTML table the book aligns to the right."""

import re

import pandas as pd
import pytest
from dataframes import is_number, mark_numbers, name_index, write_minus
from hypothesis import given
from hypothesis import strategies as st


def marked(html: str) -> list[str]:
    """The text of the cells with class `num`."""
    return re.findall(r'<t[dh] class="num">(.*?)</t[dh]>', html)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_as_python_prints_it_is_a_number(value: float) -> None:
    assert is_number(repr(value))
    assert is_number(f"{value:,.3f}")
    assert is_number(f"{value:.3g} ± {abs(value):.3g}")


@pytest.mark.parametrize("text", ["", "relu", "StochA(0.5)", "-", "1.2.3", "0.2 to 0.3", "3 runs"])
def test_words_are_not_numbers(text: str) -> None:
    assert not is_number(text)


def test_numeric_columns_are_marked_with_their_headings_and_gaps() -> None:
    frame = pd.DataFrame(
        {"activation": ["relu", "silu"], "loss": [0.25, float("nan")], "share": ["12 %", "3 %"]}
    )
    html = mark_numbers(frame.to_html(index=False))
    assert marked(html) == ["loss", "share", "0.25", "12 %", "NaN", "3 %"]


def test_a_column_with_one_word_in_it_is_text() -> None:
    assert marked(mark_numbers(pd.DataFrame({"a": ["1", "two"]}).to_html(index=False))) == []


def test_nothing_but_the_class_is_added() -> None:
    html = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"]}).to_html()
    assert mark_numbers(html).replace(' class="num"', "") == html


def test_merged_index_cells_do_not_shift_the_columns() -> None:
    index = pd.MultiIndex.from_product([["relu", "silu"], ["a", "b"]])
    html = pd.DataFrame({"loss": [1, 2, 3, 4], "name": list("wxyz")}, index=index).to_html()
    assert "rowspan" in html
    assert marked(mark_numbers(html)) == ["loss", "1", "2", "3", "4"]


def test_a_heading_over_several_columns_is_left_alone() -> None:
    columns = pd.MultiIndex.from_product([["loss"], ["mean", "std"]])
    html = pd.DataFrame([[1.5, 0.5]], columns=columns, index=["relu"]).to_html()
    assert "colspan" in html
    assert marked(mark_numbers(html)) == ["mean", "std", "1.5", "0.5"]


def test_a_minus_is_a_minus_and_a_word_keeps_its_hyphen() -> None:
    frame = pd.DataFrame({"a-1": [-1.5, -2e-9], "way": ["two-step 3-fold", "+0.1 [-0.2, 0.4]"]})
    html = write_minus(mark_numbers(frame.to_html(index=False)))
    assert marked(html) == ["a-1", "−1.500000e+00", "−2.000000e−09"]
    assert "two-step 3-fold" in html
    assert "+0.1 [−0.2, 0.4]" in html


def headings(html: str) -> list[str]:
    return re.findall(r"<th[^>]*>([^<]*)</th>", html.partition("</thead>")[0])


def test_the_name_of_an_index_is_the_heading_of_its_column() -> None:
    frame = pd.DataFrame({"loss": [1.5], "seeds": [3]}, index=pd.Index(["relu"], name="arm"))
    assert headings(name_index(frame.to_html())) == ["arm", "loss", "seeds"]
    assert headings(name_index(frame.style.to_html())) == ["arm", "loss", "seeds"]
    two = frame.set_index("seeds", append=True)
    assert headings(name_index(two.to_html())) == ["arm", "seeds", "loss"]


def test_no_heading_is_empty_and_no_column_is_lost() -> None:
    columns = pd.MultiIndex.from_product([["loss"], ["all", "living"]], names=[None, "networks"])
    index = pd.Index(["relu"], name="activation")
    deep = name_index(pd.DataFrame([[1.5, 0.5]], columns=columns, index=index).to_html())
    assert headings(deep) == ["loss", "networks", "all", "living", "activation"]
    assert "halign" not in deep
    assert headings(name_index(pd.DataFrame({"loss": [1.5]}).style.to_html())) == ["loss"]
    plain = name_index(pd.DataFrame({"loss": [1.5]}, index=[0])._repr_html_())
    assert headings(plain) == ["loss"]
    assert "<td></td>" in plain
    assert "<style" not in plain
    assert "border" not in plain
