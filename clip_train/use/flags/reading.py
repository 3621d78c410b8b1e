"""The share of an image that text covers, by an OCR package where one is installed.

In: images. Out: a number from 0 to 1 for each: the area of all pieces of text that could be read. Pieces that a
detector found and no reader could read do not count, nor do single letters: a detector alone takes much for text on
pictures that have none, and a disk is a fine O.

Source: https://github.com/RapidAI/RapidOCR (PP-OCR's detector and reader as ONNX models, which come with the package).
"""

import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from clip_train.extras import import_extra
from clip_train.use.flags.settings import Settings
from clip_train.use.shard_features import ImageMeasure

TEXT_SHARE_KEYS: Final = ("side", "confidence")
_PACKAGE: Final = "rapidocr"
_SIDE: Final = 480  # pixels of the short side that the detector sees: half the time of 736, and letters 14 px high
_CONFIDENCE: Final = 0.8
_MIN_LETTERS: Final = 2


class TextShare(NamedTuple):
    """How text is looked for."""

    side: int
    confidence: float
    readers: threading.local  # one a thread: it keeps what it is at work on

    @property
    def measure(self) -> ImageMeasure:
        """What is measured of each image."""
        return ImageMeasure(self._share_of)

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its numbers."""
        return {"package": f"{_PACKAGE} {version(_PACKAGE)}", "side": self.side, "confidence": self.confidence}

    def _share_of(self, image: Image.Image) -> float:
        if not hasattr(self.readers, "read"):
            self.readers.read = _make_reader(self.side)
        pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # it takes BGR
        found = self.readers.read(pixels, use_cls=False, text_score=self.confidence)
        pieces = [] if found.boxes is None else zip(np.asarray(found.boxes).tolist(), found.txts, strict=True)
        return covered_share([box for box, text in pieces if len(text.strip()) >= _MIN_LETTERS], image.size)


def parse_text_share(settings: Settings) -> TextShare:
    """How text is looked for, from ``side=PIXELS`` and ``confidence=X``.

    Raises:
        InputError: For other values, or when the package is not installed.
    """
    import_extra("rapidocr", extra="ocr", needed_for="text-share")
    side = int(settings.number("side", _SIDE, minimum=32, maximum=4096))
    return TextShare(side, settings.number("confidence", _CONFIDENCE, minimum=0, maximum=1), threading.local())


def covered_share(shapes: list[list[list[float]]], size: tuple[int, int]) -> float:
    """The share of a picture that some polygons cover, counted in pixels.

    Args:
        shapes: Each a list of corners, x and y in pixels.
        size: Width and height.

    >>> covered_share([[[0, 0], [4, 0], [4, 9], [0, 9]], [[0, 0], [4, 0], [4, 4], [0, 4]]], (10, 10))
    0.5
    """
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for shape in shapes:
        draw.polygon([(x, y) for x, y in shape], fill=1)
    return float(np.asarray(mask).mean())


def _make_reader(side: int) -> Any:
    """A reader in one thread; the models of its package, and no others."""
    rapidocr = import_extra("rapidocr", extra="ocr", needed_for="text-share")
    one_thread = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    asked = {"Global.use_cls": False, "Global.log_level": "critical", "Det.limit_type": "min"}
    return rapidocr.RapidOCR(params={**one_thread, **asked, "Det.limit_side_len": side})
