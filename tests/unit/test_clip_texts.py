"""Samples with several texts: which one training reads."""

import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from clip_train.data.order import EpochOrder
from clip_train.data.shards import ShardReader, list_shards
from clip_train.presets import find_preset
from clip_train.training.distributed import Ranks
from clip_train.training.loader import BatchDataset

SAMPLES = [
    ("a", "one", {"texts": ["one", "two", "three"]}),
    ("b", "four", {"texts": ["four"]}),
    ("c", "five", {}),
    ("d", "six", None),
    ("e", "seven", {"texts": "no list"}),
    ("f", "eight", "no object"),
]
WORDS = {
    text: number for number, text in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight"], 1)
}


class Words:
    """A tokenizer of one id a text."""

    pad_id = 0

    def tokenize(self, texts, length, *, truncate):
        ids = torch.zeros(len(texts), length, dtype=torch.int32)
        ids[:, 0] = torch.tensor([WORDS[text] for text in texts])
        return ids


@pytest.fixture
def shards(tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(image, "png")
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for key, text, described in SAMPLES:
            members = [("png", image.getvalue()), ("txt", text.encode())]
            members += [("json", json.dumps(described).encode())] if described is not None else []
            for suffix, content in members:
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return list_shards([str(tmp_path)])


def read_epochs(shards, number, *, text_seed, keep_decoded=False):
    """The ids of each epoch, sorted."""
    dataset = BatchDataset(
        ShardReader(shards),
        EpochOrder([len(SAMPLES)], seed=0, shuffle_shards=1),
        tokenizer=Words(),
        model=find_preset("ViT-B/32").model,
        batch_size=len(SAMPLES),
        ranks=Ranks(),
        crop_seed=None,
        keep_decoded=keep_decoded,
        text_seed=text_seed,
    )
    return [sorted(dataset[step].ids[:, 0].tolist()) for step in range(number)]


def test_the_first_text_is_read_unless_another_is_asked_for(shards):
    assert read_epochs(shards, 3, text_seed=None) == [[1, 4, 5, 6, 7, 8]] * 3


@pytest.mark.parametrize("keep_decoded", [False, True])
def test_a_random_text_is_drawn_anew_each_epoch_and_the_same_in_every_run(shards, keep_decoded):
    epochs = read_epochs(shards, 12, text_seed=5, keep_decoded=keep_decoded)
    assert {epoch[0] for epoch in epochs} == {1, 2, 3}
    assert all(epoch[1:] == [4, 5, 6, 7, 8] for epoch in epochs)
    assert read_epochs(shards, 12, text_seed=5) == epochs
    assert read_epochs(shards, 12, text_seed=6) != epochs
