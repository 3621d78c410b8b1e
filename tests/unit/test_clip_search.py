"""Features as files and the search among them: the same best rows as all cosines at once would give."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clip_train.data.shards import Shard
from clip_train.errors import InputError
from clip_train.training.distributed import Ranks
from clip_train.use.output_folder import STARTED_NAME, OutputFolder
from clip_train.use.search import faiss_index, feature_files
from clip_train.use.search.exact import search_exact
from clip_train.use.search.feature_files import (
    FEATURES_NAME,
    FeatureTables,
    table_path,
    write_features,
)
from clip_train.use.shard_features import IMAGES, TEXTS, ShardFeatures

SIZES = (70, 0, 45, 1)
DIM = 8


def random_features(name, num_rows):
    generator = torch.Generator().manual_seed(int(name))
    return ShardFeatures(
        keys=[f"{name}-{row}" for row in range(num_rows)],
        urls=[None if row % 2 else f"http://a.example/{row}" for row in range(num_rows)],
        texts=[f"text {row}" for row in range(num_rows)],
        features={kind: normalize(torch.randn(num_rows, DIM, generator=generator), dim=-1) for kind in (IMAGES, TEXTS)},
        drops={"no_text": 1} if num_rows == 45 else {},
    )


def fill(path, format="parquet", dtype="float32", model="m", before=lambda name: None):
    shards = [Shard(f"shards/{place:05d}.tar", size) for place, size in enumerate(SIZES)]
    identity = {"model": model, "features": [IMAGES, TEXTS], "format": format, "dtype": dtype, "dim": DIM}
    made = []

    def make(place, name):
        before(name)
        made.append(name)
        write_features(path, name, random_features(name, SIZES[place]), format=format, dtype=dtype)

    folder = OutputFolder(path, FEATURES_NAME, identity)
    return folder.fill(shards, Ranks(), table_path=lambda name: table_path(path, name, format), make=make), made


def all_rows(kind):
    return torch.cat([random_features(f"{place:05d}", size).features[kind] for place, size in enumerate(SIZES)])


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_files, "BLOCK_ROWS", 16)


@pytest.mark.parametrize("format", ["parquet", "npy"])
@pytest.mark.parametrize("kind", [IMAGES, TEXTS])
def test_search_in_blocks_finds_what_all_cosines_at_once_say(tmp_path, small_blocks, format, kind):
    fill(str(tmp_path / "out"), format)
    queries = normalize(torch.randn(5, DIM, generator=torch.Generator().manual_seed(9)), dim=-1)
    found = search_exact(FeatureTables(str(tmp_path / "out")), kind, queries, top=7)
    cosines, rows = (queries @ all_rows(kind).T).topk(7)
    assert torch.equal(found.rows, rows)
    torch.testing.assert_close(found.cosines, cosines)


def test_a_folder_with_few_rows_gives_them_all(tmp_path):
    fill(str(tmp_path / "out"))
    found = search_exact(FeatureTables(str(tmp_path / "out")), IMAGES, all_rows(IMAGES)[:2], top=1000)
    assert found.rows.shape == (2, sum(SIZES)) and found.rows[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_rows_are_described_across_shards_with_and_without_rows(tmp_path, format):
    fill(str(tmp_path / "out"), format)
    described = FeatureTables(str(tmp_path / "out")).describe([115, 70, 0, 69, 71])
    assert [row.key for row in described] == ["00003-0", "00002-0", "00000-0", "00000-69", "00002-1"]
    assert described[3] == ("00000-69", None, "text 69")


def test_arrays_lie_where_clip_retrieval_has_them(tmp_path):
    fill(str(tmp_path / "out"), "npy", "float16")
    images = np.load(tmp_path / "out" / "img_emb" / "img_emb_00002.npy")
    assert images.dtype == np.float16 and images.shape == (45, DIM)
    np.testing.assert_allclose(images, random_features("00002", 45).features[IMAGES].numpy(), atol=1e-3)
    assert (tmp_path / "out" / "text_emb" / "text_emb_00002.npy").exists()
    assert (tmp_path / "out" / "metadata" / "metadata_00002.parquet").exists()


def test_a_run_that_was_cut_short_goes_on_with_what_is_missing(tmp_path):
    path = str(tmp_path / "out")

    def stop(name):
        if name == "00002":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(path, before=stop)
    with pytest.raises(InputError, match="not finished"):
        FeatureTables(path)
    filled, made = fill(path)
    assert made == ["00002", "00003"]
    assert filled.rows == sum(SIZES) and filled.drops == {"no_text": 1}
    assert not (tmp_path / "out" / STARTED_NAME).exists()
    again, made = fill(path)
    assert again == filled and made == []


def test_a_folder_made_of_something_else_is_refused(tmp_path):
    fill(str(tmp_path / "out"))
    with pytest.raises(InputError, match="made with other model, dtype; choose"):
        fill(str(tmp_path / "out"), model="n", dtype="float16")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="holds other files"):
        fill(str(tmp_path / "other"))


def test_a_folder_that_holds_no_features_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"features\.json: No such file"):
        FeatureTables(str(tmp_path))
    (tmp_path / FEATURES_NAME).write_text("{}")
    with pytest.raises(InputError, match="not what this program writes"):
        FeatureTables(str(tmp_path))


@pytest.mark.parametrize("format", ["parquet", "npy"])
def test_a_missing_or_shortened_file_is_an_error(tmp_path, format):
    path = tmp_path / "out"
    fill(str(path), format)
    name = "img_emb/img_emb_{}.npy" if format == "npy" else "{}.parquet"
    (path / name.format("00000")).write_bytes((path / name.format("00002")).read_bytes())
    with pytest.raises(InputError, match="00000 has not the 70 rows"):
        list(FeatureTables(str(path)).blocks(IMAGES))
    (path / name.format("00000")).unlink()
    with pytest.raises(InputError, match=r"00000\.\w+: not readable"):
        list(FeatureTables(str(path)).blocks(IMAGES))


def test_two_shards_of_one_name_are_refused(tmp_path):
    folder = OutputFolder(str(tmp_path), FEATURES_NAME, {})
    with pytest.raises(InputError, match=r"two shards are called 0\.tar"):
        folder.fill([Shard("a/0.tar", 1), Shard("b/0.tar", 1)], Ranks(), table_path=str, make=lambda *_: None)


@pytest.mark.parametrize("index", [faiss_index.FLAT, faiss_index.IVF])
def test_faiss_finds_what_exact_search_finds(tmp_path, small_blocks, index):
    pytest.importorskip("faiss")
    fill(str(tmp_path / "out"))
    opened = FeatureTables(str(tmp_path / "out"))
    queries = all_rows(IMAGES)[[3, 80, 115]]
    exact = search_exact(opened, IMAGES, queries, top=4)
    for _ in range(2):  # makes the index, then reads it
        found = faiss_index.search_faiss(opened, IMAGES, queries, top=4, index=index, num_probes=99)
        assert torch.equal(found.rows, exact.rows)
        torch.testing.assert_close(found.cosines, exact.cosines)
    assert (tmp_path / "out" / f"images.{index}").exists()


def test_without_faiss_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    fill(str(tmp_path / "out"))
    with pytest.raises(InputError, match="the extra 'faiss'"):
        faiss_index.search_faiss(
            FeatureTables(str(tmp_path / "out")), IMAGES, torch.zeros(1, DIM), top=1, index="faiss-flat", num_probes=1
        )
