import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.extraction.encodings import DecodedPage, decode_page, detect_encoding
from pipeline.extraction.pages import parse_page

RUSSIAN = "Привет, это обычная страница с текстом о погоде и новостях города"
DETECTED = {  # titles of pages, as short as they are
    "windows-1251": "Новости города и погода на неделю",
    "koi8-r": "Расписание электричек на сегодня",
    "ibm866": "Каталог товаров для дома и сада",
    "iso-8859-5": "Рецепты пирогов с капустой",
    "windows-1252": "Hôtel à Besançon près de la gare",
    "windows-1250": "Nejlepší příběhy pro děti i dospělé",
    "windows-1253": "Νέα και καιρός σε όλη την Ελλάδα",
    "windows-1254": "Türkiye'nin en güzel şehirleri ve köyleri",
    "windows-1255": "חדשות היום ומזג האוויר בישראל",
    "windows-1256": "أخبار اليوم والطقس في مصر",
    "windows-1257": "Geriausi reportažai apie žmones ir šalį",
    "iso-8859-2": "Pogoda i wiadomości z całej Polski są źródłem",
    "iso-8859-7": "Συνταγές για νόστιμα φαγητά",
    "iso-8859-8": "מתכונים לעוגות ועוגיות",
    "windows-874": "ข่าววันนี้และพยากรณ์อากาศ",
    "euc-jp": "東京の天気とニュースのページ",
    "shift_jis": "京都の旅行とホテルの案内です",
    "iso-2022-jp": "大阪の地図と観光情報",
    "gbk": "北京旅游攻略与酒店预订",
    "big5": "台北天氣與新聞報導",
    "euc-kr": "서울 여행과 맛집 소개",
}
PYTHON = {"windows-874": "cp874", "gbk": "gbk", "ibm866": "cp866"}


@pytest.mark.parametrize(
    ("page", "charset", "text", "encoding"),
    [
        ("ä".encode(), "", "ä", "utf-8"),
        (codecs.BOM_UTF8 + "ä".encode(), "latin-1", "ä", "utf-8"),
        (codecs.BOM_UTF16_LE + "ä".encode("utf-16-le"), "", "ä", "utf-16le"),
        (codecs.BOM_UTF16_BE + "ä".encode("utf-16-be"), "utf-8", "ä", "utf-16be"),
        ("ä".encode("utf-16-le"), "utf-16", "ä", "utf-16le"),
        ("<html>ä".encode("utf-16-be"), "", "<html>ä", "utf-16be"),
        ("ä“\x81".encode("latin-1", "ignore") + b"\x93", "ISO-8859-1", "ä\x81“", "windows-1252"),
        ("頁".encode("big5"), "big5", "頁", "big5"),
        ("<meta charset=gb2312>镕".encode("gb18030"), "", "<meta charset=gb2312>镕", "gbk"),
        (b"<META http-equiv=content-type content='text/html; charset=windows-1251'>\xcf", "", "П", "windows-1251"),
        ('<?xml version="1.0" encoding="shift_jis"?>画'.encode("cp932"), "", "画", "shift_jis"),
        (b"<meta charset=utf-8>\xcf", "windows-1251", "П", "windows-1251"),
        (b"<meta charset=utf-8>\xcf", "nonsense", "\ufffd", "utf-8"),
        (b"<meta charset=utf-16>" + "ä".encode(), "", "ä", "utf-8"),
        (b"<meta charset=nonsense>" + "ä".encode(), "no-such-charset", "ä", "utf-8"),
        (b"<!--" + b"-" * 2000 + b"--><meta charset=koi8-r>\xf0", "", "П", "koi8-r"),
        (b"<!--" + b"-" * 2000 + b"--><meta charset=koi8-r>" + "ä".encode(), "", "ä", "utf-8"),
        (b"<meta charset=x-user-defined>\xe4", "", "ä", "windows-1252"),
        (b"\xe4", "x-user-defined", "\uf7e4", "x-user-defined"),
        (b"\xa1", "visual", "\ufffd", "iso-8859-8"),
        (b"", "", "", "utf-8"),
    ],
)
def test_the_encoding_is_found_as_browsers_find_it(page, charset, text, encoding):
    decoded = decode_page(page, charset=charset)
    assert isinstance(decoded, DecodedPage)
    assert decoded.html.decode().endswith(text)
    assert decoded.encoding == encoding


@pytest.mark.parametrize("charset", ["hz-gb-2312", "iso-2022-kr", "ISO-2022-CN", "csiso2022kr"])
def test_pages_that_no_browser_decodes_are_left_out_with_a_reason(charset):
    page = b"<img src=a.jpg alt='a cat'>"
    assert parse_page(page, "http://a.example/", charset=charset) == DropReason.UNREAD_ENCODING
    meta = b"<meta charset=%b>" % charset.encode()
    assert parse_page(meta + page, "http://a.example/") == DropReason.UNREAD_ENCODING
    assert parse_page(codecs.BOM_UTF8 + meta + page, "http://a.example/") != DropReason.UNREAD_ENCODING


@pytest.mark.parametrize(("encoding", "title"), DETECTED.items(), ids=DETECTED)
def test_an_undeclared_encoding_is_detected_from_a_title(encoding, title):
    page = f"<html><head><title>{title}</title></head><body><img src=a.jpg></body></html>"
    found = decode_page(page.encode(PYTHON.get(encoding, encoding)))
    assert isinstance(found, DecodedPage)
    assert found.html.decode() == page


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", RUSSIAN),
        ("euc_jp", "これは日本語のページです。"),
        ("gb18030", "这是一个中文网页"),
        ("cp949", "안녕하세요 한국어"),
        ("cp1250", "Nejlepší příběhy pro děti i dospělé čtenáře"),
        ("iso8859-2", "Źdźbło trawy i żółta łąka są piękne"),
    ],
)
def test_an_undeclared_encoding_is_detected_from_a_page(encoding, text):
    page = "".join(f"<p>{number} {text}</p>" for number in range(30))
    found = decode_page(page.encode(encoding))
    assert isinstance(found, DecodedPage)
    assert found.html.decode() == page


def test_where_a_short_page_was_found_tells_of_its_encoding():
    page = "<title>Kabina dušas ūdens ārā</title>".encode("cp1257")
    assert detect_encoding(page, "http://a.example.lv/b") == "windows-1257"
    for url in ("", "nonsense", "http://10.0.0.1/", "http://[::1]/", "http://пример.рф/", "http://a.example./"):
        assert detect_encoding(page, url)


def test_an_escape_character_alone_is_no_japanese():
    found = decode_page(b"<p>a \x1b[1m b \x1b(B</p>")
    assert found == DecodedPage(b"<p>a \x1b[1m b \x1b(B</p>", "utf-8")


@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_every_page_becomes_valid_utf_8(page, charset, url):
    decoded = decode_page(page, charset=charset, url=url)
    assert isinstance(decoded, DropReason) or decoded.html.decode("utf-8") is not None


@pytest.mark.parametrize(
    ("page", "charset", "url"),
    [
        ("<img src='/a.php?图' alt='a cat'>".encode("gbk"), "gb2312", "http://a.example/a.php?%CD%BC"),
        ("<meta charset=euc-jp><img src='?図' alt='a cat'>".encode("euc-jp"), "", "http://a.example/?%BF%DE"),
        (
            "<base href='/b?図'><img src='a.php?図' alt='a cat'>".encode("cp932"),
            "sjis",
            "http://a.example/a.php?%90%7D",
        ),
        ("<img src='/图.php?图' alt='a cat'>".encode(), "", "http://a.example/%E5%9B%BE.php?%E5%9B%BE"),
        ("<img src='?图' alt='a cat'>".encode("utf-16"), "", "http://a.example/?%E5%9B%BE"),
    ],
    ids=["header", "meta", "base", "utf-8", "utf-16"],
)
def test_queries_of_a_page_are_escaped_in_its_encoding(page, charset, url):
    found = parse_page(page, "http://a.example/", charset=charset)
    assert not isinstance(found, DropReason)
    assert [candidate.image_url for candidate in found.candidates] == [url]
