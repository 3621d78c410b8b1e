"""Text in the East Asian encodings of the web, read as browsers read it.

In: bytes in gb18030, gbk, big5, euc-kr, shift_jis, euc-jp or iso-2022-jp. Out: text. Python's codecs of like names do
the bulk; what they do not know, or know otherwise, is put right here, and one malformed sequence is one U+FFFD that
never swallows a following ASCII character.
Source: WHATWG Encoding 10-12 (decoders) and its indexes, compared pair by pair with Python's codecs.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

_REPLACEMENT: Final = "\ufffd"
# What gb18030 of 2022 has where Python's has private characters.
_GB18030_OF_2022: Final = {
    "\ue5e5": "\u3000", "\ue78d": "\ufe10", "\ue78e": "\ufe12", "\ue78f": "\ufe11", "\ue790": "\ufe13",
    "\ue791": "\ufe14", "\ue792": "\ufe15", "\ue793": "\ufe16", "\ue794": "\ufe17", "\ue795": "\ufe18",
    "\ue796": "\ufe19", "\ue7c7": "\u1e3f", "\ue81e": "\u9fb4", "\ue826": "\u9fb5", "\ue82b": "\u9fb6",
    "\ue82c": "\u9fb7", "\ue832": "\u9fb8", "\ue843": "\u9fb9", "\ue854": "\u9fba", "\ue864": "\u9fbb",
}  # fmt: skip
_PRIVATE_PAIR: Final = {b"\xa8\xbc": "\u1e3f", b"\x81\x35\xf4\x37": "\ue7c7"}  # they changed places
# Runs of pairs that Python's big5hkscs lacks: the first pair, and the characters of it and those behind it.
_BIG5_RUNS: Final = (
    "877a㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏"
    "䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋 8e69箸 8e6f簆 8e7e糎 8eab緒 8eb4縝 8ecd者 8ed0耨 8f57菁 "
    "8f69蒨 8f6e萏 8fcb覦覩 8ffe起 906d都 907a銹 90dc靜 90f1響 91bf鼖 9244蔃 92af兙兛兝兞 92c8鍮 92d1瑹 "
    "9447浧 94ca禛 95d9邗 9644靝 96ed瀞 96fc嬨 9b76爁 9b78矗 9b7b纇 9bc6駖 9bde釔 9bec惞 9bf6澶 9c42輶 "
    "9c53侻 9c62營 9c68鄄 9c6b鷰 9c77菏 9cbc尐秣 9cd0婧 9d57輋 9d5a筑 9dc4拐 9ea9恢 9eef痹 9efd汊 9f60鬮 "
    "9f66鼗 9fcb僭 9fd8弌 a063蠏 a077拎 a0d5瑨 a0df煢 a0e4牐 a3c0␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ "
    "c6cf廴 c6d3无 c6d5癶 c6d7隶 c6de〃仝 fa5f倩 fa66偽 fabd包 fac5卄 fad5卿 fb48嘅 fbb8婷 fbf3幵 fbf9廐 "
    "fc4f彘 fc6c悤 fcb9撐 fce2晴 fcf1杞 fdb7沜渝 fdbb港 fdf1煮 fe52猪 fe6f瑜 feaa瓩 fedd砉"
)
# What Python's codec reads where the standard reads another character, and reads nowhere else.
_BIG5_OTHERS: Final = str.maketrans("\u2022\uff64\u203e\u223c\u2641\u2609\xa5\xa2\xa3", "‧﹑¯～⊕⊙￥￠￡")
_BIG5_SLASHES: Final = {b"\xa2\x41": "\u2215", b"\xa2\x42": "\ufe68"}  # it reads two other pairs so as well
_BIG5_PAIR: Final = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xff]")
_EUC_JP_OTHERS: Final = str.maketrans("\u301c\u2016\u2212\xa2\xa3\xac", "～∥－￠￡￢")
_EUC_JP_TILDE: Final = (b"\x8f\xa2\xb7", b"\xa1\xc1")  # the first, which no other sequence holds, is ~ to Python
_CP932_SINGLES: Final = str.maketrans("\xa0\uf8f0\uf8f1\uf8f2\uf8f3", _REPLACEMENT * 5)
_ESCAPE: Final = re.compile(rb"\x1b(\([BJI]|\$[@B])")
_JIS_PAIRS: Final = re.compile(rb"((?:[\x21-\x7e]{2})+)|[\x21-\x7e][^\x21-\x7e\x1b]?|[^\x21-\x7e]")
_MOST_HANDLED: Final = 100_000  # sequences that Python's codec lacks, in a text; one that has more is no text in it
_HIGH: Final = bytes(byte | 0x80 for byte in range(256))
_KATAKANA: Final = {byte: chr(0xFF61 - 0x21 + byte) if 0x21 <= byte <= 0x5F else _REPLACEMENT for byte in range(256)}
_ASCII: Final = {byte: chr(byte) if byte < 0x80 and byte not in b"\x0e\x0f\x1b" else "\ufffd" for byte in range(256)}
_ROMAN: Final = {**_ASCII, 0x5C: "¥", 0x7E: "\u203e"}


def decode_double_bytes(data: bytes, encoding: str) -> str:
    r"""Text in an East Asian encoding.

    Args:
        data: Any bytes.
        encoding: One of `DOUBLE_BYTES`.

    >>> decode_double_bytes(b"\xad\xa1 <", "euc-jp")
    '① <'
    """
    return DOUBLE_BYTES[encoding](data)


def _decode_gb18030(data: bytes) -> str:
    return data.decode("gbk", "wit400m-gb18030")  # none of its pairs differs


def _decode_big5(data: bytes) -> str:
    if not any(pair in data for pair in _BIG5_SLASHES):
        return data.decode("big5hkscs", "wit400m-big5").translate(_BIG5_OTHERS)
    texts, behind = [], 0
    for pair in _BIG5_PAIR.finditer(data):
        if slash := _BIG5_SLASHES.get(pair[0]):
            texts += [data[behind : pair.start()].decode("big5hkscs", "wit400m-big5").translate(_BIG5_OTHERS), slash]
            behind = pair.end()
    return "".join([*texts, data[behind:].decode("big5hkscs", "wit400m-big5").translate(_BIG5_OTHERS)])


def _decode_euc_kr(data: bytes) -> str:
    return data.decode("cp949", "wit400m-euc-kr")


def _decode_shift_jis(data: bytes) -> str:
    return data.decode("cp932", "wit400m-shift_jis").translate(_CP932_SINGLES)


def _decode_euc_jp(data: bytes) -> str:
    return data.replace(*_EUC_JP_TILDE).decode("euc_jp", "wit400m-euc-jp").translate(_EUC_JP_OTHERS)


def _decode_iso_2022_jp(data: bytes) -> str:
    return "".join(_iso_2022_jp_texts(data))


DOUBLE_BYTES: Final[dict[str, Callable[[bytes], str]]] = {
    "gb18030": _decode_gb18030,
    "gbk": _decode_gb18030,
    "big5": _decode_big5,
    "euc-kr": _decode_euc_kr,
    "shift_jis": _decode_shift_jis,
    "euc-jp": _decode_euc_jp,
    "iso-2022-jp": _decode_iso_2022_jp,
}


def _iso_2022_jp_texts(data: bytes) -> Iterator[str]:
    """The texts between escape sequences; one that follows another at once is an error of its own."""
    mode, begin = b"(B", 0
    for escape in _ESCAPE.finditer(data):
        yield _in_mode(data[begin : escape.start()], mode)
        yield _REPLACEMENT if begin and escape.start() == begin else ""
        mode, begin = escape[1], escape.end()
    yield _in_mode(data[begin:], mode)


def _in_mode(data: bytes, mode: bytes) -> str:
    if mode in (b"(B", b"(J"):
        return data.decode("latin-1").translate(_ASCII if mode == b"(B" else _ROMAN)
    if mode == b"(I":
        return data.decode("latin-1").translate(_KATAKANA)
    tokens = _JIS_PAIRS.finditer(data)
    return "".join(_decode_euc_jp(token[1].translate(_HIGH)) if token[1] else _REPLACEMENT for token in tokens)


def _big5_extras() -> dict[bytes, str]:
    pairs: dict[bytes, str] = {}
    for run in _BIG5_RUNS.split(" "):
        lead, trail = bytes.fromhex(run[:4])
        for character in run[4:]:
            pairs[bytes([lead, trail])] = character
            trail = 0xA1 if trail == 0x7E else trail + 1
    return pairs


_BIG5_EXTRAS: Final = _big5_extras()


def _read_gb18030(data: bytes) -> tuple[str, int]:
    if data[0] == 0x80:
        return "€", 1
    length = 4 if data[0] != 0xFF and data[1:2].isdigit() else 2
    found = _PRIVATE_PAIR.get(data[:length]) or _read_with("gb18030", data[:length])
    if found:
        return _GB18030_OF_2022.get(found, found) if length == 2 else found, length
    if length == 2:
        return _REPLACEMENT, _malformed(data, range(0x81, 0xFF))
    is_whole = 0x81 <= (data[2:3] or b"\x81")[0] <= 0xFE and (data[3:4] or b"0").isdigit()
    return _REPLACEMENT, len(data) if is_whole else 1  # the end of the text is malformed as a whole


def _read_big5(data: bytes) -> tuple[str, int]:
    if found := _BIG5_EXTRAS.get(data[:2]):
        return found, 2
    return _REPLACEMENT, _malformed(data, range(0x81, 0xFF))


def _read_euc_kr(data: bytes) -> tuple[str, int]:
    return _REPLACEMENT, _malformed(data, range(0x81, 0xFF))


def _read_shift_jis(data: bytes) -> tuple[str, int]:
    return _REPLACEMENT, _malformed(data, (*range(0x81, 0xA0), *range(0xE0, 0xFD)))


def _read_euc_jp(data: bytes) -> tuple[str, int]:
    if len(data) > 1 and min(data[:2]) >= 0xA1 and max(data[:2]) <= 0xFE:
        return _read_with("cp932", _to_shift_jis(*data[:2])) or _REPLACEMENT, 2
    if data[0] == 0x8F and len(data) > 1 and 0xA1 <= data[1] <= 0xFE:
        return _REPLACEMENT, 1 + _malformed(data[1:], range(0xA1, 0xFF))
    return _REPLACEMENT, _malformed(data, (0x8E, 0x8F, *range(0xA1, 0xFF)))


def _to_shift_jis(row: int, cell: int) -> bytes:
    """The same place of JIS X 0208 in Shift_JIS."""
    lead, trail = divmod((row - 0xA1) * 94 + cell - 0xA1, 188)
    return bytes([lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)])


def _malformed(data: bytes, leads: Sequence[int]) -> int:
    """How many bytes a malformed sequence takes: a lead takes what follows, unless that is ASCII."""
    return 2 if data[0] in leads and len(data) > 1 and data[1] >= 0x80 else 1


def _read_with(codec: str, data: bytes) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return ""


def _register(encoding: str, read: Callable[[bytes], tuple[str, int]], codec: str) -> None:
    def handle(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        # One text is decoded with one error object, which can therefore count.
        error.num_handled = num_handled = getattr(error, "num_handled", 0) + 1  # type: ignore[attr-defined]
        if num_handled > _MOST_HANDLED:
            return error.object[error.start :].decode(codec, "replace"), len(error.object)
        text, length = read(error.object[error.start : error.start + 4])
        return text, error.start + length

    codecs.register_error(f"wit400m-{encoding}", handle)


_register("gb18030", _read_gb18030, "gb18030")
_register("big5", _read_big5, "big5hkscs")
_register("euc-kr", _read_euc_kr, "cp949")
_register("shift_jis", _read_shift_jis, "cp932")
_register("euc-jp", _read_euc_jp, "euc_jp")
