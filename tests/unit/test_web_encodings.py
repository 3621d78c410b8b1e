"""The encodings of the web against the standard's tables.

The sums are those of what encoding_rs, the decoder of Firefox, reads in the same bytes.
"""

import hashlib

import pytest
import webencodings.labels
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.double_bytes import DOUBLE_BYTES, decode_double_bytes
from pipeline.web.encodings import decode, find_encoding, single_bytes
from pipeline.web.query_encoding import encode_query

PAIRS = [bytes([lead, trail]) for lead in range(0x80, 0x100) for trail in range(0x100)]
SUMS = {
    "gb18030": "9891e37a0af50675",
    "gbk": "9891e37a0af50675",
    "big5": "78175afd5f61d150",
    "euc-kr": "364898a33134dad3",
    "shift_jis": "3278ac4b0ef7bda2",
    "euc-jp": "522c57142e6ff7e6",
}
SINGLE = "b679529dec5d3901"
SINGLES = sorted(
    {*webencodings.labels.LABELS.values()} - {*DOUBLE_BYTES, "replacement", "utf-8", "utf-16le", "utf-16be"}
)


def sum_of(texts) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@pytest.mark.parametrize("encoding", SUMS)
def test_every_pair_of_bytes_is_read_as_in_the_indexes(encoding):
    assert sum_of(decode(pair + b">", encoding) for pair in PAIRS) == SUMS[encoding]


def test_every_byte_is_read_as_in_the_indexes():
    assert sum_of(single_bytes(encoding) for encoding in SINGLES) == SINGLE
    assert len(SINGLES) == 29


def test_three_and_four_bytes_are_read_as_in_the_indexes():
    triples = [bytes([0x8F, row, cell]) for row in range(0xA1, 0xFF) for cell in range(0xA1, 0xFF)]
    assert sum_of(decode(three, "euc-jp") for three in triples) == "816cdd19b564072a"
    fours = [
        bytes([a, b, c, d])
        for a in range(0x81, 0xFF, 5)
        for b in range(0x30, 0x3A)
        for c in (0x81, 0xFE)
        for d in range(0x30, 0x3A)
    ]
    assert sum_of(decode(four, "gb18030") for four in fours) == "02b8d5b036cb408e"


def test_the_228_labels_of_the_standard_mean_its_40_encodings():
    assert len(webencodings.labels.LABELS) == 228
    assert len(set(map(find_encoding, webencodings.labels.LABELS))) == 40
    assert {find_encoding(f"\t{label.upper()}\n") for label in webencodings.labels.LABELS} == {
        *webencodings.labels.LABELS.values()
    }


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("iso-8859-8-i", "iso-8859-8-i"),
        ("visual", "iso-8859-8"),
        ("windows-874", "windows-874"),
        ("koi", "koi8-r"),
        ("x-mac-ukrainian", "x-mac-cyrillic"),
        ("iso88592", "iso-8859-2"),
        ("ucs-2", "utf-16le"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("ascii", "windows-1252"),
        ("iso-8859-9", "windows-1254"),
        ("ks_c_5601-1987", "euc-kr"),
        ("hz-gb-2312", "replacement"),
        ("iso-2022-kr", "replacement"),
        ("\u212aoi8-r", None),
        *[(label, None) for label in ("hex", "rot13", "idna", "utf-7", "unicode_escape", "zip", "cesu-8", "", "utf_8")],
    ],
)
def test_labels_mean_what_they_mean_to_browsers(label, encoding):
    assert find_encoding(label) == encoding


@pytest.mark.parametrize(
    ("encoding", "data", "text"),
    [
        ("gb18030", b"\x80\xff\xa1<", "€\ufffd\ufffd<"),
        ("gb18030", b"\x81\x30\x81\x30\x81\x30", "\x80\ufffd"),
        ("gb18030", b"\x81\x30\x81<", "\ufffd0\ufffd<"),
        ("gb18030", b"\xe3\x32\x9a\x36", "\ufffd"),
        ("gbk", b"\xa8\xbc\xa6\xd9\x81\x35\xf4\x37", "\u1e3f\ufe10\ue7c7"),
        ("big5", b"\x87\x7a\xa2\x41\xa2\x42\xa1\xfe\xa1\x45\xa1<\x80", "㡵\u2215\ufe68\uff0f\u2027\ufffd<\ufffd"),
        ("big5", b"\x88\x62\xf9\xfe", "\u00ca\u0304\uffed"),
        ("euc-kr", b"\xb0\xa1\x81\x41\xb0<", "가갂\ufffd<"),
        ("shift_jis", b"\x81\x60\x87\x40\xa0\xb1\xfd\x81<\xf0\x40", "～①\ufffdｱ\ufffd\ufffd<\ue000"),
        ("euc-jp", b"\xa1\xc1\xad\xa1\x8e\xb1\x8f\xb0\xa1\xa1<\x8f\xa1<", "～①ｱ丂\ufffd<\ufffd<"),
        ("iso-2022-jp", b"\x1b$B-!\x1b(J\\~\x1b(I1\x1b(B\\", "①¥\u203eｱ\\"),
        ("iso-2022-jp", b"a\x1b$B\x1b(Ba\x1b$", "a\ufffda\ufffd$"),
        ("iso-2022-jp", b'\x1b$B$\n$"\xff', "\ufffdあ\ufffd"),
        ("windows-1252", b"\x81\x93", "\x81“"),
        ("windows-1255", b"\xca", "\u05ba"),
        ("koi8-u", b"\xae\xbe", "ўЎ"),
        ("x-user-defined", b"a\x80\xff", "a\uf780\uf7ff"),
        ("utf-16le", b"\x00\xd8a\x00b", "\ufffda\ufffd"),
        ("replacement", b"abc", "\ufffd"),
    ],
)
def test_bytes_are_read_as_browsers_read_them(encoding, data, text):
    assert decode(data, encoding) == text


@given(st.sampled_from(sorted(DOUBLE_BYTES)), st.lists(st.binary(max_size=3)))
def test_ascii_is_never_swallowed_but_for_second_bytes_and_escapes(encoding, parts):
    text = decode_double_bytes(b"<".join([*parts, b"", b"x"]), encoding)
    assert text.count("<") >= 1 or encoding == "iso-2022-jp"
    assert text.encode("utf-8", "replace")


@pytest.mark.parametrize("encoding", ["gbk", "euc-jp"])
def test_ever_so_many_malformed_sequences_are_read_all_the_same(encoding):
    text = decode(b"\xff<" * 300_000, encoding)
    assert text == "\ufffd<" * 300_000


@pytest.mark.parametrize(
    ("encoding", "escaped"),
    [
        ("utf-8", "%E7%8C%AB=%E2%82%AC%D0%B6%F0%9F%98%80"),
        ("utf-16le", "%E7%8C%AB=%E2%82%AC%D0%B6%F0%9F%98%80"),
        ("gbk", "%C3%A8=%80%A7%D8%26%23128512%3B"),
        ("gb18030", "%C3%A8=%A2%E3%A7%D8%949%FC6"),
        ("big5", "%FES=%A3%E1%C8\\%26%23128512%3B"),
        ("euc-jp", "%C7%AD=%26%238364%3B%A7%D8%26%23128512%3B"),
        ("shift_jis", "%94L=%26%238364%3B%84w%26%23128512%3B"),
        ("iso-2022-jp", "%1B$BG-%1B(B=%26%238364%3B%1B$B%27X%1B(B%26%23128512%3B"),
        ("euc-kr", "%D9%DE=%A2%E6%AC%D8%26%23128512%3B"),
        ("windows-1251", "%26%2329483%3B=%88%E6%26%23128512%3B"),
    ],
)
def test_queries_are_escaped_in_the_encoding_of_their_page(encoding, escaped):
    assert encode_query("猫=€ж😀", encoding) == escaped


@given(
    st.sampled_from(sorted({*DOUBLE_BYTES, *SINGLES})),
    st.text(alphabet=st.characters(min_codepoint=0xA0, max_codepoint=0xFFFF)),
)
def test_queries_of_any_text_are_ascii(encoding, text):
    assert encode_query(text, encoding).isascii()
