"""The samples of a pack unit, as they come from raw tars ► as they lie in a shard.

Most are the same bytes. Where a set is of another form, or samples are to say anew what they were selected for, members
are renamed or left out and JSON is written anew; image and text stay what they are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.shard_format import JSON_SUFFIX, describe_probability, member_name
from pipeline.base.tar import encode_header, encode_json, encode_member, list_members
from pipeline.sharding.forms import Form


class Rewriting(NamedTuple):
    """How samples change on their way.

    Attributes:
        form: Of the set.
        queries: Strings of all queries, if samples are to say anew which of them keep it in the end and how likely;
            None: samples say so already.
    """

    form: Form
    queries: pa.Array | None = None

    @property
    def is_needed(self) -> bool:
        """Whether they change at all."""
        return self.queries is not None or self.form.is_numbered or not self.form.has_json

    def changes(self, rows: pa.Table, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What the JSON of samples says anew.

        Args:
            rows: Of `SHARD_PLAN`.
            keys: What the samples are called in the shard.
        """
        found: list[dict[str, Any]] = [{} for _ in keys]
        if self.queries is not None:
            for change, selection in zip(found, describe_selection(rows, self.queries), strict=True):
                change.update(selection)
        if self.form.is_numbered:
            for change, key, pair in zip(found, keys, rows["key"].to_pylist(), strict=True):
                change.update(key=key, pair_id=pair, status="success", error_message=None)
        yield from found

    def rewrite(self, sample: memoryview, key: str, changes: Mapping[str, Any]) -> bytes:
        """A sample as it lies in the shard.

        Args:
            sample: Its members.
            key: What it is called in the shard.
            changes: What its JSON says anew.
        """
        pieces: list[bytes | memoryview] = []
        for member in list_members(sample):
            suffix = member.name.partition(".")[2]
            if suffix != JSON_SUFFIX:
                pieces += [encode_header(member_name(key, suffix), member.size), sample[member.data : member.end]]
            elif self.form.has_json:
                told = json.loads(bytes(sample[member.data : member.data + member.size]))
                pieces.append(encode_member(member_name(key, suffix), encode_json(told | changes)))
        return b"".join(pieces)


def describe_selection(rows: pa.Table, queries: pa.Array) -> Iterator[dict[str, Any]]:
    """What the JSON of samples says of their selection (`shard_format`): the queries that keep it, and how likely.

    Args:
        rows: Of `SHARD_PLAN`.
        queries: Strings of all queries.
    """
    kept_for = rows["kept_for"].combine_chunks()
    offsets = pc.subtract(kept_for.offsets, kept_for.offsets[0])
    named = pa.ListArray.from_arrays(offsets, queries.take(kept_for.flatten()))
    for names, probability in zip(named.to_pylist(), rows["keep_probability"].to_pylist(), strict=True):
        yield {"kept_for": names, "keep_probability": describe_probability(probability)}
