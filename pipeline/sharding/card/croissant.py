"""What machines are told of a set of shards by ``croissant.json``: its files, with their digests, and its records.

A record is a sample: the image in a tar, and the columns of its shard's index, joined by the key that the image's file
is named by. mlcroissant reads the records of a set on disk so; of the tars each is named, for only so can images be
taken from them.
Source: MLCommons, "Croissant Format Specification" 1.0, with its JSON-LD context.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from pipeline.base.carried_columns import Carried, with_carried
from pipeline.base.schemas import SHARD_INDEX
from pipeline.base.shard_format import IMAGE_SUFFIXES

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.0"
_TERMS: Final = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator "
    "source subField transform"
)
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_MIMES: Final = {suffix: mime for mime, suffix in IMAGE_SUFFIXES.items()}
_NUMBERED: Final = r"\d[^/]*$"
_ADDRESSES: Final = frozenset({"url", "page_url"})
_WORDS: Final = {
    "key": "Unique name of the sample.",
    "caption": "The text that was found with the image.",
    "url": "Address of the image.",
    "page_url": "Page that it was found on.",
    "kept_for": "Queries that selected the pair, by their place in card/query_counts.parquet's query_id.",
    "query_ids": "Queries in the text.",
    "sha256": "Of the image file as fetched.",
}


def describe_set(
    manifest: Mapping[str, Any], *, carried: Carried, title: str, license: str, citation: str
) -> dict[str, Any]:
    """The content of ``croissant.json``.

    Args:
        manifest: Of the shards.
        carried: Columns that samples carry.
        title: Name of the set.
        license: Under what it is given; empty: that is not stated.
        citation: How to cite it; empty: that is not stated.
    """
    entries = manifest["shards"]
    stated = {"license": license, "citeAs": citation}
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": title,
        "description": f"{manifest['samples']:,} pairs of an image and a text, in WebDataset shards; see card.html.",
        **{name: value for name, value in stated.items() if value},
        "distribution": [_describe_tar(entry) for entry in entries],
        "recordSet": [],
    }
    if entries:
        told["distribution"] += [_describe_index(entries), _describe_images(manifest)]
        told["recordSet"] = [_describe_records(carried)]
    return told


def index_patterns(shards: Sequence[str]) -> list[str]:
    """Patterns that fit the indexes of all shards, and no other table beside them.

    Args:
        shards: Their names, which may lie in folders, and whose first digits are their number.

    >>> index_patterns(["00000.tar", "00017.tar", "validation/00000.tar"])
    ['[0-9]*.parquet', 'validation/[0-9]*.parquet']
    >>> index_patterns(["data/train-00000-of-00016.tar"])
    ['data/train-[0-9]*.parquet']
    """
    return sorted({f"{re.sub(_NUMBERED, '', shard)}[0-9]*.parquet" for shard in shards})


def _describe_tar(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry["name"],
        "name": entry["name"],
        "contentUrl": entry["name"],
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": "application/x-tar",
        "sha256": entry["sha256"],
    }


def _describe_index(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "index",
        "name": "index",
        "description": "The index of each shard, a row a sample.",
        "encodingFormat": "application/x-parquet",
        "includes": index_patterns([entry["name"] for entry in entries]),
    }


def _describe_images(manifest: Mapping[str, Any]) -> dict[str, Any]:
    suffixes = sorted(manifest["images"])
    return {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "description": "The images in all shards.",
        "containedIn": [{"@id": entry["name"]} for entry in manifest["shards"]],
        "encodingFormat": [_MIMES[suffix] for suffix in suffixes],
        "includes": [f"*.{suffix}" for suffix in suffixes],
    }


def _describe_records(carried: Carried) -> dict[str, Any]:
    ours = pa.schema([field for field in SHARD_INDEX if field.name not in {column.name for column in carried}])
    columns = [field for field in with_carried(ours, carried) if field.name != "key" and _data_type(field)]
    key = {
        **_field("key", "sc:Text"),
        # The name of an image's file is its sample's key and a suffix; it is taken once more from what it gave.
        "source": {
            "fileSet": {"@id": "images"},
            "extract": {"fileProperty": "filename"},
            "transform": {"regex": r"^([^.]+)"},
        },
        "references": {"fileSet": {"@id": "index"}, "extract": {"column": "key"}},
    }
    image = {
        **_field("image", "sc:ImageObject"),
        "source": {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "content"}},
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "A record a sample.",
        "key": {"@id": "samples/key"},
        "field": [key, image, *map(_describe_column, columns)],
    }


def _describe_column(field: pa.Field) -> dict[str, Any]:
    told = _field(field.name, _data_type(field))
    if _is_list(field.type):
        told["repeated"] = True
    return told | {"source": {"fileSet": {"@id": "index"}, "extract": {"column": field.name}}}


def _field(name: str, data_type: str) -> dict[str, Any]:
    told = {"@type": "cr:Field", "@id": f"samples/{name}", "name": name, "dataType": data_type}
    return told | ({"description": _WORDS[name]} if name in _WORDS else {})


def _is_list(type_: pa.DataType) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)


def _data_type(field: pa.Field) -> str:
    """The type of a column, or of the elements of its lists; empty where Croissant has none.

    >>> [_data_type(pa.field("x", type_)) for type_ in (pa.list_(pa.int32()), pa.float32(), pa.struct([]))]
    ['sc:Integer', 'sc:Float', '']
    """
    type_ = field.type.value_type if _is_list(field.type) else field.type
    if field.name in _ADDRESSES:
        return "sc:URL"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "sc:Text"
    if pa.types.is_boolean(type_):
        return "sc:Boolean"
    if pa.types.is_integer(type_):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(type_) else ""
