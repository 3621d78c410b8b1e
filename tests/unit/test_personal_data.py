"""Personal data in texts: what has check digits counts only where they are right, what looks like it does not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.personal_data import FINDERS, find_personal_data

IBANS = (  # examples of the registry
    "GB82 WEST 1234 5698 7654 32",
    "DE89370400440532013000",
    "FR14-2004-1010-0505-0001-3M02-606",
    "NO93 8601 1117 947",
    "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "br1800360305000010009795493c1",
)
CARDS = (  # what networks give out for tests
    "4111 1111 1111 1111",
    "5555-5555-5555-4444",
    "2223003122003222",
    "3782 822463 10005",
    "3056 930902 5904",
    "6011111111111117",
    "3530111333300000",
    "6304000000000000",
)


def found(text):
    return [(one.kind, text[one.start : one.end]) for one in find_personal_data(text)]


@pytest.mark.parametrize(
    ("kind", "piece"),
    [
        *(("iban", piece) for piece in IBANS),
        *(("card", piece) for piece in CARDS),
        ("email", "jane.doe+x@mail.example.co.uk"),
        ("email", "joe (at) shop.example"),
        ("phone", "+1 (555) 010-9999"),
        ("phone", "030/12345678"),
        ("ip", "93.184.216.34"),
        ("ip", "2606:2800:220:1:248:1893:25c8:1946"),
        ("ip", "2606:2800::1"),
    ],
)
@pytest.mark.parametrize("text", ["{}", "to {}, please", "«{}».", "a 12 b {} and 34", "[{}]"])
def test_what_is_there_is_found_once_and_nothing_around_it(text, kind, piece):
    assert found(text.format(piece)) == [(kind, piece)]


@pytest.mark.parametrize(
    "text",
    [
        "GB83 WEST 1234 5698 7654 32",  # check digits
        "GB82 WEST 1234 5698 7654 3",  # length
        "ZZ82 WEST 1234 5698 7654 32",  # country
        "XGB82WEST12345698765432",
        "DE8937040044053201300042",
        "4111 1111 1111 1112",
        "4111 1111 1111 111",
        "9111 1111 1111 1111",  # no network's
        "41111111 11111111",  # groups of no card
        "0000 0000 0000 0000",
        "ISBN 978-3-16-148410-0",
        "DSC_4111111111111111",
        "version 1.2.3.4.5",
        "127.0.0.1 and 192.168.1.20 and 10.0.0.1",
        "999.184.216.34",
        "at 12:30:45",
        "fe80::1",
        "from 1999-2020, 1 000 000 visitors",
        "DSC_0012345678",
        "size 10 @ home",
    ],
)
def test_what_looks_like_it_is_not_found(text):
    assert found(text) == []


def test_of_two_readings_of_the_same_characters_one_counts():
    assert found("+49 30 123456, DE89 3704 0044 0532 0130 00") == [
        ("phone", "+49 30 123456"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
    ]
    assert [one.kind for one in find_personal_data("DE89 3704 0044 0532 0130 00", ["phone"])] != ["iban"]


def test_every_changed_digit_is_noticed_by_mod_97_and_by_luhn():
    rng = random.Random(1)
    for piece in ("DE89370400440532013000", "4111111111111111"):
        for place in range(4, len(piece)):
            other = rng.choice([digit for digit in "0123456789" if digit != piece[place]])
            assert found(piece[:place] + other + piece[place + 1 :]) == []


@given(st.text("aGBDE@.+ -():/0123456789", max_size=80))
def test_findings_lie_in_the_text_and_apart(text):
    ends = [0]
    for one in find_personal_data(text):
        assert ends[-1] <= one.start < one.end <= len(text)
        ends.append(one.end)


@pytest.mark.parametrize("kind", FINDERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda n: "DE89" * n,
        lambda n: "1 " * n,
        lambda n: "1234 " * n,
        lambda n: "1." * n,
        lambda n: "1:" * n,
        lambda n: "a@" * n,
    ],
    ids=["countries", "digits", "groups", "dots", "colons", "addresses"],
)
def test_looking_takes_linear_time(growth, make, kind):
    assert growth(FINDERS[kind], make, 20_000) < 24
