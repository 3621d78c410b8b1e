"""Lists of what is left out: what they may hold, and whom they find."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.sharding.stage import WriteShards
from pipeline.web.blocklists import KINDS, Blocklists, parse_entries, read_blocklists

IMAGE = b"bytes of an image"
ROWS = [
    ("http://a.example/1.jpg", "0a" * 16, 0b1010),
    ("http://b.a.example/2.jpg", "0b" * 16, -1),
    ("http://a.example.org/3.jpg", "0c" * 16, None),
    ("http://xn--bcher-kva.example/4.jpg?a=1", "0d" * 16, 7),
]


def rows(**more):
    urls, keys, looks = zip(*ROWS, strict=True)
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    columns = {"key": keys, "image_url": urls, "sha256": pa.array(digests, pa.binary(32)), **more}
    return pa.table(columns | {"phash": pa.array(looks, pa.int64())})


def lists(tmp_path, kind, *lines, **options):
    path = tmp_path / f"{kind}.txt"
    path.write_text("\n".join(lines))
    return read_blocklists([f"{kind}={path}"], **options)


@pytest.mark.parametrize(
    ("kind", "lines", "found"),
    [
        ("urls", ["HTTP://A.example:80/1.jpg#top", "", "# http://b.a.example/2.jpg"], [0]),
        ("urls", ["http://Bücher.example/4.jpg?a=1  # asked for by mail"], [3]),
        ("hosts", ["A.Example."], [0, 1]),
        ("hosts", ["b.a.example", "bücher.example"], [1, 3]),
        ("hosts", ["example"], [0, 1, 3]),
        ("keys", ["0C" * 16], [2]),
        ("sha256", [hashlib.sha256(b"0b" * 16).hexdigest().upper()], [1]),
        ("md5", [hashlib.md5(b"0b" * 16).hexdigest()], []),
        ("phash", ["f" * 16, f"{0b1010:016x}"], [0, 1]),
    ],
)
def test_rows_are_found_by_what_the_lists_hold(tmp_path, kind, lines, found):
    assert np.flatnonzero(lists(tmp_path, kind, *lines).rows(rows())).tolist() == found


def test_uids_that_pairs_carry_are_found_as_their_tables_write_them(tmp_path):
    halves = [{"f0": 1, "f1": number} for number in range(4)]
    by_number = lists(tmp_path, "keys", "0000000000000001" + "0000000000000002")
    assert np.flatnonzero(by_number.rows(rows(uid=halves))).tolist() == [2]
    by_text = lists(tmp_path, "keys", "Abc", "0a" * 16)
    assert np.flatnonzero(by_text.rows(rows(uid=["x", "aBC", "y", None]))).tolist() == [0, 1]


def test_pictures_within_the_distance_are_found_as_one_by_one_comparison_finds_them():
    random = np.random.default_rng(3)
    looks = random.integers(0, 1 << 63, 20_000, np.int64)
    listed = [int(look) ^ (1 << 5) ^ (1 << 40) for look in looks[:100]] + [int(looks[100]) ^ 0b111]
    entries = {"phash": frozenset(f"{look:016x}" for look in listed)}
    table = pa.table({name: pa.nulls(len(looks), pa.string()) for name in ("key", "image_url")}).append_column(
        "phash", pa.array(looks)
    )
    for distance, number in ((0, 0), (1, 0), (2, 100), (3, 101)):
        assert Blocklists(entries, distance).rows(table).sum() == number
    assert Blocklists(entries, 2).has_looks(int(looks[7])) and not Blocklists(entries, 1).has_looks(int(looks[7]))


def test_bytes_are_found_by_either_digest(tmp_path):
    for kind in ("sha256", "md5"):
        found = lists(tmp_path, kind, hashlib.new(kind, IMAGE).hexdigest())
        assert found.has_bytes(IMAGE) and not found.has_bytes(IMAGE[1:])
        assert found.lists_images


def test_a_folder_holds_a_list_of_each_kind(tmp_path):
    (tmp_path / "hosts.txt").write_text("\ufeffa.example\n", encoding="utf-8")
    (tmp_path / "keys.txt").write_text("0c" * 16)
    (tmp_path / "notes.txt").write_text("not a list")
    assert read_blocklists([str(tmp_path)]).rows(rows()).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("urls", "a.example/1.jpg"),
        ("urls", "ftp://a.example/1.jpg"),
        ("hosts", "a.example/path"),
        ("hosts", "a b"),
        ("sha256", "abc"),
        ("md5", "g" * 32),
        ("phash", "f" * 17),
    ],
)
def test_a_line_that_is_no_entry_is_named(kind, line):
    with pytest.raises(ValueError, match=rf"the\.list: line 2: .* is none of the {kind}"):
        list(parse_entries(kind, f"\n{line}\n", path="the.list"))


def test_what_is_asked_for_must_be_lists(tmp_path):
    with pytest.raises(ValueError, match="write-shards: block: 'url=x': the kinds of lists are urls, hosts"):
        WriteShards(block=("url=x",))
    with pytest.raises(ValueError, match="a folder that holds one of"):
        read_blocklists([str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        read_blocklists([f"urls={tmp_path / 'none'}"])


def test_nothing_is_listed_where_nothing_is_asked_for():
    assert not read_blocklists([])
    assert not read_blocklists([]).rows(rows()).any()
    assert set(read_blocklists([]).entries) == set(KINDS)
