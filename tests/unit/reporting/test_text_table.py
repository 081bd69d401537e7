"""Numbers as text, never in favour of anybody."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from diffurecsys.reporting.text_table import (
    NOTHING,
    interval,
    join,
    make_table,
    number,
    p_value,
    percent,
    score,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0419, "+4.1"), (-0.0419, "-4.1"), (0.00129, "+0.12"), (-0.00001, "-0.00"), (0.0, "0.00"), (3.0, "+300.0")],
)
def test_percent_is_cut_towards_zero(value, text):
    assert percent(value) == text


def test_intervals_are_rounded_outwards():
    assert interval(0.0209, 0.0621) == "[2.0, 6.3]"
    assert interval(-0.0209, -0.0121) == "[-2.1, -1.2]"
    assert interval(0.04567, 0.04571, scale=1, digits=4) == "[0.0456, 0.0458]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0011, "0.002"), (0.04999, "0.050"), (1.0, "1.000")],
)
def test_p_values_are_rounded_up(value, text):
    assert p_value(value) == text


def test_statistics_and_scores_are_cut():
    assert score(0.03999) == "0.0399"
    assert number(2.9999) == "2.999"
    assert (number(float("inf")), number(-float("inf"))) == ("∞", "-∞")


def test_missing_values_are_a_dash():
    frame = pd.DataFrame(
        {"a": ["x", "y", "z"], "b": pd.array([0.5, pd.NA, 0.25], dtype="Float64"), "c": [1.0, None, 2]}
    )
    table = make_table("t", "T", frame, {"a": ("A", str), "c": ("C", score), "b": ("B", score)})
    assert table.columns == ("A", "C", "B")
    assert [line.cells for line in table.lines] == [
        ("x", "1.0000", "0.5000"),
        ("y", NOTHING, NOTHING),
        ("z", "2.0000", "0.2500"),
    ]


def test_names_are_joined():
    assert (join(["a"]), join(["a", "b", "c"])) == ("a", "a, b and c")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (0.001, "0.001"), (64, "64"), (None, "none"), (True, "True"), ("add", "add")],
)
def test_values_of_parameters_survive_a_file(value, text):
    assert value_text(value) == text
    read = pd.read_csv(io.StringIO(pd.DataFrame({"value": [value_text(value)]}).to_csv()))["value"][0]
    assert value_text(read.item() if hasattr(read, "item") else read) == text
