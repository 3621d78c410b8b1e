"""What decoding a file will take, told from its header, and a gate that keeps all decoders of a process within bounds.

In: the header and the parts of a file. Out: bytes of memory at the peak, or the reason to leave it alone. A small file
may ask for a lot: a flat PNG picture of 95 kB unfolds to 100 million bytes and more; every scan of a progressive JPEG
goes over the whole picture, whatever it brings. There is no deadline: a decoder in a thread cannot be stopped, and what
is let in ends by itself - in a second, or three where a JPEG file has all the scans that it may have.
Source: peaks of the process's memory over its memory before, measured on flat pictures of 16 megapixels, for each
decoder of Pillow 12.3 and libjpeg-turbo 3.1.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from pipeline.base.drops import DropReason
from pipeline.pixels.file_parts import FileParts
from pipeline.pixels.image_headers import Size

MAX_SCAN_PIXELS: Final = 600_000_000  # scans x pixels of a JPEG file: some three seconds; 50 megapixels in 12 scans
MAX_RUN_CODED_BYTES: Final = 1 << 20  # of a BMP file of runs, which Pillow decodes in Python
MAX_RUN_CODED_PIXELS: Final = 4_000_000
_RGB_BYTES: Final = 3
_ENCODER_BYTES: Final = 7.0  # a pixel of the result: itself and what an encoder holds
_BYTES_A_PIXEL: Final = {  # at the decoder's peak, the RGB or gray picture made of it included
    "image/png": 8.5,
    "image/webp": 17.0,
    "image/gif": 6.0,
    "image/avif": 18.0,
    "image/bmp": 8.5,
}
_PILLOW_JPEG_BYTES: Final = 8.5  # where Pillow decodes it
_GRAY_PNG_BYTES: Final = 5.0  # of palettes too, and of 16 bits
_PNG_COLOURS_PLACE: Final = 25  # of the byte that says whether a pixel has colours and transparency of its own
_GRAY_PNG: Final = frozenset({0, 3})
_COPIES: Final = 3  # of the file


def decoding_bytes(mime: str, size: Size, *, reduced: Size | None, parts: FileParts) -> int:
    """Bytes that are held at the peak of decoding a file.

    Args:
        mime: Its type.
        size: Of its picture.
        reduced: Size that the decoder makes of it, if the strict decoder takes it; else None.
        parts: What is known of its structure.
    """
    pixels, copies = size.width * size.height, _COPIES * len(parts.picture)
    if mime == "image/jpeg":
        decoded = reduced.width * reduced.height * 2 * _RGB_BYTES if reduced else pixels * _PILLOW_JPEG_BYTES
        return round(pixels * parts.bytes_a_pixel + decoded) + copies
    if mime == "image/png" and parts.picture[_PNG_COLOURS_PLACE] in _GRAY_PNG:
        return round(pixels * _GRAY_PNG_BYTES) + copies
    return round(pixels * _BYTES_A_PIXEL[mime]) + copies


def encoding_bytes(size: Size) -> int:
    """Bytes that are held when a picture of a size is encoded."""
    return round(size.width * size.height * _ENCODER_BYTES)


def find_excess(size: Size, parts: FileParts) -> DropReason | None:
    """`DropReason.TOO_COSTLY` for a JPEG file of more scans than its picture can need."""
    too_many = parts.num_scans * size.width * size.height > MAX_SCAN_PIXELS
    return DropReason.TOO_COSTLY if too_many else None


class MemoryGate:
    """Lets decoders in, first come, first served, as long as what they hold together is within a limit."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def holding(self, num_bytes: int, *, limit: int) -> Iterator[None]:
        """Waits until a number of bytes may be held, and holds them.

        Args:
            num_bytes: To be held; at most the limit, or it waits until nobody else holds any.
            limit: For all together.
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(
                lambda: self._waiting[0] is ticket and (self._held == 0 or self._held + num_bytes <= limit)
            )
            self._waiting.popleft()
            self._held += num_bytes
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify_all()
