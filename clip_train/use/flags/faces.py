"""Faces in images, by a detector that the user has as an ONNX model.

In: a model with one input, a batch of one image, ``[1, 3, height, width]`` or ``[1, height, width, 3]``; images. Out:
for each image its boxes, ``[faces, 5]``: left, top, right, bottom as shares of width and height, and the score; the
best first, none that overlaps a better one by more than is allowed.

What the model gives may have one of two shapes, told apart by themselves:

    boxes [1, N, 4] and scores [1, N, k] or [1, N]   as UltraFace, RetinaFace; a third output (landmarks) is left alone
    rows [1, N, 5 + m] or [1, 5 + m, N]              as YOLO: a box, its score, and m numbers that are left alone; the
                                                     longer axis is that of boxes

What the numbers mean no shape tells: `FORMS` has it for known families of detectors, and each part can be set.

Source: https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (ultraface);
https://github.com/biubug6/Pytorch_Retinaface (retinaface: boxes are told from priors, and how these lie);
https://github.com/ultralytics/ultralytics (yolo).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_train.errors import InputError
from clip_train.extras import import_extra
from clip_train.files import file_digest
from clip_train.use.flags.settings import Settings, parse_settings
from clip_train.use.shard_features import ImageMeasure

Floats = npt.NDArray[np.float32]

CORNERS, CENTRES, PRIORS = "corners", "centres", "priors"  # x1 y1 x2 y2; x y width height; changes of anchors
SHARES, PIXELS = "shares", "pixels"  # of the input's width and height
STRETCH, LETTERBOX = "stretch", "letterbox"  # how an image is fitted to the input
RGB, BGR = "rgb", "bgr"
_GRAY: Final = 114  # around a letterbox
_MOST_CANDIDATES: Final = 5_000
_PRIOR_SIDES: Final = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # pixels between priors: their sides
_VARIANCES: Final = (0.1, 0.2)
_TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Form(NamedTuple):
    """What the numbers that go into a detector and come out of it mean."""

    offset: tuple[float, ...]  # of the input: (pixel - offset) / scale, for each channel or all
    scale: float
    channels: str
    fit: str
    boxes: str
    units: str


FORMS: Final[Mapping[str, Form]] = {
    "ultraface": Form((127,), 128, RGB, STRETCH, CORNERS, SHARES),
    "retinaface": Form((104, 117, 123), 1, BGR, STRETCH, PRIORS, SHARES),
    "yolo": Form((0,), 255, RGB, LETTERBOX, CENTRES, PIXELS),
}
FACES_KEYS: Final = (
    *("form", "offset", "scale", "channels", "fit", "boxes", "units"),
    *("size", "threshold", "overlap", "class"),
)


class Detector(NamedTuple):
    """A face detector, ready to be run in any number of threads.

    Attributes:
        path: Of its model.
        session: Of onnxruntime; it works in the thread that calls it.
        form: What its numbers mean.
        size: Width and height of its input.
        threshold: The lowest score that is a face.
        overlap: The largest share of two boxes' union that they may have in common.
        place: Of the scores of a box the one that says face; None: the last of two, or the only one.
        identity: All that decides its boxes.
    """

    path: str
    session: Any
    form: Form
    size: tuple[int, int]
    threshold: float
    overlap: float
    place: int | None
    identity: Mapping[str, Any]

    @property
    def measure(self) -> ImageMeasure:
        """What is measured of each image."""
        return ImageMeasure(self.find)

    def find(self, image: Image.Image) -> Floats:
        """The faces in an RGB image, ``[faces, 5]``.

        Raises:
            InputError: When the model gives something else than boxes and scores.
        """
        view = fit_image(image, self.size, self.form.fit)
        asked = self.session.get_inputs()[0]
        outputs = self.session.run(None, {asked.name: self._input_of(view.pixels, asked)})
        raw, scores = split_outputs(outputs, where=self.path, place=self.place)
        corners = self._corners(raw)
        boxes = np.column_stack([view.to_shares(corners), scores]).astype(np.float32)
        boxes[:, :4] = boxes[:, :4].clip(0, 1)
        is_one = np.isfinite(boxes).all(axis=1) & (boxes[:, 4] >= self.threshold)
        is_one &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return keep_best(boxes[is_one], self.overlap)

    def _input_of(self, pixels: npt.NDArray[np.uint8], asked: Any) -> npt.NDArray[Any]:
        kind = _TYPES[asked.type]
        values: npt.NDArray[Any] = pixels[:, :, ::-1] if self.form.channels == BGR else pixels
        if kind is not np.uint8:
            values = (values - np.array(self.form.offset, np.float32)) / np.float32(self.form.scale)
        if asked.shape[1] == 3:
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[None], kind)

    def _corners(self, raw: Floats) -> Floats:
        """Boxes as left, top, right, bottom in pixels of the input."""
        width, height = self.size
        if self.form.boxes == PRIORS:
            raw = apply_priors(raw, self.size, where=self.path)
        elif self.form.boxes == CENTRES:
            raw = np.hstack([raw[:, :2] - raw[:, 2:] / 2, raw[:, :2] + raw[:, 2:] / 2])
        return raw * np.array([width, height] * 2, np.float32) if self.form.units == SHARES else raw


def load_detector(text: str) -> Detector:
    """A detector from ``FILE.onnx,KEY=VALUE,…``, tried once on a gray image.

    Raises:
        InputError: When the model cannot be read, or has another input or other outputs than are known here.
    """
    settings = parse_settings(text, FACES_KEYS)
    path = settings.value
    digest = file_digest(path)
    runtime = import_extra("onnxruntime", extra="faces", needed_for="a face detector")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # images are what is taken side by side
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _errors_of(runtime) as error:
        raise InputError(f"{path}: no ONNX model that can be run ({str(error).splitlines()[0]:.200})") from error
    asked = session.get_inputs()
    shapes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in asked)
    if len(asked) != 1 or asked[0].type not in _TYPES or len(asked[0].shape) != 4 or 3 not in asked[0].shape[1::2]:
        raise InputError(f"{path}: one image of three channels should go in, but there goes {shapes}")
    is_rows = len(session.get_outputs()) == 1
    try:
        form, told = _read_form(settings, "yolo" if is_rows else "ultraface")
        size = _read_size(settings, asked[0].shape)
        threshold = settings.number("threshold", 0.5, minimum=0, maximum=1)
        overlap = settings.number("overlap", 0.4, minimum=0, maximum=1)
        place = int(settings.number("class", 0, minimum=0, maximum=10_000)) if "class" in settings.given else None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    identity = {"model": digest, "form": told, "size": list(size), "threshold": threshold, "overlap": overlap}
    detector = Detector(path, session, form, size, threshold, overlap, place, {**identity, "class": place})
    try:
        detector.find(Image.new("RGB", size, (_GRAY, _GRAY, _GRAY)))
    except _errors_of(runtime) as error:
        raise InputError(f"{path}: does not run ({str(error).splitlines()[0]:.200})") from error
    return detector


class View(NamedTuple):
    """An image as a detector sees it."""

    pixels: npt.NDArray[np.uint8]  # [height, width, 3]
    left: float  # of the image, in pixels of the view
    top: float
    width: float
    height: float

    def to_shares(self, corners: Floats) -> Floats:
        """Boxes in pixels of the view as shares of the image: [boxes, 4]."""
        origin, extent = np.array([[self.left, self.top] * 2, [self.width, self.height] * 2], np.float32)
        return (corners - origin) / extent


def fit_image(image: Image.Image, size: tuple[int, int], fit: str) -> View:
    """An image in the size of a detector's input: stretched, or whole with gray bars."""
    width, height = size
    if fit == STRETCH:
        return View(np.asarray(image.resize(size, Image.Resampling.BILINEAR)), 0, 0, width, height)
    factor = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = Image.new("RGB", size, (_GRAY, _GRAY, _GRAY))
    canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), (left, top))
    return View(np.asarray(canvas), left, top, *inner)


def split_outputs(outputs: Sequence[Any], *, where: str, place: int | None) -> tuple[Floats, Floats]:
    """The boxes and the scores among what a model gives.

    Args:
        outputs: Arrays with a first axis of one image.
        where: What errors name.
        place: Of the scores of a box the one that says face; None: the last of two, or the only one.

    Returns:
        [N, 4] and [N].

    Raises:
        InputError: When there are none.
    """
    shapes = ", ".join(str(list(np.shape(output))) for output in outputs)
    flat = [np.asarray(output, np.float32)[0] for output in outputs if np.ndim(output) >= 2 and len(output) == 1]
    if len(outputs) == len(flat) == 1 and flat[0].ndim == 2:
        rows = flat[0] if flat[0].shape[1] < flat[0].shape[0] or flat[0].shape[0] < 5 else flat[0].T
        column = 4 if place is None else 4 + place
        if rows.shape[1] > column:
            return rows[:, :4], rows[:, column]
    boxes = next((one for one in flat if one.ndim == 2 and one.shape[1] == 4), None)
    rest = [one for one in flat if one is not boxes and boxes is not None and len(one) == len(boxes)]
    scores = min((one if one.ndim > 1 else one[:, None] for one in rest), key=lambda one: one.shape[-1], default=None)
    if boxes is None or scores is None or scores.ndim != 2:
        raise InputError(
            f"{where}: out should come boxes [1, N, 4] and scores [1, N, k], or rows [1, N, 5 + m], not {shapes}"
        )
    width = scores.shape[1]
    column = min(1, width - 1) if place is None else place
    if column >= width or (place is None and width > 2):
        raise InputError(f"{where}: {width} scores of each box; set which says face, class=0 to class={width - 1}")
    return boxes, scores[:, column]


def apply_priors(changes: Floats, size: tuple[int, int], *, where: str) -> Floats:
    """Boxes told as changes of RetinaFace's priors, as corners in shares: [N, 4].

    Args:
        changes: ``[N, 4]``: of the centre in sides of the prior, and of the logarithms of the sides.
        size: Width and height of the input.
        where: What errors name.

    Raises:
        InputError: When there are not as many as an input of this size has priors.
    """
    width, height = size
    priors = []
    for step, sides in _PRIOR_SIDES.items():
        rows, columns = np.mgrid[: -(-height // step), : -(-width // step)].astype(np.float32)
        centres = np.stack([(columns + 0.5) * step / width, (rows + 0.5) * step / height], axis=-1)
        each = [np.concatenate([centres, np.broadcast_to([s / width, s / height], centres.shape)], -1) for s in sides]
        priors.append(np.stack(each, axis=2).reshape(-1, 4))
    known = np.concatenate(priors).astype(np.float32)
    if len(known) != len(changes):
        raise InputError(f"{where}: {len(changes)} boxes, but RetinaFace has {len(known)} priors at {width} x {height}")
    centres = known[:, :2] + changes[:, :2] * _VARIANCES[0] * known[:, 2:]
    halves = known[:, 2:] * np.exp(changes[:, 2:].clip(max=50) * _VARIANCES[1]) / 2
    return np.hstack([centres - halves, centres + halves])


def keep_best(boxes: Floats, overlap: float) -> Floats:
    """The boxes without those that overlap a better one, best first.

    Args:
        boxes: ``[N, 5]``, scores last.
        overlap: The largest share of two boxes' union that they may have in common.
    """
    left = boxes[np.argsort(-boxes[:, 4], kind="stable")][:_MOST_CANDIDATES]
    areas = (left[:, 2] - left[:, 0]) * (left[:, 3] - left[:, 1])
    kept = []
    while len(left):
        best = left[0]
        kept.append(best)
        inner = (np.minimum(best[2:4], left[:, 2:4]) - np.maximum(best[:2], left[:, :2])).clip(0).prod(axis=1)
        apart = inner <= overlap * (areas[0] + areas - inner)
        apart[0] = False
        left, areas = left[apart], areas[apart]
    return np.array(kept, np.float32).reshape(-1, 5)


def _errors_of(runtime: Any) -> tuple[type[Exception], ...]:
    """What onnxruntime raises: classes of its own without a common one."""
    state = runtime.capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


def _read_form(settings: Settings, default: str) -> tuple[Form, Mapping[str, Any]]:
    form = FORMS[settings.choice("form", tuple(FORMS), default)]
    offset = form.offset
    if "offset" in settings.given:
        offset = (settings.number("offset", 0, minimum=-1e6, maximum=1e6),)
    form = Form(
        offset,
        settings.number("scale", form.scale, minimum=1e-6, maximum=1e6),
        settings.choice("channels", (RGB, BGR), form.channels),
        settings.choice("fit", (STRETCH, LETTERBOX), form.fit),
        settings.choice("boxes", (CORNERS, CENTRES, PRIORS), form.boxes),
        settings.choice("units", (SHARES, PIXELS), form.units),
    )
    return form, {**form._asdict(), "offset": list(form.offset)}


def _read_size(settings: Settings, shape: Sequence[Any]) -> tuple[int, int]:
    """Width and height of the input: as the model fixes them, or as they are set."""
    height, width = shape[2:] if shape[1] == 3 else shape[1:3]
    fixed = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    if "size" not in settings.given:
        if fixed is None:
            raise InputError(f"an input of any size {list(shape)}: set size=WIDTHxHEIGHT")
        return fixed
    given = settings.given["size"].split("x")
    if len(given) != 2 or not all(part.isdecimal() and 0 < int(part) <= 8192 for part in given):
        raise InputError(f"size must be WIDTHxHEIGHT in pixels, not {settings.given['size']!r}")
    size = (int(given[0]), int(given[1]))
    if fixed not in (None, size):
        raise InputError(f"size={settings.given['size']}, but the model takes {fixed[0]}x{fixed[1]}")
    return size
