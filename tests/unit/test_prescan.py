"""Where a page's own declaration of its encoding counts.

The first table holds the cases of html5lib-tests (encoding/tests1.dat, tests2.dat), as pages in which they are told
apart; there, what is not declared is windows-1252.
"""

import pytest

from pipeline.extraction.prescan import find_late_meta, prescan

DOCTYPE = b"<!DOCTYPE HTML>\n"
PRAGMA = b'http-equiv="Content-Type"'
HTML5LIB = [
    (b"<!-- nothing -->", None),
    (b'<meta charset="ISO-8859-1">', "windows-1252"),
    (b'<meta charset="iso8859-2">', "iso-8859-2"),
    (b"<meta charset='iso8859-2'>", "iso-8859-2"),
    (b"<meta charset=iso8859-2>", "iso-8859-2"),
    (b"<meta\ncharset=iso8859-2>", "iso-8859-2"),
    (b"<metacharset=iso8859-2>", None),
    (b"<meta %b content=text/html; charset=iso8859-2>" % PRAGMA, "iso-8859-2"),
    (b'<meta http-equiv="Content-Type content="text/html; charset=iso8859-2">', None),
    (b'<meta http-equiv="Content-Type " content="text/html; charset=iso8859-2">', None),
    (b'<meta content="text/html; charset=iso8859-2" http-equiv="Content-Type ">', None),
    (b'<meta http-equiv="Content-Type>" content="text/html; charset=iso8859-2">', None),
    (b'<meta content="text/html; charset=iso8859-2" http-equiv="Content-Type>">', None),
    (b'<meta http-equiv="Content-Style-Type" content="text/html; charset=iso8859-2">', None),
    (b'<meta content="text/html; charset=iso8859-2" name="Content-Style-Type">', None),
    (b'<meta content="text/html; charset=iso8859-2">', None),
    (b'<meta content=" text/html; charset = iso8859-2 ">', None),
    (b'<meta content="\ntext/html; charset=iso8859-2\n" %b>' % PRAGMA, "iso-8859-2"),
    (b'<meta charset="\niso8859-2\n">', "iso-8859-2"),
    (b"<meta charset=\niso8859-2\n>", "iso-8859-2"),
    (b'<meta charset="iso8859-2>\n<p>"</p>', None),
    (b'<meta charset=iso8859-2">\n<p>"</p>', None),
    (b'<meta " charset=iso8859-2>\n<p>"</p>', "iso-8859-2"),
    (b'<meta test" charset=iso8859-2>\n<p>"</p>', "iso-8859-2"),
    (b'<meta test=" charset=iso8859-2>\n<p>"</p>', None),
    (b"<meta test=\"' charset=iso8859-2>\n<p>\"'</p>", None),
    (b"<meta test='\" charset=iso8859-2>\n<p>'\"</p>", None),
    (b'<meta test="" charset=iso8859-2>', "iso-8859-2"),
    (b'<meta test=x" charset=iso8859-2>\n<p>"</p>', "iso-8859-2"),
    (b'<p title="x>\n<meta test=x charset=iso8859-2>\n<p>"</p>', None),
    (b'<p title="x>\n<meta charset=iso8859-2>\n<p>"</p>', None),
    (b'<p title="x>">\n<meta charset=iso8859-2>\n<p>"</p>', "iso-8859-2"),
    (b'<meta charset="ISO-8859-1">\n<meta charset="iso8859-2">', "windows-1252"),
    (b'<meta charset="iso8859-2">\n<meta charset="ISO-8859-1">', "iso-8859-2"),
    (b'<!--<meta charset="ISO-8859-1">-->\n<meta charset="iso8859-2">', "iso-8859-2"),
    (b"<script>document.write('<meta charset=\"ISO-8859-' + '2\">')</script>", None),  # a script that is not run
    (b"<script>document.write('<meta charset=\"iso8859-2\">')</script>", "iso-8859-2"),
    (b'<script type="text/plain"><meta charset="iso8859-2"></script>', "iso-8859-2"),
    (b'<style type="text/plain"><meta charset="iso8859-2"></style>', "iso-8859-2"),
    (b'<p><meta charset="iso8859-2"></p>', "iso-8859-2"),
    (b'<meta charset="bogus">\n<meta charset="iso8859-2">', "iso-8859-2"),
    (b"<meta", None),
    (b"<", None),
    (b"<!", None),
    (b'<meta charset = "', None),
    (b"<meta charset=euc-jp", None),
    (b"<meta <meta charset='euc-jp'>", "euc-jp"),
    (b"<meta       charset    =     'euc-jp'>", "euc-jp"),
    (b'<meta %b content="text/html; charset=utf' % PRAGMA, None),
    (b'<meta http-equiv="Content-Type<meta charset="utf-8">', None),
    (b"<meta %b content=\"text/html; charset='utf-8'\">" % PRAGMA, "utf-8"),
    (b'<meta %b content="text/html; charset=\'utf-8">' % PRAGMA, None),
    (b'<meta content = "text/html;', None),
    (b'<meta charset="UTF-16">', "utf-8"),
    (b'<meta charset="UTF-16LE">', "utf-8"),
    (b'<meta charset="UTF-16BE">', "utf-8"),
    (b'<html a=\xc3\xb1>\n<meta charset="utf-8">', "utf-8"),
    (b'<html \xc3\xb1>\n<meta charset="utf-8">', "utf-8"),
]
OWN = {
    "no attribute of that name": (b'<meta data-charset="koi8-r">', None),
    "content without http-equiv": (b'<meta name=x content="charset=koi8-r">', None),
    "content before http-equiv": (b"<meta content='charset=koi8-r' %b>" % PRAGMA, "koi8-r"),
    "the attribute before the content": (b"<meta charset=big5 content='charset=koi8-r' %b>" % PRAGMA, "big5"),
    "the content before the attribute": (b"<meta %b content='charset=koi8-r' charset=big5>" % PRAGMA, "big5"),
    "an unknown attribute hides the content": (b"<meta charset=x content='charset=koi8-r' %b>" % PRAGMA, None),
    "the first of two attributes": (b"<meta charset=x charset=koi8-r>", None),
    "a word before the equals sign": (b"<meta %b content='charset is charset=koi8-r'>" % PRAGMA, "koi8-r"),
    "up to a semicolon": (b"<meta %b content='charset=koi8-r;x'>" % PRAGMA, "koi8-r"),
    "an empty label": (b"<meta charset=''><meta charset=koi8-r>", "koi8-r"),
    "in capitals": (b"<META CHARSET=KOI8-R>", "koi8-r"),
    "a slash between": (b"<meta/charset=koi8-r/>", None),  # the slash belongs to the value
    "a slash behind a space": (b"<meta charset=koi8-r />", "koi8-r"),
    "an end tag": (b"</meta charset=koi8-r>", None),
    "a comment that ends at once": (b"<!--><meta charset=koi8-r>", "koi8-r"),
    "a comment that never ends": (b"<!-- <meta charset=koi8-r>", None),
    "an end of a comment that is none": (b"<!-- -- > <meta charset=koi8-r> --><meta charset=big5>", "big5"),
    "a declaration": (b"<!x <meta charset=koi8-r><meta charset=big5>", "big5"),
    "an instruction": (b"<?x <meta charset=koi8-r><meta charset=big5>", "big5"),
    "in another attribute": (b"<a title='<meta charset=koi8-r>'>", None),
    "x-user-defined": (b"<meta charset=x-user-defined>", "windows-1252"),
    "an encoding that is not decoded": (b"<meta charset=iso-2022-kr>", "replacement"),
    "of XML": (b'<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
    "of XML in single quotes": (b"<?xml version='1.0' encoding = 'koi8-r' ?>", "koi8-r"),
    "of XML without quotes": (b"<?xml version=1.0 encoding=koi8-r?>", None),
    "of XML not at the start": (b" <?xml version='1.0' encoding='koi8-r'?>", None),
    "of XML with a space in the label": (b"<?xml version='1.0' encoding=' koi8-r'?>", None),
    "a meta element before XML": (b"<?xml encoding='koi8-r'?><meta charset=big5>", "big5"),
    "of XML in UTF-16": (b"<\0?\0x\0m\0", "utf-16le"),
    "of XML in UTF-16 the other way round": (b"\0<\0?\0x\0m", "utf-16be"),
    "behind a tag in a value that is cut off": (b"<p a=<p a=><meta charset=koi8-r>", "koi8-r"),
    "in no tag, but in a value that is cut off": (b"<p a=<p a=>", None),
    "behind signs that begin no tag": (b"< <3 <-- <meta charset=koi8-r>", "koi8-r"),
    "behind a comment that ends where it begins": (b"<!--><meta charset=koi8-r>-->", "koi8-r"),
    "a label that is not ASCII": (b"<meta charset=koi8-\xf2>", None),
}


@pytest.mark.parametrize(("page", "encoding"), HTML5LIB, ids=[str(number) for number in range(len(HTML5LIB))])
def test_declarations_are_found_as_html5lib_tests_say(page, encoding):
    assert prescan(DOCTYPE + page, 1024) == encoding


@pytest.mark.parametrize(("page", "encoding"), OWN.values(), ids=OWN)
def test_declarations_count_where_browsers_look_for_them(page, encoding):
    assert prescan(page, 1024) == encoding


@pytest.mark.parametrize(("space", "encoding"), [(1003, "koi8-r"), (1004, None)])
def test_only_what_stands_whole_in_the_first_bytes_counts(space, encoding):
    page = b" " * space + b"<meta charset=koi8-r>x"
    assert prescan(page, 1024) == encoding
    assert find_late_meta(page) == "koi8-r"


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        (b"<script>'<meta charset=big5>'</script><meta charset=koi8-r>", "koi8-r"),
        (b"<TITLE><meta charset=big5></titles></TITLE ><meta charset=koi8-r>", "koi8-r"),
        (b"<style><meta charset=big5>", None),
        (b"<p><meta charset=koi8-r>", "koi8-r"),
    ],
)
def test_late_declarations_are_elements_and_no_text_of_scripts(page, encoding):
    assert find_late_meta(page) == encoding


def test_cutting_a_page_anywhere_is_no_error():
    page = b"<?xml encoding='x'?><!-- - --><a b='c' d>\xff<meta http-equiv=content-type content='a charset=koi8-r'>"
    found = [prescan(page[:end], 1024) for end in range(len(page) + 1)]
    assert [*dict.fromkeys(found)] == [None, "koi8-r"]
