import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.drops import DropReason
from pipeline.extraction.filters import FilterOptions, clean_texts, refuse_pairs

URL = "http://a.example/1.jpg"


def refusal(text: str = "a cat", url: str = URL, **options):
    [kept], drops = refuse_pairs(pa.table({"image_url": [url], "text": [text]}), FilterOptions(**options))
    assert len(drops) == (not kept)
    return next(iter(drops), None)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({}, None),
        ({"text": "x"}, DropReason.TEXT_TOO_SHORT),
        ({"text": "猫咪"}, None),
        ({"text": "x" * 1001}, DropReason.TEXT_TOO_LONG),
        ({"text": "cat", "min_words": 2}, DropReason.TOO_FEW_WORDS),
        ({"text": "DSC_00012345"}, None),
        ({"text": "1234567890 a"}, DropReason.TOO_FEW_LETTERS),
        ({"text": "हिन्दी"}, None),
        ({"text": "12345", "min_letters": 0.0}, None),
        ({"url": "http://a.example/" + "x" * 2048}, DropReason.URL_TOO_LONG),
        ({"url": "http://a.example/logo.SVG?x=1"}, DropReason.REFUSED_SUFFIX),
        ({"url": "http://a.example/logo.svg.png"}, None),
        ({"url": "http://a.example/x?y=.svg"}, None),
        ({"url": "http://a.example/logo.svg", "refuse_suffix": ()}, None),
        ({"url": "http://img.bad.example:80/1", "block_domain": ("Bad.example",)}, DropReason.BLOCKED_DOMAIN),
        ({"url": "http://notbad.example/1", "block_domain": ("bad.example",)}, None),
        ({"text": "SHUTTERSTOCK id", "block_text": ("x", "shutterstock")}, DropReason.BLOCKED_TEXT),
    ],
)
def test_each_filter_refuses_what_it_names(keywords, reason):
    assert refusal(**keywords) is reason


def test_a_row_counts_for_the_first_filter_that_refuses_it():
    table = pa.table({"image_url": [URL, URL + ".svg", URL], "text": ["1", "2", "a cat"]})
    kept, drops = refuse_pairs(table, FilterOptions())
    assert kept.tolist() == [False, False, True]
    assert drops == {DropReason.TEXT_TOO_SHORT: 2}


def test_filters_take_a_table_without_rows():
    table = pa.table({"image_url": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    assert len(refuse_pairs(table, FilterOptions(min_words=2, block_domain=("a",), block_text=("b",))).kept) == 0


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a\u00a0\n\tb ", "a b"),
        ("a\u2028b\x85c\u3000d", "a b c d"),
        ("\ufeffa\x00b\x7f\u200bc", "abc"),
        ("a\u200db", "a\u200db"),
        ("\x07", ""),
    ],
)
def test_texts_are_cleaned(text, clean):
    assert clean_texts(pa.array([text])).to_pylist() == [clean]


@given(st.lists(st.text(max_size=20)))
def test_clean_texts_stay_as_they_are(texts):
    once = clean_texts(pa.array(texts, pa.string()))
    assert clean_texts(once) == once
    assert all(text == " ".join(text.split()) for text in once.to_pylist())
