import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.contacts import scrub_contacts
from pipeline.extraction.filters import FilterOptions, _has_few_letters, clean_texts, filter_options, refuse_pairs
from pipeline.extraction.languages import LANGUAGES, UNDETERMINED, identify_languages

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
        ({"text": "1234567890 a"}, DropReason.TOO_FEW_LETTERS),
        ({"text": "हिन्दी"}, None),
        ({"text": "12345", "min_letters": 0.0}, None),
        ({"url": "http://a.example/" + "x" * 2048}, DropReason.URL_TOO_LONG),
        ({"url": "http://a.example/" + "x" * 2031}, None),
        ({"url": "http://a.example/" + "x" * 2032}, DropReason.URL_TOO_LONG),
        ({"url": "http://a.example/logo.SVG?x=1"}, DropReason.REFUSED_SUFFIX),
        ({"url": "http://a.example/logo.svg.png"}, None),
        ({"url": "http://a.example/x?y=.svg"}, None),
        ({"url": "http://a.example/logo.svg", "refuse_suffix": ()}, None),
        ({"url": "http://img.bad.example:80/1", "block_domain": ("Bad.example",)}, DropReason.BLOCKED_DOMAIN),
        ({"url": "http://notbad.example/1", "block_domain": ("bad.example",)}, None),
        ({"text": "SHUTTERSTOCK id", "block_text": ("x", "shutterstock")}, DropReason.BLOCKED_TEXT),
        ({"text": "a (c) b", "block_text": ("(C)", "[")}, DropReason.BLOCKED_TEXT),
        ({"text": "a.b", "block_text": ("a+b", "axb", "ä\\")}, None),
        ({"text": "x399", "block_text": tuple(f"X{i}" for i in range(1000))}, DropReason.BLOCKED_TEXT),
        ({"url": "http://a.example/Ads/1", "block_url": ("/ads/",)}, DropReason.BLOCKED_URL),
        ({"text": "un chat noir dans la rue", "language": ("en", "de")}, DropReason.OTHER_LANGUAGE),
        ({"text": "a black cat in the street", "language": ("en", "de")}, None),
    ],
)
def test_each_filter_refuses_what_it_names(keywords, reason):
    assert refusal(**keywords) is reason


NAMES = """
IMG_1234.jpg; dsc-0001; DSC_0123 copy; img 20200101 WA0003; _MG_1234; P1012345.JPG; image001; photo-1234_640x480.png
cat.jpg; the-cat-on-the-mat_2-300x200.PNG; images/2020/a.webp?x=1; C:\\Users\\me\\cat.bmp; File:Cat.jpg
Name: DSC_0294.jpg; IMG_1234a-b_1
http://a.example; https://a.example/a/cat; HTTPS://a.example/the cat.jpg; //cdn.a.example/x; www.a.example
data:image/gif; 3f2504e0-4f89-11d3-9a0c-0305e82c3301; 3f2504e04f8911d39a0c0305e82c3301_z.jpg
d41d8cd98f00b204e9800998ecf8427e
Screenshot 2021-03-04 at 10.22.33; WhatsApp Image 2020-01-01 at 12.00.00 (1).jpeg; "cat.jpg"; [http://a.example/x]
a.jpg, b.jpg; a.jpg http://a.example/b
"""


@pytest.mark.parametrize("text", [name for line in NAMES.split("\n") for name in line.split("; ") if name])
def test_names_of_files_and_addresses_are_no_texts(text):
    assert refusal(text) is DropReason.FILE_NAME
    assert refusal(text, file_names=True) in (None, DropReason.TOO_FEW_LETTERS)


TEXTS = """
A cat; IMG; photo; Photo 51; Image 3; A cat.jpg; The cat at www.a.example; Cats: http://a.example/ and dogs; Node.js
Booking.com; Canon MG6250; DCP-7055; Boeing 747; DSC 1 race; imagine-dragons-2012; Nike-Air-Max-90; Hong_Kong_at_night1
Screenshot 2021-03-04 of the page; face; deadbeef; 猫の写真.jpg; A.Gift; e.g.; //; http; Mr. P1
IMG_1234 the cat; DSC0001 is it; IMG_1234-thecat
"""


@pytest.mark.parametrize("text", [name for line in TEXTS.split("\n") for name in line.split("; ") if name])
def test_texts_are_not_taken_for_names_of_files(text):
    assert refusal(text, min_letters=0.0) is None


def test_block_lists_are_read_from_files(tmp_path):
    (tmp_path / "domains").write_text("# ours\nbad.example\n")
    (tmp_path / "urls").write_text("/banner/\r\n\r\n")
    (tmp_path / "texts").write_text("\ufeffclick here\n")
    paths = {f"block_{name}": (str(tmp_path / name),) for name in ("domains", "urls", "texts")}
    options = filter_options(FilterOptions(**paths, block_url=("/ads/",)))
    assert (options.block_domain, options.block_url, options.block_text) == (
        ("bad.example",),
        ("/ads/", "/banner/"),
        ("click here",),
    )


@given(st.lists(st.text(max_size=8) | st.sampled_from(["12 3a", "猫", "é́", "हिन्दी", "_", "ab!"])), st.floats(0.01, 1))
def test_the_share_of_letters_is_that_of_letters_and_marks(texts, share):
    column = pa.chunked_array([pa.array(texts[:1], pa.string()), pa.array(texts[1:], pa.string())])
    letters = [sum(unicodedata.category(c)[0] in "LM" for c in text) for text in texts]
    expected = [number < share * max(len(text), 1) for number, text in zip(letters, texts, strict=True)]
    assert _has_few_letters(column, share).tolist() == expected


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("write to jane.doe+x@mail.example.co.uk now", "write to now"),
        ("mailto:a@b.example", ""),
        ("ring +1 (555) 010-9999 today", "ring today"),
        ("call 030/12345678", "call"),
        ("call 555-010-9999", "call"),
        ("from 1999-2020", "from 1999-2020"),
        ("2020-01-31 12:30", "2020-01-31 12:30"),
        ("1 000 000 visitors", "1 000 000 visitors"),
        ("ISBN 978-3-16-148410-0", "ISBN 978-3-16-148410-0"),
        ("DSC_0012345678", "DSC_0012345678"),
        ("size 10 @ home", "size 10 @ home"),
        ("seen 3 times @shop.example", "seen 3 times @shop.example"),
        ("joe (at) shop.example", ""),
    ],
)
def test_contacts_are_taken_out_and_other_numbers_stay(text, scrubbed):
    assert scrub_contacts(text) == scrubbed


@given(st.text("ab@.+ -()0123456789", max_size=60))
def test_a_scrubbed_text_stays_as_it_is_or_gets_shorter(text):
    assert len(scrub_contacts(text)) <= len(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n + "@",
        lambda n: "1 " * n,
        lambda n: "a@" * n,
        lambda n: "+" * n,
        lambda n: "a@" + "b." * n,
    ],
    ids=["letters", "digits", "addresses", "signs", "dots"],
)
def test_scrubbing_takes_linear_time(growth, make):
    assert growth(scrub_contacts, make, 100_000) < 24


@given(st.lists(st.text(max_size=40), max_size=20))
def test_every_text_has_a_language_or_none(texts):
    assert all(found in LANGUAGES | {UNDETERMINED} for found in identify_languages(texts))


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
    assert clean_texts([text]) == [clean]


@given(st.lists(st.text(max_size=20)))
def test_clean_texts_stay_as_they_are(texts):
    once = clean_texts(texts)
    assert clean_texts(once) == once
    assert all(text == " ".join(text.split()) for text in once)
