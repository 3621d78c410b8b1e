"""Raw tar members are plain USTAR that every reader knows, the same bytes every time."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.tar import END_OF_ARCHIVE, encode_member, update_json
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
