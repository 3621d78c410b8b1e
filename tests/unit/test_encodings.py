import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extraction.encodings import find_codec, to_utf8

RUSSIAN = "Привет, это обычная страница с текстом о погоде и новостях города"


@pytest.mark.parametrize(
    ("page", "charset", "text"),
    [
        ("ä".encode(), "", "ä"),
        (codecs.BOM_UTF8 + "ä".encode(), "latin-1", "ä"),
        (codecs.BOM_UTF16_LE + "ä".encode("utf-16-le"), "", "ä"),
        ("ä“".encode("cp1252"), "ISO-8859-1", "ä“"),
        ("頁".encode("big5"), "big5", "頁"),
        ("<meta charset=gb2312>镕".encode("gb18030"), "", "<meta charset=gb2312>镕"),
        (b"<META http-equiv=x content='text/html; charset=windows-1251'>\xcf", "", "П"),
        ('<?xml version="1.0" encoding="shift_jis"?>画'.encode("cp932"), "", "画"),
        (b"<meta charset=utf-8>\xcf", "windows-1251", "П"),
        (b"<meta charset=utf-16>" + "ä".encode(), "", "ä"),
        (b"<meta charset=nonsense>" + "ä".encode(), "no-such-charset", "ä"),
    ],
    ids=[
        "utf-8",
        "bom",
        "utf-16 bom",
        "latin-1",
        "big5",
        "gb2312",
        "meta",
        "xml",
        "header first",
        "utf-16",
        "nonsense",
    ],
)
def test_the_encoding_is_found_as_browsers_find_it(page, charset, text):
    assert to_utf8(page, charset).decode().endswith(text)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", RUSSIAN),
        ("euc_jp", "これは日本語のページです。"),
        ("gb18030", "这是一个中文网页"),
        ("cp949", "안녕하세요 한국어"),
    ],
)
def test_an_undeclared_encoding_is_detected(encoding, text):
    page = f"<p>{text}</p>" * 8
    assert to_utf8(page.encode(encoding)).decode() == page


def test_codecs_that_are_no_charsets_are_not_believed():
    assert {find_codec(label) for label in ("hex", "rot13", "idna", "utf-7", "unicode_escape", "zip", "")} == {None}


@given(st.binary(max_size=300), st.text(max_size=20))
def test_every_page_becomes_valid_utf_8(page, charset):
    to_utf8(page, charset).decode("utf-8")
