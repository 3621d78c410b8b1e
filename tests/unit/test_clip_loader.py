"""Batches: every sample once, whatever reads it, and what happens to samples that cannot be read."""

import io
import json
import os
import re
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from clip_train.data import cache
from clip_train.data.order import EpochOrder, MixedOrder
from clip_train.data.shards import ShardReader, list_sets, list_shards
from clip_train.errors import DataError
from clip_train.presets import find_preset
from clip_train.training import loader
from clip_train.training.distributed import Ranks
from clip_train.training.loader import Batch, BatchDataset, join_pieces, load_batches, run_ahead
from clip_train.training.unreadable import UnreadableCount

MODEL = find_preset("tiny-32").model
CPU = torch.device("cpu")


class Numbers:
    """A tokenizer of texts that are numbers: start, the number, end; an empty text has none."""

    pad_id = 0

    def tokenize(self, texts, length, *, truncate):
        ids = torch.zeros(len(texts), length, dtype=torch.int32)
        for row, text in zip(ids, texts, strict=True):
            found = torch.tensor([1, int(text) + 2, 2_000] if text else [1, 2_000])
            row[: len(found)] = found
        return ids


def png(size=(32, 32), colour="red"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def add(tar, key, members):
    for suffix, content in members.items():
        info = tarfile.TarInfo(f"{key}.{suffix}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def write_shards(folder, sizes, broken=()):
    """Shards whose samples are numbered through, in colours of their number; some without an image, or a text."""
    folder.mkdir(exist_ok=True)
    number = 0
    for shard, size in enumerate(sizes):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for _ in range(size):
                members = {"png": png(colour=(number, 0, 0)), "txt": str(number).encode()}
                if number in broken:
                    members["png" if number % 2 else "txt"] = b" "
                add(tar, f"{number:06d}", members)
                number += 1
    (folder / "sizes.json").write_text(json.dumps({f"{s:05d}.tar": size for s, size in enumerate(sizes)}))
    return folder


def dataset_of(paths, *, batch_size, ranks=None, order=None, keep_decoded=False, crop_seed=0, shuffle_shards=2):
    shards = list_shards([str(path) for path in paths], lenient=True)
    sizes = [shard.num_samples for shard in shards]
    return BatchDataset(
        ShardReader(shards, max_open=3, lenient=True),
        order or EpochOrder(sizes, seed=3, shuffle_shards=shuffle_shards),
        tokenizer=Numbers(),
        model=MODEL,
        batch_size=batch_size,
        ranks=ranks or Ranks(),
        crop_seed=crop_seed,
        keep_decoded=keep_decoded,
    )


def numbers(batch):
    """The samples of a batch by their texts, which must be those of their images."""
    found = (batch.ids[:, 1] - 2)[batch.readable].tolist()
    assert found == batch.images[:, 0, 0, 0][batch.readable].tolist()
    return found


def num_unreadable(batch):
    return int((~batch.readable).sum())


@pytest.mark.parametrize(
    ("world_size", "workers", "sizes"),
    [
        (1, 0, [5, 7, 12]),
        (1, 3, [24]),
        (2, 2, [8, 8, 8]),
        (4, 1, [1, 1, 1, 21]),
        (2, 3, [0, 24]),
        (3, 2, [11, 13]),
    ],
    ids=str,
)
def test_every_sample_comes_once_an_epoch_over_ranks_and_workers(tmp_path, world_size, workers, sizes):
    folder = write_shards(tmp_path / "shards", sizes)
    for epoch in range(2):
        seen = Counter()
        for rank in range(world_size):
            dataset = dataset_of([folder], batch_size=12, ranks=Ranks(rank, world_size))
            for batch in load_batches(dataset, range(2 * epoch, 2 * epoch + 2), workers=workers, device=CPU):
                assert len(batch.ids) == 12 // world_size
                seen.update(numbers(batch))
        assert seen == Counter(range(24))


@pytest.mark.parametrize(("workers", "piece_pairs"), [(0, 1), (0, 7), (0, 100), (2, 5)])
def test_a_batch_is_the_same_in_any_pieces_and_from_any_start(tmp_path, monkeypatch, workers, piece_pairs):
    folder = write_shards(tmp_path / "shards", [20, 13], broken=(3, 8))
    whole = [dataset_of([folder], batch_size=11)[step] for step in range(5)]
    monkeypatch.setattr(loader, "PIECE_PAIRS", piece_pairs)
    dataset = dataset_of([folder], batch_size=11)
    for first in (0, 3):
        for made, expected in zip(
            load_batches(dataset, range(first, 5), workers=workers, device=CPU), whole[first:], strict=True
        ):
            assert all(torch.equal(one, other) for one, other in zip(made[:3], expected[:3], strict=True))
            assert bool(made.problem) == bool(num_unreadable(made))


def test_pieces_are_bounded_and_of_one_size(tmp_path):
    dataset = dataset_of([write_shards(tmp_path / "shards", [4])], batch_size=32_768, ranks=Ranks(1, 4))
    pieces = list(dataset.pieces(range(7, 9)))
    assert [piece.step for piece in pieces] == [7] * 32 + [8] * 32
    assert {piece.stop - piece.start for piece in pieces} == {loader.PIECE_PAIRS}
    odd = dataset_of([tmp_path / "shards"], batch_size=600)
    assert [piece.stop - piece.start for piece in odd.pieces(range(1))] == [200, 200, 200]


@pytest.mark.parametrize("keep_decoded", [False, True])
def test_what_cannot_be_read_keeps_its_place_and_no_other_sample_comes_twice(tmp_path, keep_decoded):
    folder = write_shards(tmp_path / "shards", [10, 14], broken=(3, 8, 20))
    dataset = dataset_of([folder], batch_size=8, keep_decoded=keep_decoded)
    for epoch in range(2):
        batches = [dataset[step] for step in range(3 * epoch, 3 * epoch + 3)]
        assert sum(num_unreadable(batch) for batch in batches) == 3
        assert Counter(n for batch in batches for n in numbers(batch)) == Counter(set(range(24)) - {3, 8, 20})
        for batch in batches:
            assert not batch.images[~batch.readable].any()
            assert (batch.ids[~batch.readable][:, :3] == torch.tensor([1, 2_000, 0])).all()
            if num_unreadable(batch):
                assert re.search(r"0000[01]\.tar: sample 0000\d\d(: not a readable image| has no text)", batch.problem)


SAMPLE_BYTES = 2_048  # of each sample that `write_shards` writes
DAMAGES = {
    "cut in a sample": (lambda content: content[: 5 * SAMPLE_BYTES + 700], 5),
    "cut between samples": (lambda content: content[: 5 * SAMPLE_BYTES], 5),
    "cut to nothing": (lambda content: b"", 10),
    "no tar": (lambda content: b"this is no tar\n" * 2_000, 10),
    "a header overwritten": (lambda content: content[:8192] + b"?" * 512 + content[8704:], 6),
    "an image overwritten": (lambda content: content[:8704] + b"?" * 100 + content[8804:], 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tar_costs_what_is_lost_of_it_and_no_more(tmp_path, damage):
    change, lost = DAMAGES[damage]
    folder = write_shards(tmp_path / "shards", [10, 10])
    path = folder / "00001.tar"
    path.write_bytes(change(path.read_bytes()))
    dataset = dataset_of([folder], batch_size=20)
    batch = dataset[0]
    assert num_unreadable(batch) == lost
    seen = numbers(batch)
    assert set(range(10)) <= set(seen) and len(set(seen)) == len(seen) == 20 - num_unreadable(batch)


def test_a_shard_that_is_gone_while_a_run_goes_on_is_counted(tmp_path):
    folder = write_shards(tmp_path / "shards", [10, 10])
    dataset = dataset_of([folder], batch_size=20)
    os.unlink(folder / "00000.tar")
    assert numbers(dataset[0]) and num_unreadable(dataset[0]) == 10


def test_a_cut_tar_without_sizes_counts_with_what_is_left(tmp_path):
    folder = write_shards(tmp_path / "shards", [10, 10])
    (folder / "sizes.json").unlink()
    path = folder / "00001.tar"
    path.write_bytes(path.read_bytes()[:8_000])
    shards = list_shards([str(folder)], lenient=True)
    assert shards[0].num_samples == 10 and 1 < shards[1].num_samples < 10


def test_long_images_are_seen_the_same_with_and_without_keeping_decoded_ones(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number, size in enumerate([(40, 32), (1, 3000), (64, 40), (300, 33)]):
            pixels = np.random.default_rng(number).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            add(tar, str(number), {"png": file.getvalue(), "txt": b"1"})
    decoded, kept = (dataset_of([tmp_path], batch_size=4, keep_decoded=keep) for keep in (False, True))
    for step in (0, 1, 0):
        assert torch.equal(decoded[step].images, kept[step].images)
    assert not torch.equal(decoded[0].images, decoded[1].images)


def test_each_tar_is_gone_through_once_for_all_workers_and_ranks(tmp_path, monkeypatch):
    monkeypatch.setenv("WIT400M_CACHE", str(tmp_path / "cache"))
    calls = tmp_path / "calls"
    calls.write_text("")
    index = cache.index_shard

    def counted(path):
        with calls.open("a") as file:
            file.write(f"{os.path.basename(path)}\n")
        return index(path)

    monkeypatch.setattr(cache, "index_shard", counted)
    folder = write_shards(tmp_path / "shards", [6, 6, 6, 6])
    for rank in range(2):
        dataset = dataset_of([folder], batch_size=8, ranks=Ranks(rank, 2))
        for _ in load_batches(dataset, range(6), workers=2, device=CPU):
            pass
    assert sorted(calls.read_text().split()) == [f"{shard:05d}.tar" for shard in range(4)]


def test_sets_are_mixed_by_weights_and_each_goes_through_its_own_epochs(tmp_path):
    one, two = write_shards(tmp_path / "one", [8]), write_shards(tmp_path / "two", [3, 5])
    sets = list_sets([str(one), str(two)])
    order = MixedOrder([[s.num_samples for s in group] for group in sets], [1, 3], seed=0, shuffle_shards=2)
    shards = [place.shard for place in order.draw(0, 400)]
    assert 0.6 < sum(shard > 0 for shard in shards) / 400 < 0.9
    dataset = dataset_of([one, two], batch_size=16, order=order)
    assert all(batch.readable.all() for batch in (dataset[step] for step in range(3)))


def test_batches_made_ahead_come_in_order_and_errors_with_them():
    def batch(number):
        return Batch(torch.zeros(1, 3, 2, 2), torch.full((1, 1), number), torch.ones(1, dtype=torch.bool), "")

    assert [int(made.ids) for made in run_ahead(batch(n) for n in range(20))] == list(range(20))

    def failing():
        yield batch(0)
        raise DataError("gone")

    made = run_ahead(failing())
    assert int(next(made).ids) == 0
    with pytest.raises(DataError, match="gone"):
        next(made)
    endless = run_ahead(batch(n) for n in iter(int, 1))
    next(endless)
    endless.close()  # ends the thread


def test_pieces_with_texts_of_several_lengths_are_joined():
    def piece(length, pairs):
        return Batch(
            torch.full((pairs, 3, 2, 2), length, dtype=torch.uint8),
            torch.full((pairs, length), length, dtype=torch.int32),
            torch.ones(pairs, dtype=torch.bool),
            "",
        )

    [first, second] = join_pieces([piece(2, 1), piece(4, 2), piece(1, 1), piece(1, 2)], 3, pinned=False)
    assert first.ids.tolist() == [[2, 2, 0, 0], [4, 4, 4, 4], [4, 4, 4, 4]]
    assert first.images[:, 0, 0, 0].tolist() == [2, 4, 4]
    assert second.ids.tolist() == [[1], [1], [1]]


def test_a_run_ends_above_the_share_and_a_resumed_one_counts_on():
    all_read, half_read = torch.ones(100, dtype=torch.bool), torch.arange(100) % 2 == 0
    count = UnreadableCount(0.1, Ranks())
    assert count.add(all_read) is None
    assert torch.equal(count.add(half_read), half_read)
    assert (count.take_new(), count.take_new()) == (50, 0)
    count.add(half_read)
    resumed = UnreadableCount(0.1, Ranks())
    resumed.load_state_dict(count.state_dict())
    assert resumed.take_new() == 0
    for each in (count, resumed):
        with pytest.raises(DataError, match=r"150 of 400 samples .* max-unreadable-share 0\.1 .* x\.tar: broken"):
            each.add(half_read, "x.tar: broken")
    many = UnreadableCount(0.1, Ranks())
    for _ in range(90):
        many.add(all_read)
    for _ in range(20):
        many.add(half_read)
    assert many.state_dict() == {"seen": 11_000, "unreadable": 1_000}
    with pytest.raises(DataError):
        for _ in range(10):
            many.add(half_read)
    with pytest.raises(DataError):
        UnreadableCount(0.0, Ranks()).add(half_read)
