"""E-mail addresses and telephone numbers taken out of texts.

In: a text. Out: the text without them. What looks like a number of another kind (a date, a year range, a price, a
product number without a plus sign or groups) stays.
Source: RFC 5321 4.5.3.1 (lengths of addresses); ITU-T E.164 (at most 15 digits).
"""

import re
from typing import Final

_EMAIL: Final = re.compile(
    r"(?:mailto:)?(?<![\w.%+-])[\w.%+-]{1,64}(?:@|\s?[\[(]at[\])]\s?)[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"(?<![\w.,/-])(\+?)\(?\d[\d ()./-]{5,24}\d(?![\w/-])")
_GROUPS: Final = re.compile(r"\d+")
_MIN_INTERNATIONAL_DIGITS: Final = 8
_MIN_DIGITS: Final = 9
_MAX_DIGITS: Final = 15


def scrub_contacts(text: str) -> str:
    """A text without e-mail addresses and telephone numbers.

    >>> scrub_contacts("Call +49 30 123456 or mail joe@shop.example, since 1999-2020")
    'Call or mail , since 1999-2020'
    """
    scrubbed = _EMAIL.sub("", text) if "@" in text or "at" in text.lower() else text
    scrubbed = _NUMBER.sub(_keep_other_numbers, scrubbed)
    return " ".join(scrubbed.split()) if scrubbed != text else text


def _keep_other_numbers(match: re.Match[str]) -> str:
    groups = _GROUPS.findall(match[0])
    num_digits = sum(map(len, groups))
    if match[1]:
        is_phone = _MIN_INTERNATIONAL_DIGITS <= num_digits <= _MAX_DIGITS
    else:
        is_phone = (
            _MIN_DIGITS <= num_digits <= _MAX_DIGITS and len(groups) >= 2 and match[0].lstrip("(").startswith("0")
        ) or (num_digits == 10 and [len(group) for group in groups] == [3, 3, 4])
    return "" if is_phone else match[0]
