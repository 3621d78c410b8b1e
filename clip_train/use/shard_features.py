"""The samples of one shard ► their features, and what they are called.

In: a model, a shard. Out: `ShardFeatures`: a row for every sample that has what is asked for. A sample whose image
cannot be decoded, or that has no text where texts are asked for, is left out and counted.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import torch
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


class EncodeOptions(NamedTuple):
    """How samples are encoded."""

    kinds: Sequence[Kind] = (IMAGES, TEXTS)
    batch_size: int = 256


class ShardFeatures(NamedTuple):
    """The samples of a shard that have what was asked for, in the order of the shard."""

    keys: list[str]
    urls: list[str | None]  # what their JSON says under "url"
    texts: list[str | None]
    features: Mapping[Kind, Tensor]  # for each kind asked for: [samples, dim] float32, unit norm, on the CPU
    drops: Mapping[str, int]  # samples by reason


class _Sample(NamedTuple):
    key: str
    url: str | None
    text: str | None
    pixels: Tensor | None  # [3, side, side] uint8; None where images are not asked for
    refusal: str  # why it is left out, or empty


@torch.inference_mode()
def encode_shard(model: Clip, reader: ShardReader, shard: int, options: EncodeOptions) -> ShardFeatures:
    """Encodes the samples of a shard, in the model's precision; texts that are too long are cut.

    Args:
        model: A model with its tokenizer.
        reader: The shards.
        shard: Which of them.
        options: What is encoded, and how.

    Raises:
        InputError: When the shard cannot be read.
    """
    kept: list[_Sample] = []
    drops: Counter[str] = Counter()
    features = {kind: [torch.empty(0, model.config.embed_dim)] for kind in options.kinds}
    for batch in batched(_read_samples(reader, shard, model.config.image.image_size, options), options.batch_size):
        usable = [sample for sample in batch if not sample.refusal]
        drops.update(sample.refusal for sample in batch if sample.refusal)
        kept += [sample._replace(pixels=None) for sample in usable]
        if IMAGES in features and usable:
            pixels = torch.stack([sample.pixels for sample in usable if sample.pixels is not None])
            encoded = model.encode_image(normalize_pixels(pixels.to(model.device)))
            features[IMAGES].append(normalize(encoded.float(), dim=-1).cpu())
        if TEXTS in features and usable:
            texts = [sample.text for sample in usable if sample.text is not None]
            features[TEXTS].append(encode_texts(model, texts, truncate=True).cpu())
    return ShardFeatures(
        keys=[sample.key for sample in kept],
        urls=[sample.url for sample in kept],
        texts=[sample.text for sample in kept],
        features={kind: torch.cat(rows) for kind, rows in features.items()},
        drops=dict(drops),
    )


def _read_samples(reader: ShardReader, shard: int, side: int, options: EncodeOptions) -> Iterator[_Sample]:
    preprocess = Preprocess(side)

    def read(sample: int) -> _Sample:
        spans = reader.spans(shard, sample)
        text = reader.text(shard, sample) if spans.text else None
        read = _Sample(spans.key, _read_url(reader, shard, spans), text, pixels=None, refusal="")
        if TEXTS in options.kinds and text is None:
            return read._replace(refusal=NO_TEXT)
        if IMAGES not in options.kinds:
            return read
        try:
            return read._replace(pixels=preprocess.pixels(decode_image(reader.image(shard, sample))))
        except InputError:
            return read._replace(refusal=UNREADABLE_IMAGE)

    num_samples = reader.shards[shard].num_samples
    if num_samples:
        reader.spans(shard, 0)  # opens the tar here, not in several threads at once
    yield from map_ahead(read, range(num_samples))


def _read_url(reader: ShardReader, shard: int, spans: SampleSpans) -> str | None:
    if spans.json is None:
        return None
    try:
        values = json.loads(reader.read(shard, spans.json))
    except ValueError:
        return None
    url = values.get("url") if isinstance(values, dict) else None
    return url if isinstance(url, str) else None
