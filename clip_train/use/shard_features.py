"""The samples of one shard ► their features, what else is measured of them, and what they are called.

In: a model, if features are asked for; a shard. Out: `ShardFeatures`: a row for every sample that has what is asked
for. A sample whose image cannot be decoded, or that has no text where texts are asked for, is left out and counted.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from clip_train.data.decode import Preprocess, decode_image, normalize_pixels
from clip_train.data.shards import ShardReader
from clip_train.data.tars import SampleSpans
from clip_train.errors import InputError
from clip_train.models.clip import Clip
from clip_train.use.features import batched, encode_texts, map_ahead

Kind = Literal["images", "texts"]
IMAGES: Final = "images"
TEXTS: Final = "texts"
UNREADABLE_IMAGE, NO_TEXT = "unreadable_image", "no_text"


class ImageMeasure(NamedTuple):
    """What is measured of each image."""

    of: Callable[[Image.Image], Any]  # takes an RGB image; called in several threads


class TextMeasure(NamedTuple):
    """What is measured of each text."""

    of: Callable[[str], Any]  # called in several threads


class EncodeOptions(NamedTuple):
    """How samples are encoded, and what else is measured."""

    kinds: Sequence[Kind] = (IMAGES, TEXTS)
    batch_size: int = 256
    measures: Sequence[ImageMeasure | TextMeasure] = ()

    @property
    def needs_images(self) -> bool:
        """Whether images are decoded."""
        return IMAGES in self.kinds or any(isinstance(measure, ImageMeasure) for measure in self.measures)

    @property
    def needs_texts(self) -> bool:
        """Whether a sample without text is left out."""
        return TEXTS in self.kinds or any(isinstance(measure, TextMeasure) for measure in self.measures)


class ShardFeatures(NamedTuple):
    """The samples of a shard that have what was asked for, in the order of the shard."""

    keys: list[str]
    urls: list[str | None]  # what their JSON says under "url"
    texts: list[str | None]
    features: Mapping[Kind, Tensor]  # for each kind asked for: [samples, dim] float32, unit norm, on the CPU
    drops: Mapping[str, int]  # samples by reason
    image_norms: Tensor = torch.empty(0)  # [samples] float32: of the features of images before they were normalised
    measured: Sequence[Sequence[Any]] = ()  # for each measure: [samples]


class _Sample(NamedTuple):
    key: str
    url: str | None
    text: str | None
    pixels: Tensor | None  # [3, side, side] uint8; None where features of images are not asked for
    refusal: str  # why it is left out, or empty
    measured: Sequence[Any] = ()  # for each measure


@torch.inference_mode()
def encode_shard(model: Clip | None, reader: ShardReader, shard: int, options: EncodeOptions) -> ShardFeatures:
    """Encodes and measures the samples of a shard, each read once, in the model's precision; long texts are cut.

    Args:
        model: A model with its tokenizer; None where no features are asked for.
        reader: The shards.
        shard: Which of them.
        options: What is encoded, and how.

    Raises:
        InputError: When the shard cannot be read.
    """
    kept: list[_Sample] = []
    drops: Counter[str] = Counter()
    features: list[_Features] = []
    preprocess = Preprocess(model.config.image.image_size) if model and IMAGES in options.kinds else None
    for batch in batched(_read_samples(reader, shard, preprocess, options), options.batch_size):
        usable = [sample for sample in batch if not sample.refusal]
        drops.update(sample.refusal for sample in batch if sample.refusal)
        kept += [sample._replace(pixels=None) for sample in usable]
        if model and usable:
            features.append(_encode_samples(model, usable, options))
    empty = torch.empty(0, model.config.embed_dim if model else 0)
    return ShardFeatures(
        keys=[sample.key for sample in kept],
        urls=[sample.url for sample in kept],
        texts=[sample.text for sample in kept],
        features={kind: torch.cat([empty, *(one.rows[kind] for one in features)]) for kind in options.kinds},
        drops=dict(drops),
        image_norms=torch.cat([torch.empty(0), *(one.image_norms for one in features)]),
        measured=[[sample.measured[place] for sample in kept] for place in range(len(options.measures))],
    )


class _Features(NamedTuple):
    rows: Mapping[Kind, Tensor]  # unit norm
    image_norms: Tensor


def _encode_samples(model: Clip, samples: Sequence[_Sample], options: EncodeOptions) -> _Features:
    rows: dict[Kind, Tensor] = {}
    image_norms = torch.empty(0)
    if IMAGES in options.kinds:
        pixels = torch.stack([sample.pixels for sample in samples if sample.pixels is not None])
        encoded = model.encode_image(normalize_pixels(pixels.to(model.device))).float()
        rows[IMAGES] = normalize(encoded, dim=-1).cpu()
        image_norms = encoded.norm(dim=-1).cpu()
    if TEXTS in options.kinds:
        texts = [sample.text for sample in samples if sample.text is not None]
        rows[TEXTS] = encode_texts(model, texts, truncate=True).cpu()
    return _Features(rows, image_norms)


def _read_samples(
    reader: ShardReader, shard: int, preprocess: Preprocess | None, options: EncodeOptions
) -> Iterator[_Sample]:
    def read(sample: int) -> _Sample:
        spans = reader.spans(shard, sample)
        text = reader.text(shard, sample) if spans.text else None
        read = _Sample(spans.key, _read_url(reader, shard, spans), text, pixels=None, refusal="")
        if options.needs_texts and text is None:
            return read._replace(refusal=NO_TEXT)
        image = None
        if options.needs_images:
            try:
                image = decode_image(reader.image(shard, sample))
            except InputError:
                return read._replace(refusal=UNREADABLE_IMAGE)
        measured = [_measure(measure, image, text) for measure in options.measures]
        return read._replace(pixels=preprocess.pixels(image) if preprocess and image else None, measured=measured)

    num_samples = reader.shards[shard].num_samples
    if num_samples:
        reader.spans(shard, 0)  # opens the tar here, not in several threads at once
    yield from map_ahead(read, range(num_samples))


def _measure(measure: ImageMeasure | TextMeasure, image: Image.Image | None, text: str | None) -> Any:
    if isinstance(measure, ImageMeasure):
        assert image is not None
        return measure.of(image)
    return measure.of(text or "")


def _read_url(reader: ShardReader, shard: int, spans: SampleSpans) -> str | None:
    if spans.json is None:
        return None
    try:
        values = json.loads(reader.read(shard, spans.json))
    except ValueError:
        return None
    url = values.get("url") if isinstance(values, dict) else None
    return url if isinstance(url, str) else None
