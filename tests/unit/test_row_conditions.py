"""Conditions on rows: what they mean, and what is told of one that is none."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.row_conditions import BadCondition, parse_condition

DAYS = [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1), None, None]
ROWS = pa.table(
    {
        "row": [0, 1, 2, 3],
        "a": pa.array([1, 2, None, 300], pa.int64()),
        "u": pa.array([0, 2**64 - 1, 5, None], pa.uint64()),
        "f": pa.array([0.3, 0.5, None, float("nan")], pa.float32()),
        "s": ["en", "de", None, "it's"],
        "b": [True, False, None, True],
        "l": [[1], [2], None, []],
        "d": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "t": pa.array(DAYS, pa.timestamp("us")),
        "odd name": pa.array([1, 2, 3, 4], pa.int8()),
        "n": pa.array([Decimal("1.5"), Decimal("2.5"), None, None]),
        "raw": pa.array([b"en", b"\xff", None, None]),
    }
)
KEPT = {
    "a >= 2": [1, 3],
    "2 <= a": [1, 3],
    "u = 18446744073709551615": [1],
    "u >= -1": [0, 1, 2],
    "u < -1": [],
    "u > 1e30": [],
    '"odd name" < 200': [0, 1, 2, 3],
    "`odd name` <= 2.5": [0, 1],
    "`odd name` > 2.5": [2, 3],
    "`odd name` <> 2.5": [0, 1, 2, 3],
    "a = 2.5 or a != 2.5": [0, 1, 3],
    "f = 0.3": [0],
    "f>=.3 and f<0.4": [0],
    "a < u": [1],
    "s in ('en', 'it''s')": [0, 3],
    "s not in ('en')": [1, 3],
    "NOT s = 'en'": [1, 3],
    "b": [0, 3],
    "not b": [1],
    "b = true": [0, 3],
    "l is null": [2],
    "l IS NOT NULL and a is not null": [0, 1, 3],
    "d = 'x'": [0, 2],
    "t >= '2020-06-01'": [1],
    "n > 2": [1],
    "raw = 'en'": [0],
    "a = 1 or a = 2 and s = 'fr'": [0],
    "(a = 1 or a = 2) and s = 'de'": [1],
    "not (a = 1 or s = 'de')": [3],
    "a is null or a > 100": [2, 3],
}


@pytest.mark.parametrize("text", KEPT)
def test_rows_are_kept_where_a_condition_is_true(text):
    assert ROWS.filter(parse_condition(text).bind(ROWS.schema))["row"].to_pylist() == KEPT[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column or a value, found the end"),
        ("A > 3", "no column 'A' among row, a, u, f, s, b, l, d, t, odd name, n, raw; did you mean 'a'?"),
        ('s = "en"', "no column 'en' among .*; texts stand in single quotes"),
        ("a > 'x'", r"column 'a' \(int64\) is a number, and cannot be compared with 'x', a text"),
        ("s >= 3", r"column 's' \(string\) is a text, and cannot be compared with 3, a number"),
        ("a in (1, 'x')", "cannot be compared with 'x'"),
        ("b > 1", "true or false, and cannot be compared"),
        ("l = 1", "of a type that has no comparison"),
        ("t > 'soon'", "cannot be compared with 'soon'"),
        ("a and b", "is a number, and no condition"),
        ("not a", "is a number, and no condition"),
        ("a", "is a number, and no condition"),
        ("a = null", "found 'null'; = null is never true, write is null"),
        ("a in ()", "expected a column or a value"),
        ("(a > 1", r"expected \), found the end"),
        ("a > 1 s = 'x'", "expected nothing, and, or or, found \"s = 'x'\""),
        ("a # 1", "cannot be read from '# 1' on"),
        ("a > 1; drop", "cannot be read from '; drop' on"),
        ("a > 0x1f", "cannot be read from"),
        ("a > 1e999", "too large a number"),
        ("__import__('os')", "expected nothing"),
        ("(" * 9000 + "b" + ")" * 900, "too many parentheses"),
        ("b or " * 3000 + "b", "a condition of 15,001 characters"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_is_no_condition_is_told(text, message):
    with pytest.raises(BadCondition, match=message):
        parse_condition(text).bind(ROWS.schema)


def test_columns_are_known_without_a_table():
    assert parse_condition("b and (a > 1 or `odd name` in (2) or a is null)").columns == ("b", "a", "odd name")


def test_long_lists_and_long_chains_are_no_trouble():
    numbers = ", ".join(map(str, range(1500)))
    assert ROWS.filter(parse_condition(f"a in ({numbers})").bind(ROWS.schema)).num_rows == 3
    assert ROWS.filter(parse_condition(" or ".join(["a = 1"] * 900)).bind(ROWS.schema)).num_rows == 1


@given(
    st.sampled_from([pa.int8(), pa.uint8(), pa.int64(), pa.uint64()]),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.one_of(st.integers(-300, 300), st.floats(-300, 300), st.integers(-(2**70), 2**70)),
)
def test_whole_numbers_are_compared_exactly_with_any_number(type_, sign, value):
    low, high = (
        (0, 2**type_.bit_width - 1)
        if "u" in str(type_)
        else (-(2 ** (type_.bit_width - 1)), 2 ** (type_.bit_width - 1) - 1)
    )
    numbers = [low, low + 1, 0, 1, 100, high - 1, high]
    rows = pa.table({"x": pa.array(numbers, type_)})
    same = {"=": lambda n: n == value, "!=": lambda n: n != value, "<": lambda n: n < value,
            "<=": lambda n: n <= value, ">": lambda n: n > value, ">=": lambda n: n >= value}[sign]  # fmt: skip
    found = rows.filter(parse_condition(f"x {sign} {value!r}").bind(rows.schema))["x"].to_pylist()
    assert found == [number for number in numbers if same(number)]
