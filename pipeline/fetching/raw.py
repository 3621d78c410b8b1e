"""Samples as they lie in a raw tar: three members that share a key, one after another.

In: a stored image, its text and where they came from. Out: the bytes of the members, headers and padding included,
the same for the same sample: no time, no owner. A final shard is made by copying these bytes.
Names by `pipeline.base.shard_format`, members by `pipeline.base.tar`.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.base.shard_format import IMAGE_SUFFIXES, JSON_SUFFIX, TEXT_SUFFIX, member_name
from pipeline.base.tar import encode_json, encode_member


def encode_sample(key: str, *, image: bytes, mime: str, text: str, provenance: Mapping[str, Any]) -> bytes:
    """The members of one sample.

    Args:
        key: Common name of the members.
        image: Encoded image.
        mime: Its type; decides its suffix.
        text: The text of the pair.
        provenance: `shard_format.SAMPLE_JSON_KEYS` and their values.
    """
    return b"".join(
        (
            encode_member(member_name(key, IMAGE_SUFFIXES[mime]), image),
            encode_member(member_name(key, JSON_SUFFIX), encode_json(provenance)),
            encode_member(member_name(key, TEXT_SUFFIX), text.encode()),
        )
    )
