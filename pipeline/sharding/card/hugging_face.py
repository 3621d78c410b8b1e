"""What Hugging Face's `datasets` is told of a set of shards: the front matter of its ``README.md``.

It names the tars as the data, for there is Parquet beside them, and gives the type of every field, which readers would
otherwise take from the first samples, and fail at the first that is null there.

Source: Hugging Face Hub, "Dataset cards" and "Manual configuration"; `datasets.Features`, as its YAML form has it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from pipeline.base.carried_columns import Carried
from pipeline.base.shard_format import JSON_SUFFIX, SAMPLE_JSON_KEYS, TEXT_SUFFIX
from pipeline.sharding.forms import Form

_LICENSE_ID: Final = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_TEXTS: Final = {"dtype": "string"}
_LISTS: Final = frozenset({"queries", "kept_for"})
_NUMBERS: Final = {
    "keep_probability": "float64",
    **dict.fromkeys(("width", "height", "original_width", "original_height"), "int64"),
}
# A set of fewer samples than so many is of this class; the last has no bound.
_SIZE_CLASSES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)


def front_matter(
    *,
    suffixes: Iterable[str],
    carried: Carried,
    extra: Sequence[str],
    samples: int,
    form: Form,
    splits: Sequence[str],
    title: str = "",
    license: str = "",
) -> str:
    """The front matter, between its lines of dashes.

    Args:
        suffixes: Of the images' members.
        carried: Columns that samples carry.
        extra: Keys of every sample's JSON besides these and `SAMPLE_JSON_KEYS`, of texts.
        samples: How many there are.
        form: Of the set.
        splits: Names of those that have shards.
        title: Of the set; empty: it has none.
        license: That the set is given under, an identifier of the hub's or a text; empty: none is stated.
    """
    described = {"name": JSON_SUFFIX, "struct": _json_features(carried, [*extra, *form.extra_keys])}
    features = [
        *({"name": suffix, "dtype": "image"} for suffix in sorted(suffixes)),
        *([described] if form.has_json else []),
        {"name": TEXT_SUFFIX, "dtype": "string"},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    told = {
        **({"pretty_name": title} if title else {}),
        **_license(license),
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": form.shard_pattern(split)} for split in splits],
            }
        ],
        "dataset_info": {"config_name": "default", "features": features},
        "size_categories": [_size_class(samples)],
        "task_categories": ["zero-shot-image-classification", "image-to-text", "text-to-image"],
        "tags": ["webdataset", "image-text pairs"],
    }
    # YAML takes JSON as it is; a line for each of the outermost keys.
    lines = [f"{name}: {json.dumps(value)}" for name, value in told.items()]
    return "\n".join(["---", *lines, "---"])


def _license(stated: str) -> dict[str, str]:
    """What the hub is told of a licence.

    >>> _license("cc-by-4.0"), _license("Ask us."), _license("")
    ({'license': 'cc-by-4.0'}, {'license': 'other', 'license_name': 'Ask us.'}, {})
    """
    if not stated or _LICENSE_ID.fullmatch(stated):
        return {"license": stated} if stated else {}
    return {"license": "other", "license_name": stated}


def _json_features(carried: Carried, extra: Sequence[str]) -> list[dict[str, Any]]:
    """The fields of a sample's JSON, in the order of their names, in which they are written."""
    columns = {field.name: _feature(field.type) for field in carried}
    ours = {name: _our_feature(name) for name in (*SAMPLE_JSON_KEYS, *extra) if name not in columns}
    return [{"name": name, **feature} for name, feature in sorted((ours | columns).items())]


def _our_feature(name: str) -> Mapping[str, Any]:
    if name in _LISTS:
        return {"list": "string"}
    return {"dtype": _NUMBERS[name]} if name in _NUMBERS else _TEXTS


def _feature(type_: pa.DataType) -> Mapping[str, Any]:
    """The feature of a carried column, as `carried_columns.json_column` writes its values.

    >>> _feature(pa.list_(pa.float32())), _feature(pa.struct([("f0", pa.uint64())])), _feature(pa.date32())
    ({'list': 'float32'}, {'struct': [{'name': 'f0', 'dtype': 'uint64'}]}, {'dtype': 'string'})
    """
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        inner = _feature(type_.value_type)
        return {"list": inner.get("dtype", inner)}
    if pa.types.is_struct(type_):
        return {"struct": [{"name": field.name, **_feature(field.type)} for field in type_]}
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_):
        return {"dtype": {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(type_), str(type_))}
    return _TEXTS


def _size_class(samples: int) -> str:
    return next((name for bound, name in _SIZE_CLASSES if samples < bound), "n>1B")
