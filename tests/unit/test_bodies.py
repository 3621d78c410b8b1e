"""Bodies of answers: codings undone under a cap, labels believed as far as browsers believe them."""

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.drops import DropReason
from pipeline.web.bodies import decode_body

DATA = bytes(range(256)) * 400
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + DATA
IMAGES = {
    "jpeg": JPEG,
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + DATA,
    "gif": b"GIF89a" + DATA,
    "webp": b"RIFF\x00\x01\x00\x00WEBPVP8 " + DATA,
    "avif": b"\x00\x00\x00\x1cftypavif" + DATA,
}
CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstandard.ZstdCompressor().compress,
}


def decode(body, encoding, max_bytes=1_000_000):
    return decode_body(body, encoding, max_bytes=max_bytes)


@pytest.mark.parametrize("coding", CODINGS)
def test_bodies_are_decoded_up_to_their_cap(coding):
    packed = CODINGS[coding](DATA)
    assert decode(packed, coding, 102_400) == DATA
    assert decode(packed, coding.upper(), 102_399) is DropReason.TOO_MANY_BYTES


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_a_body_that_is_cut_off_is_refused(coding, share):
    packed = CODINGS[coding](DATA)
    assert decode(packed[: int(len(packed) * share)], coding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("length", [1, 2, 3, 9, -1, -8])
def test_a_gzip_body_that_is_cut_anywhere_is_refused(length):
    assert decode(gzip.compress(DATA)[:length], "gzip") is DropReason.BAD_ENCODING


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_damaged_body_is_refused(coding):
    packed = bytearray(CODINGS[coding](DATA))
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    assert decode(bytes(packed), coding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "gzip, gzip"])
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_that_bears_the_label_of_a_coding_is_taken_as_it_is(image, coding):
    assert decode(IMAGES[image], coding) == IMAGES[image]
    assert decode(IMAGES[image], coding, 1000) is DropReason.TOO_MANY_BYTES


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_does_not_begin_as_its_coding_does_is_taken_as_it_is(coding):
    assert decode(b"", coding) == b""
    assert decode(b"plain", coding) == b"plain"
    assert decode(b"no " + CODINGS[coding](DATA), coding).startswith(b"no ")


@pytest.mark.parametrize("coding", ["deflate", "br"])
def test_what_is_of_another_coding_and_no_image_is_refused(coding):
    assert decode(b"no " + CODINGS[coding](DATA), coding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize(
    "encoding", ["", "identity", "utf-8", "UTF-8", "none", "binary", "zip", "image/jpeg", "8bit,none", ",", "chunked"]
)
def test_labels_that_name_no_coding_stand_for_none(encoding):
    assert decode(JPEG, encoding) == JPEG
    assert decode(JPEG, encoding, 10) is DropReason.TOO_MANY_BYTES
    assert decode(gzip.compress(JPEG), f"{encoding}, gzip") == JPEG


@pytest.mark.parametrize("encoding", ["compress", "x-compress", "dcb", "dcz"])
def test_codings_that_are_not_asked_for_are_refused(encoding):
    assert decode(b"\x1f\x9d\x90abc", encoding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("encoding", ["x-gzip", "GZip", " gzip ", "gzip;q=1.0", '"gzip"', "gzip,utf-8", "utf-8,gzip"])
def test_gzip_has_several_spellings(encoding):
    assert decode(gzip.compress(DATA), encoding) == DATA


def test_codings_are_undone_in_turn():
    bare = zlib.compress(DATA)[2:-4]
    assert decode(bare, "deflate") == DATA
    assert decode(gzip.compress(zlib.compress(DATA)), "deflate, gzip") == DATA
    assert decode(gzip.compress(DATA), "gzip, gzip") == DATA  # labelled once too often
    assert decode(gzip.compress(gzip.compress(DATA)), "gzip, gzip") == DATA
    assert decode(DATA, ",".join(["gzip"] * 5)) == DATA
    assert decode(DATA, ",".join(["gzip"] * 6)) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_are_joined_and_what_follows_them_ignored(coding):
    pack = CODINGS[coding]
    whole = b"".join([pack(DATA[:1000]), pack(b""), pack(DATA[1000:])])
    assert decode(whole, coding, len(DATA)) == DATA
    assert decode(whole, coding, len(DATA) - 1) is DropReason.TOO_MANY_BYTES
    for tail in (b"\0" * 600, b"garbage", b"\x1f", DATA):
        assert decode(whole + tail, coding) == DATA
    assert decode(whole[:-9], coding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_body_of_countless_members_is_refused(coding):
    empty = CODINGS[coding](b"")
    assert decode(empty * 9_999, coding) == b""
    assert decode(empty * 300_000, coding) is DropReason.BAD_ENCODING


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_takes_no_more_memory_than_its_cap_allows(coding):
    bomb = CODINGS[coding](bytes(200_000_000))
    tracemalloc.start()
    try:
        assert decode(bomb, coding) is DropReason.TOO_MANY_BYTES
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


def test_frames_that_zstd_skips_are_skipped():
    frame = b"\x5a\x2a\x4d\x18\x04\0\0\0abcd"
    assert decode(frame * 3 + zstandard.ZstdCompressor().compress(b"text"), "zstd", 9) == b"text"
    assert decode(frame + b"\x50\x2a\x4d\x18\xff\xff\xff\xff", "zstd", 99) == b""


def test_a_zstd_window_beyond_that_of_http_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packed.compress(bytes(20_000_000)) + packed.flush()
    assert decode(body, "zstd", 30_000_000) is DropReason.BAD_ENCODING


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "br", "zstd", "x-gzip, br", "?", "\udc80"]))
@settings(max_examples=200)
def test_no_body_raises_an_error(body, encoding):
    for data in (body, gzip.compress(DATA)[:10] + body, b"\x28\xb5\x2f\xfd" + body, gzip.compress(b"a") + body):
        result = decode_body(data, encoding, max_bytes=1000)
        assert isinstance(result, DropReason) or len(result) <= 1000


@given(st.binary(max_size=2000), st.lists(st.sampled_from(list(CODINGS)), min_size=1, max_size=4))
@settings(max_examples=100)
def test_whatever_is_encoded_is_decoded_again(data, codings):
    body = data
    for coding in codings:
        body = CODINGS[coding](body)
    assert decode(body, ", ".join(codings)) == data
