"""The JSON of a WAT record ► the same without links that are no images: most of its bytes.

In: the JSON of a metadata record. Out: JSON for `wat_page.decode_record`, which finds the same in it.

Nothing is parsed here. The pieces of JSON that are looked for are what they seem wherever they stand: no string holds
``{"path":"`` or ``,"Links":``, because inside a string a backslash is before a quote, and no letter stands behind the
quote that ends one.
Source: RFC 8259 7 (strings); commoncrawl/ia-web-commons (the order of keys).
"""

from typing import Final

_LINKS: Final = b'},"Links":['  # behind the object of the page's head
_LINK: Final = b'{"path":"'
_IMAGE: Final = b'"path":"IMG@'


def cut_links(record: bytes) -> bytes:
    """A record without the links that are no images, but for the last one; empty where it is written in another way.

    It is taken for granted that a link holds no other link, that no list of links follows this one, and that there is
    no error in what is left out. Whatever else is wrong with the record is still wrong.
    """
    first = record.find(_LINKS) + len(_LINKS)
    at = record.find(_IMAGE, first)
    if first < len(_LINKS) or at < 0:
        return b""  # another order, or no image
    kept = [record[:first]]
    behind = first
    while at >= 0:
        if not record.startswith(_LINK, at - 1):
            return b""
        behind = record.find(_LINK, at)
        if behind < 0:
            return b"".join([*kept, record[at - 1 :]])
        kept.append(record[at - 1 : behind])
        at = record.find(_IMAGE, behind)
    return b"".join([*kept, record[record.rfind(_LINK) :]])
