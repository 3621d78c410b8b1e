"""Texts that only name a file or give an address, as many alts do.

In: a column of texts. Out: which of them are such names: one or several names of files with a suffix, of one word each;
names that cameras, telephones and screenshots give, hexadecimal digits and UUIDs, also without a suffix; addresses. A
name of several words ("A cat.jpg") describes its image and is none.
Source: alts of real pages and of LAION-400M; the file names of cameras (DCF, JEITA CP-3461).
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

# Patterns of RE2, whatever the case.
_SUFFIX: Final = (
    r"\.(?:jpe?g|jpe|jfif|png|gif|webp|avif|heic|heif|jxl|bmp|tiff?|svgz?|ico|psd|eps|cr2|nef|dng|pdf|mp4|mov|avi|webm|"
    r"html?|php|aspx?|ashx)(?:[?#]\S*)?"
)
_LETTER: Final = r"[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # of spaced scripts
_ADDRESS: Final = (
    r"(?:https?:/\S+|(?:ftp|file|blob|data):[/\w]\S+|//[\w-]+\.\S+|www\.\S+\.\S+|"
    rf"https?://\S.*{_SUFFIX})"
)
_CAMERA: Final = (
    r"(?:(?:img|imgp|imag|cimg|dsc[nfi]?|pict|hpim|mvi|mvimg|vid|gopr|pxl)[-_ ]?\d{3,}|(?:_mg|sam|dji|sdc|wp)_\d{4,}|"
    r"_dsc\d{4}|p10\d{5}|(?:image|photo|picture|pic|foto|bild|scan|unnamed|untitled|screenshot)[-_]?\d{3,})"
    r"[a-z]?(?:[-_ ~.]?(?:\d+|wa\d+|copy|edit|edited|scaled|small|large|web|\d+x\d+|burst\S*|\(\d+\))|"
    r"[-_~.][a-z]{1,2})*"
)
_SCREENSHOT: Final = (
    r"(?:screen ?shot|whatsapp image|bildschirmfoto)[-_ ]\d{4}-\d\d-\d\d"
    r"(?: (?:at|um|a las) [\d.:]+)?(?: ?[ap]m)?(?: \(\d+\))?"
)
_HEXADECIMAL: Final = r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,})(?:[-_]\w{1,12})*"
_NAME: Final = rf"(?:{_ADDRESS}|{_LETTER}+{_SUFFIX}|(?:{_CAMERA}|{_SCREENSHOT}|{_HEXADECIMAL})(?:{_SUFFIX})?)"
# Arrow compiles it for each column: the name stands in it once.
_FILE_NAMES: Final = rf"(?i)^[\s\pP]*(?:[a-z]{{2,12}}: ?)?(?:{_NAME}(?:[\s\pP]+|$))+$"


def are_file_names(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Which texts are names of files or addresses, and nothing more.

    >>> are_file_names(pa.array(["IMG_1234.jpg", "A cat.jpg", "https://a.example/"])).to_pylist()
    [True, False, True]
    """
    return pc.match_substring_regex(texts, _FILE_NAMES)
