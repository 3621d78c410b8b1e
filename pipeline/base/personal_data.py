"""Personal data in texts: e-mail addresses, telephone numbers, bank accounts, payment cards and addresses of machines.

In: a text. Out: where in it each stands. What has check digits counts only where these are right; what looks like a
number of another kind (a date, a year range, a price, a product number without a plus sign or groups) does not count.
Source: RFC 5321 4.5.3.1 (lengths of mail addresses); ITU-T E.164 (at most 15 digits); ISO 13616-1 and the registry of
IBANs (mod 97, a length for each country); ISO/IEC 7812-1 (Luhn's check digit; the ranges of card networks).
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

Span = tuple[int, int]

_EMAIL: Final = re.compile(
    r"(?:mailto:)?(?<![\w.%+-])[\w.%+-]{1,64}(?:@|\s?[\[(]at[\])]\s?)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"(?<![\w.,/-])(\+?)\(?\d[\d ()./-]{5,24}\d(?![\w/-])")
_GROUPS: Final = re.compile(r"\d+")
_MIN_INTERNATIONAL_DIGITS: Final = 8
_MIN_DIGITS: Final = 9
_MAX_DIGITS: Final = 15

_IBAN_START: Final = re.compile(r"(?<![^\W_])[A-Za-z]{2}[0-9]{2}")
_IBAN_LENGTHS: Final = {
    length: frozenset(countries.split())
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
}
_COUNTRY_LENGTHS: Final = {country: length for length, some in _IBAN_LENGTHS.items() for country in some}

# Digits without separators, or in the groups that cards bear.
_CARD: Final = re.compile(
    r"(?<![\w.,/+-])"
    r"(?:[0-9]{12,19}"
    r"|[0-9]{4}([ -])[0-9]{6}\1[0-9]{4,5}"
    r"|[0-9]{4}([ -])[0-9]{4}(?:\2[0-9]{4}){1,2}(?:\2[0-9]{1,4})?)"
    r"(?![\w/-]|[.,][0-9])"
)
_CARD_RANGES: Final = (  # first digits from, to; digits of a number at least, at most
    ("4", "4", 16, 16),
    ("4", "4", 19, 19),
    ("51", "55", 16, 16),
    ("2221", "2720", 16, 16),
    ("34", "34", 15, 15),
    ("37", "37", 15, 15),
    ("300", "305", 14, 19),
    ("36", "36", 14, 19),
    ("38", "39", 14, 19),
    ("3528", "3589", 16, 19),
    ("6011", "6011", 16, 19),
    ("644", "659", 16, 19),
    ("62", "62", 16, 19),
    ("2200", "2204", 16, 19),
    ("508", "508", 16, 16),
    ("81", "82", 16, 16),
    *((prefix, prefix, 12, 19) for prefix in ["5018", "5020", "5038", "5893", "6304", "6759", "6761", "6762", "6763"]),
)
_LUHN_DOUBLED: Final = "0246813579"

_IPV4: Final = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.\w)", re.ASCII)
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\w)", re.ASCII)


class Found(NamedTuple):
    """A piece of a text that is personal data."""

    kind: str  # of `FINDERS`
    start: int
    end: int


def find_emails(text: str) -> list[Span]:
    """Where the e-mail addresses of a text stand.

    >>> find_emails("write to joe@shop.example or jo (at) shop.example")
    [(9, 25), (29, 49)]
    """
    return [match.span() for match in _EMAIL.finditer(text)] if "@" in text or "at" in text.lower() else []


def find_phones(text: str) -> list[Span]:
    """Where the telephone numbers of a text stand, international or national ones.

    >>> find_phones("Call +49 30 123456, since 1999-2020")
    [(5, 18)]
    """
    return [match.span() for match in _NUMBER.finditer(text) if _is_phone(match)]


def find_ibans(text: str) -> list[Span]:
    """Where the numbers of bank accounts stand: of a known country, of its length, with the right check digits.

    >>> find_ibans("to GB82 WEST 1234 5698 7654 32 please, not to GB83 WEST 1234 5698 7654 32")
    [(3, 30)]
    """
    found: list[Span] = []
    for start in _IBAN_START.finditer(text):
        length = _COUNTRY_LENGTHS.get(start[0][:2].upper())
        if length and (match := _letters_and_digits(length).match(text, start.start())):
            code = re.sub(r"[^0-9A-Z]", "", match[0].upper())
            digits = "".join(str(int(letter, 36)) for letter in code[4:] + code[:4])
            if int(digits) % 97 == 1:
                found.append(match.span())
    return found


def find_cards(text: str) -> list[Span]:
    """Where the numbers of payment cards stand: of a network's range and length, with the right check digit.

    >>> find_cards("card 4111 1111 1111 1111, not 4111 1111 1111 1112")
    [(5, 24)]
    """
    return [match.span() for match in _CARD.finditer(text) if _is_card("".join(_GROUPS.findall(match[0])))]


def find_ip_addresses(text: str) -> list[Span]:
    """Where the addresses of machines stand that can be reached from everywhere.

    >>> find_ip_addresses("from 93.184.216.34 and 2606:2800:220:1::1, not 127.0.0.1 at 12:30:45")
    [(5, 18), (23, 41)]
    """
    found = []
    for pattern in (_IPV4, _IPV6) if "." in text or ":" in text else ():
        found += [match.span() for match in pattern.finditer(text) if _is_global(match[0])]
    return found


# The order says which of two findings counts where they share characters.
FINDERS: Final[Mapping[str, Callable[[str], list[Span]]]] = {
    "email": find_emails,
    "iban": find_ibans,
    "card": find_cards,
    "ip": find_ip_addresses,
    "phone": find_phones,
}


def find_personal_data(text: str, kinds: Collection[str] = tuple(FINDERS)) -> list[Found]:
    """All personal data in a text, in order; no two findings share a character.

    Args:
        text: The text.
        kinds: Of `FINDERS`, what is looked for.

    >>> find_personal_data("joe@shop.example, +49 30 123456")
    [Found(kind='email', start=0, end=16), Found(kind='phone', start=18, end=31)]
    """
    found: list[Found] = []
    for kind, find in FINDERS.items():
        if kind in kinds:
            spans = find(text)
            found += [Found(kind, *span) for span in spans if not _touches(span, found)]
    return sorted(found, key=lambda one: one.start)


def without(text: str, spans: Collection[Span]) -> str:
    """A text without some pieces of it, which come in order."""
    return "".join(_between(text, spans)) if spans else text


def _between(text: str, spans: Collection[Span]) -> Iterator[str]:
    end = 0
    for start, stop in spans:
        yield text[end:start]
        end = stop
    yield text[end:]


def _touches(span: Span, found: Collection[Found]) -> bool:
    return any(span[0] < one.end and one.start < span[1] for one in found)


def _is_phone(match: re.Match[str]) -> bool:
    groups = _GROUPS.findall(match[0])
    num_digits = sum(map(len, groups))
    if match[1]:
        return _MIN_INTERNATIONAL_DIGITS <= num_digits <= _MAX_DIGITS
    return (_MIN_DIGITS <= num_digits <= _MAX_DIGITS and len(groups) >= 2 and match[0].lstrip("(").startswith("0")) or (
        num_digits == 10 and [len(group) for group in groups] == [3, 3, 4]
    )


@functools.cache
def _letters_and_digits(number: int) -> re.Pattern[str]:
    """So many of them with at most one space or hyphen between two, and none behind."""
    return re.compile(rf"[A-Za-z0-9](?:[ \xa0-]?[A-Za-z0-9]){{{number - 1}}}(?![^\W_])")


def _is_card(digits: str) -> bool:
    in_range = any(
        low <= digits[: len(low)] <= high and least <= len(digits) <= most for low, high, least, most in _CARD_RANGES
    )
    if not in_range:
        return False
    doubled = sum(int(_LUHN_DOUBLED[int(digit)]) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0 and len(set(digits)) > 1


def _is_global(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
