"""JSON-LD ► the images it describes.

In: the texts of a page's JSON-LD scripts. Out: an image and its text for each ImageObject that has one.
Source: schema.org ImageObject.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from pipeline.extraction.page_metadata import Find, says_something

_JSON_LD_NODES: Final = 10_000


def find_json_ld(scripts: Iterable[str]) -> Iterator[Find]:
    """The ImageObjects of a page's JSON-LD that carry a caption."""
    for text in scripts:
        if "ImageObject" not in text:
            continue
        try:
            todo: list[Any] = [msgspec.json.decode(text.strip().encode())]
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            continue
        for _ in range(_JSON_LD_NODES):
            if not todo:
                break
            node = todo.pop()
            if isinstance(node, list):
                todo += reversed(node)
            elif isinstance(node, dict):
                todo += reversed(list(node.values()))
                if "ImageObject" in (node.get("@type") or ()):
                    yield from _image_object(node)


def _image_object(node: dict[str, Any]) -> Iterator[Find]:
    reference = node.get("contentUrl") or node.get("url")
    text = next((node[key] for key in ("caption", "description", "name") if isinstance(node.get(key), str)), "")
    if isinstance(reference, str) and says_something(text):
        yield Find(reference, text, "json-ld")
