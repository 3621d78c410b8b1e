"""Raw tar members are plain USTAR that every reader knows, the same bytes every time."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.tar import END_OF_ARCHIVE, are_members, encode_member, list_members
from pipeline.fetching.raw import encode_sample
from pipeline.sharding.forms import FORMS
from pipeline.sharding.packing.samples import Change, Rewriting, describe_selection


@given(st.binary(max_size=2000), st.text("abcdef0123456789", min_size=1, max_size=32))
@settings(max_examples=50)
def test_a_member_is_what_the_standard_library_writes(data, key):
    info = tarfile.TarInfo(f"{key}.jpg")
    info.size, info.mode = len(data), 0o444
    wanted = info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)
    assert encode_member(f"{key}.jpg", data) == wanted


def test_a_sample_is_image_json_and_text_of_one_key():
    sample = encode_sample("00ff", image=b"\xff\xd8", mime="image/png", text="café\n", provenance={"b": "é", "a": None})
    with tarfile.open(fileobj=io.BytesIO(sample + END_OF_ARCHIVE)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert list(members) == ["00ff.png", "00ff.json", "00ff.txt"]
    assert members["00ff.txt"].decode() == "café\n"
    assert members["00ff.json"].decode() == '{"a":null,"b":"é"}'
    assert json.loads(members["00ff.json"]) == {"a": None, "b": "é"}


def test_a_name_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="more than 100"):
        encode_member("x" * 101, b"")


@given(st.binary(max_size=2000), st.text(max_size=300))
@settings(max_examples=50)
def test_a_sample_whose_json_is_written_anew_is_as_if_it_had_been_written_so(image, query):
    def sample(key, provenance):
        return encode_sample(key, image=image, mime="image/webp", text="café", provenance=provenance)

    before = memoryview(sample("00ff", {"a": 1, "kept_for": ["x"]}))
    for form, key in (("wit400m", "00ff"), ("img2dataset", "000000017")):
        updated = Rewriting(FORMS[form]).rewrite(before, Change(key, {"kept_for": [query]}, []))
        assert updated == sample(key, {"a": 1, "kept_for": [query]})
    text = Rewriting(FORMS["open_clip"]).rewrite(before, Change("00ff", {}, []))
    assert text == encode_member("00ff.webp", image) + encode_member("00ff.txt", "café".encode())


def test_what_samples_say_of_their_selection_is_that_of_their_rows_also_in_a_part_of_a_table():
    table = pa.table(
        {"kept_for": [[0], [1, 2], [], [2]], "keep_probability": pa.array([1, 0.1, 0.5, 0.3], pa.float32())}
    )
    said = list(describe_selection(table.slice(1, 3), pa.array(["a", "b", "c"])))
    assert said == [
        {"kept_for": ["b", "c"], "keep_probability": 0.1},
        {"kept_for": [], "keep_probability": 0.5},
        {"kept_for": ["c"], "keep_probability": 0.3},
    ]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1500)), min_size=1, max_size=5), st.data())
def test_runs_of_members_are_told_from_damaged_ones_as_by_reading_them_one_by_one(given_members, data):
    """All runs at once by their headers, and each by `list_members`."""
    samples = [
        encode_member(f"{key}.jpg", bytes(size)) + encode_member(f"{key}.txt", b"x") for key, size in given_members
    ]
    whole = bytearray(b"".join(samples))
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    whole[place] ^= 1 << bit
    starts = np.cumsum([0, *map(len, samples)])
    prefixes = np.array([f"{key}." for key, _ in given_members], bytes)
    for row, is_good in enumerate(are_members(np.frombuffer(whole, np.uint8), starts, prefixes).tolist()):
        try:
            found = list_members(bytes(whole[starts[row] : starts[row + 1]]))
            wanted = all(member.name.startswith(f"{given_members[row][0]}.") for member in found)
        except ValueError:
            wanted = False
        assert wanted if is_good else True, "what is called good is good"
        if not starts[row] <= place < starts[row + 1]:
            assert is_good, "and what is not touched is called good"


@given(st.lists(st.tuples(st.text("abc.", min_size=1, max_size=100), st.binary(max_size=1500)), max_size=4))
def test_members_are_found_where_they_were_put(given_members):
    data = b"".join(encode_member(name, content) for name, content in given_members)
    found = list_members(memoryview(data))
    assert [(member.name, data[member.data : member.data + member.size]) for member in found] == given_members
    assert [member.start for member in found] + [len(data)] == [0] + [member.end for member in found]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(1024), "begins no tar member"),
        (b"\xff\xd8 a picture".ljust(2048), "begins no tar member"),
        (encode_member("a.jpg", b"data")[:700], "more than there should be"),
        (encode_member("a.jpg", b"data")[:300], "begins|more"),
        (encode_member("a.jpg", b"data") + b"x", "begins no tar member"),
        (encode_member("a.jpg", b"data").replace(b"00000000004", b"0000000000x"), "begins no tar member"),
    ],
    ids=["empty blocks", "other content", "cut in the content", "cut in the header", "more behind", "no size"],
)
def test_bytes_that_are_no_members_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        list_members(data)


@pytest.mark.parametrize("shards", [1, 9_999, 40_000, 100_000, 100_001, 250_000])
def test_names_of_shards_sort_as_their_numbers_do(shards):
    numbers = sorted({0, 1, shards // 3, shards // 2, max(shards - 2, 0), shards - 1})
    for form in FORMS.values():
        for split in ("train", "validation"):
            names = [form.shard_name(split, number, shards) for number in numbers]
            assert names == sorted(set(names))
            assert len(set(map(len, names))) == 1
    names = [FORMS["wit400m"].shard_name("train", number, shards) for number in numbers]
    assert all(len(name) == len("00000.tar") for name in names) == (shards <= 100_000)
