"""Reading shards: the index over a tar, sizes, and what is wrong with a file."""

import io
import json
import multiprocessing
import os
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_train.data import cache
from clip_train.data.cache import ShardCache
from clip_train.data.patterns import expand_braces
from clip_train.data.shards import Shard, ShardReader, list_shards, shards_digest
from clip_train.data.tars import index_shard
from clip_train.errors import DataError, InputError


def write_tar(path, members, tar_format=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample(key, text=b"a text"):
    return [(f"{key}.jpg", b"image " + key.encode()), (f"{key}.json", b'{"class": 1}'), (f"{key}.txt", text)]


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
@pytest.mark.parametrize("folder", ["", "a/b/", "x" * 120 + "/"], ids=["flat", "folders", "long names"])
def test_samples_are_found_in_every_kind_of_tar(tmp_path, tar_format, folder):
    path = str(tmp_path / "00000.tar")
    write_tar(path, [*sample(f"{folder}one"), *sample(f"{folder}two", "zwei ☃".encode())], tar_format)
    reader = ShardReader(list_shards([path]))
    assert [reader.image(0, n).rpartition(b"/")[2][-3:] for n in range(2)] == [b"one", b"two"]
    assert [reader.text(0, n) for n in range(2)] == ["a text", "zwei ☃"]
    assert reader.spans(0, 1).key == f"{folder}two"
    reader.close()


def test_members_without_an_image_are_no_sample_and_upper_case_suffixes_are_known(tmp_path):
    path = str(tmp_path / "s.tar")
    write_tar(path, [("readme.txt", b"hello"), ("1.JPEG", b"i"), ("1.txt", b"t"), ("2.png", b"j")])
    assert [spans.key for spans in index_shard(path)] == ["1", "2"]
    with pytest.raises(InputError, match=r"sample 2 has no \.txt"):
        ShardReader([Shard(path, 2)]).text(0, 1)


def test_sizes_beside_the_tars_save_opening_them(tmp_path):
    (tmp_path / "00000.tar").write_bytes(b"never opened" * 100)
    write_tar(tmp_path / "00001.tar", sample("one"))
    (tmp_path / "_aside.tar").write_bytes(b"")
    (tmp_path / "sizes.json").write_text(json.dumps({"00000.tar": 7}))
    assert [shard.num_samples for shard in list_shards([str(tmp_path)])] == [7, 1]


def test_a_wrong_size_is_noticed_when_the_shard_is_opened(tmp_path):
    write_tar(tmp_path / "00000.tar", sample("one"))
    (tmp_path / "sizes.json").write_text(json.dumps({"00000.tar": 2}))
    with pytest.raises(InputError, match=r"00000\.tar: 1 samples, but sizes\.json says 2"):
        ShardReader(list_shards([str(tmp_path)])).image(0, 0)


def test_no_more_tars_stay_open_than_allowed(tmp_path):
    for number in range(4):
        write_tar(tmp_path / f"{number}.tar", sample(f"key{number}"))
    reader = ShardReader(list_shards([str(tmp_path)]), max_open=2)
    for shard in (0, 1, 2, 3, 0, 3):
        assert reader.image(shard, 0) == f"image key{shard}".encode()
    assert len(reader._open) == 2


def test_the_digest_follows_the_data_and_not_its_place(tmp_path):
    digests = []
    for name, keys in (("a", "12"), ("b", "12"), ("c", "123")):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "0.tar", [member for key in keys for member in sample(key)])
        digests.append(shards_digest(list_shards([str(tmp_path / name)])))
    assert digests[0] == digests[1] != digests[2]


def test_a_missing_cut_or_broken_shard_is_refused_by_name(tmp_path):
    write_tar(tmp_path / "cut.tar", [("1.jpg", b"x" * 4_000), ("1.txt", b"t")])
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:2_000])
    (tmp_path / "text.tar").write_bytes(b"this is no tar\n" * 100)
    (tmp_path / "empty").mkdir()
    for name in ("cut.tar", "text.tar", "empty", "none.tar", "no*.tar"):
        with pytest.raises(InputError, match=name.replace("*", r"\*")):
            list_shards([str(tmp_path / name)])


def test_members_of_a_sample_are_read_at_once(tmp_path):
    write_tar(tmp_path / "0.tar", [("a.png", b"image"), ("a.cls", b"7"), *sample("b")])
    reader = ShardReader(list_shards([str(tmp_path)]))
    first, second = (reader.members(0, number) for number in range(2))
    assert first == ("a", b"image", None, None, b"7")
    assert second == ("b", b"image b", b"a text", b'{"class": 1}', None)
    assert (first.first_text(), second.first_text()) == ("", "a text")


@pytest.mark.parametrize(
    ("text", "described", "first", "everything"),
    [
        (b"own", {"texts": ["x", "y"]}, "own", ["x", "y"]),
        (None, {"texts": ["x", 3, " ", "y"]}, "x", ["x", "y"]),
        (b" ", {"texts": []}, "", []),
        (b"own", [1], "own", ["own"]),
        (b"own", {"texts": "x"}, "own", ["own"]),
        (b"\xff", {}, "\N{REPLACEMENT CHARACTER}", ["\N{REPLACEMENT CHARACTER}"]),
    ],
)
def test_texts_of_a_sample(tmp_path, text, described, first, everything):
    members = [("a.jpg", b"i"), ("a.json", json.dumps(described).encode()), *([("a.txt", text)] if text else [])]
    write_tar(tmp_path / "0.tar", members)
    found = ShardReader(list_shards([str(tmp_path)])).members(0, 0)
    assert (found.first_text(), found.all_texts()) == (first, everything)


def write_table(path, spans):
    table = pa.table({"key": [s.key for s in spans], "offset": [s.whole.offset for s in spans],
                      "length": [s.whole.length for s in spans]})  # fmt: skip
    pq.write_table(table, path)


def test_the_table_beside_a_shard_saves_going_through_it_and_survives_damage(tmp_path, monkeypatch):
    write_tar(tmp_path / "00000.tar", [member for key in "abcdef" for member in sample(key)])
    (tmp_path / "sizes.json").write_text(json.dumps({"00000.tar": 6}))
    write_table(tmp_path / "00000.parquet", index_shard(str(tmp_path / "00000.tar")))
    content = bytearray((tmp_path / "00000.tar").read_bytes())
    content[3072 + 257 : 3072 + 262] = b"?????"  # the header of sample b's image: nothing behind would be found
    (tmp_path / "00000.tar").write_bytes(content)
    monkeypatch.setattr(cache, "index_shard", lambda path: pytest.fail("gone through"))
    reader = ShardReader(list_shards([str(tmp_path)]))
    assert [reader.members(0, number).key for number in (0, 2, 3, 4, 5)] == list("acdef")
    with pytest.raises(InputError, match="no whole sample at byte 3,072"):
        reader.members(0, 1)


@pytest.mark.parametrize("stale", ["another tar's", "no offsets", "no table"])
def test_a_table_that_does_not_speak_of_the_tar_is_not_used(tmp_path, stale):
    write_tar(tmp_path / "00000.tar", [member for key in "abc" for member in sample(key)])
    beside = tmp_path / "00000.parquet"
    if stale == "another tar's":
        write_tar(tmp_path / "other", [member for key in "abc" for member in sample(key, b"long" * 1_000)])
        write_table(beside, index_shard(str(tmp_path / "other")))
    elif stale == "no offsets":
        pq.write_table(pa.table({"key": ["a"]}), beside)
    else:
        beside.write_bytes(b"PAR1 or not")
    reader = ShardReader(list_shards([str(tmp_path / "00000.tar")]))
    assert [reader.members(0, number).key for number in range(3)] == list("abc")


def test_the_columns_that_are_read_are_those_that_the_pipeline_writes():
    from pipeline.base.schemas import SHARD_INDEX

    assert {"offset", "length"} <= set(SHARD_INDEX.names)


def index_in_process(folder, tar):
    ShardCache(folder).extents(tar)


def test_a_tar_is_gone_through_once_by_processes_that_come_together(tmp_path, monkeypatch):
    write_tar(tmp_path / "0.tar", [member for key in "abc" for member in sample(key)])
    calls = tmp_path / "calls"
    calls.write_text("")
    index = cache.index_shard
    monkeypatch.setattr(cache, "index_shard", lambda path: (calls.open("a").write("x"), index(path))[1])
    context = multiprocessing.get_context("fork")
    arguments = (str(tmp_path / "cache"), str(tmp_path / "0.tar"))
    processes = [context.Process(target=index_in_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert calls.read_text() == "x"
    write_tar(tmp_path / "0.tar", [member for key in "abcd" for member in sample(key)])
    assert len(ShardCache(arguments[0]).extents(arguments[1])) == 4, "a changed tar is gone through anew"


def test_where_no_cache_can_be_kept_a_tar_is_read_all_the_same(tmp_path):
    write_tar(tmp_path / "0.tar", sample("a"))
    (tmp_path / "file").write_bytes(b"")
    kept = ShardCache(str(tmp_path / "file" / "below"))
    assert list_shards([str(tmp_path / "0.tar")], cache=kept)[0].num_samples == 1


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{00000..00002}.tar", ["00000.tar", "00001.tar", "00002.tar"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{0..6..3}", ["0", "3", "6"]),
        ("s3://{a,b/{1..2}}/x{c,}.tar", ["s3://a/xc.tar", "s3://a/x.tar", "s3://b/1/xc.tar", "s3://b/1/x.tar",
                                         "s3://b/2/xc.tar", "s3://b/2/x.tar"]),
        ("plain", ["plain"]),
    ],
)  # fmt: skip
def test_braces_stand_for_names(pattern, names):
    assert expand_braces(pattern) == names


@pytest.mark.parametrize("pattern", ["{1..2", "1..2}", "{3..1}", "{}", "{a}", "{1..2..0}", "{0..99999999999}"])
def test_braces_that_mean_nothing_are_refused(pattern):
    with pytest.raises(InputError, match=r"\{|\}|names"):
        expand_braces(pattern)


def write_four(folder):
    for number in range(4):
        write_tar(folder / f"{number:05d}.tar", sample(f"key{number}"))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("/{00001..00003}.tar", [1, 2, 3]),
        ("/{00002,00000}.tar", [2, 0]),
        ("/0000[12].tar", [1, 2]),
        ("/*.tar", [0, 1, 2, 3]),
        ("/00003.tar", [3]),
    ],
)
@pytest.mark.parametrize("place", ["disk", "store"])
def test_shards_are_named_by_folder_pattern_or_path_on_disks_and_stores(tmp_path, pattern, found, place):
    write_four(tmp_path)
    root = str(tmp_path)
    if place == "store":
        root = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").put(f"{tmp_path}/*", f"/{tmp_path.name}/")
    kept = ShardCache(str(tmp_path / "cache"))
    shards = list_shards([root + pattern], cache=kept)
    assert [os.path.basename(shard.path) for shard in shards] == [f"{number:05d}.tar" for number in found]
    reader = ShardReader(shards, cache=kept)
    assert [reader.members(number, 0).key for number in range(len(found))] == [f"key{number}" for number in found]
    assert shards_digest(shards) == shards_digest(list_shards([f"{tmp_path}{pattern}"]))


@pytest.mark.parametrize("root", ["disk", "memory://none-such"])
def test_a_name_of_a_pattern_without_its_tar_is_refused(tmp_path, root):
    write_four(tmp_path)
    root = str(tmp_path) if root == "disk" else root
    with pytest.raises(InputError, match=r"00004\.tar: no such shard"):
        list_shards([root + "/{00004..00005}.tar"])


def test_copies_of_far_shards_stay_below_their_bound_and_come_again(tmp_path):
    write_four(tmp_path)
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/*", "/bounded/")
    size = (tmp_path / "00000.tar").stat().st_size
    kept = ShardCache(str(tmp_path / "cache"), max_bytes=2 * size)
    shards = list_shards(["memory://bounded"], cache=kept)
    reader = ShardReader(shards, max_open=1, cache=kept)
    for shard in (0, 1, 2, 3, 3, 0):
        assert reader.members(shard, 0).key == f"key{shard}"
        copies = [entry.stat().st_size for entry in os.scandir(tmp_path / "cache") if entry.name.endswith(".copy")]
        assert len(copies) >= 1 and sum(copies) <= 2 * size
    store.rm("/bounded/00003.tar")
    with pytest.raises(InputError, match="no such file"):
        ShardReader(shards, cache=ShardCache(str(tmp_path / "another"))).members(3, 0)


def test_a_store_that_fails_is_asked_again_and_then_ends_the_run(tmp_path, monkeypatch):
    write_four(tmp_path)
    fsspec.filesystem("memory").put(f"{tmp_path}/*", "/failing/")
    monkeypatch.setattr(cache, "_WAITS_S", (0.0, 0.0))
    answers = []
    opened = cache.files.open_for_read

    def failing(path):
        answers.append(path)
        if len(answers) < 3:
            raise OSError(f"{path}: 503")
        return opened(path)

    monkeypatch.setattr(cache.files, "open_for_read", failing)
    shards = [Shard("memory://failing/00000.tar", 1, (tmp_path / "00000.tar").stat().st_size)]
    reader = ShardReader(shards, cache=ShardCache(str(tmp_path / "cache")), lenient=True)
    assert reader.members(0, 0).key == "key0"
    monkeypatch.setattr(cache.files, "open_for_read", lambda path: (_ for _ in ()).throw(OSError(f"{path}: 503")))
    with pytest.raises(DataError, match="503"):
        ShardReader(shards, cache=ShardCache(str(tmp_path / "empty")), lenient=True).members(0, 0)


def test_extents_are_those_that_tarfile_finds(tmp_path):
    path = tmp_path / "0.tar"
    write_tar(path, [("readme.txt", b"x"), *sample("a"), *sample("b" * 120)], tarfile.GNU_FORMAT)
    extents = ShardCache(str(tmp_path / "cache")).extents(str(path))
    with tarfile.open(path) as tar:
        starts = [member.offset for member in tar if member.name.endswith(".jpg")]
    assert extents[:, 0].tolist() == starts
    assert np.array_equal(extents[0].cumsum(), [starts[0], starts[1]])
