"""What an image file is made of: pieces that a picture needs, pieces that tell about it, and what follows its end.

Each format has a module that reads a file into `FileParts` without decoding (`jpeg`, `chunked`, `boxes`), with which
metadata are left out of kept bytes, the decoder is given no more than it needs, and a decoder's memory and work are
foreseen (`costs`).
"""

from typing import Final, NamedTuple

ORIENTATION_TAG: Final = 0x0112
UPRIGHT: Final = 1


class FileParts(NamedTuple):
    """A file that is whole as far as its structure tells."""

    picture: bytes  # the file with no more than its (first) picture
    kept: bytes  # the file without metadata and tail, all frames in it
    icc: bytes = b""  # the colour profile; empty without
    exif: bytes = b""  # a TIFF structure; empty without
    num_frames: int = 1  # 2 stands for more than one
    num_scans: int = 1  # of a JPEG file
    num_components: int = 3  # of a JPEG file: 1 gray, 3 colours, 4 inks
    extent: tuple[int, int] = (0, 0)  # pixels across and down that a GIF file's first frame reaches to
    bytes_a_pixel: float = 0.0  # of what the decoder holds beside the picture


def minimal_exif(orientation: int) -> bytes:
    """A TIFF structure that holds an orientation and nothing else.

    >>> len(minimal_exif(6))
    26
    """
    entry = ORIENTATION_TAG.to_bytes(2, "big") + b"\0\3\0\0\0\1" + orientation.to_bytes(2, "big") + b"\0\0"
    return b"MM\0*\0\0\0\x08" + b"\0\1" + entry + b"\0\0\0\0"
