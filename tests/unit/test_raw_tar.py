"""Raw tar members are plain USTAR that every reader knows, the same bytes every time."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.shard_format import shard_name
from pipeline.base.tar import END_OF_ARCHIVE, encode_member, list_members, update_json
from pipeline.fetching.raw import encode_sample


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
def test_a_sample_whose_json_is_updated_is_as_if_it_had_been_written_so(image, query):
    def sample(provenance):
        return encode_sample("00ff", image=image, mime="image/webp", text="café", provenance=provenance)

    updated = update_json(sample({"a": 1, "kept_for": ["x"]}), ".json", {"kept_for": [query]})
    assert updated == sample({"a": 1, "kept_for": [query]})
    with pytest.raises(ValueError, match=r"ends with \.cls"):
        update_json(updated, ".cls", {})


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
    names = [shard_name(number, shards) for number in numbers]
    assert names == sorted(names)
    assert all(len(name) == len("00000.tar") for name in names) == (shards <= 100_000)
