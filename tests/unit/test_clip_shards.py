"""Reading shards: the index over a tar, sizes, and what is wrong with a file."""

import io
import json
import tarfile

import pytest

from clip_train.data.shards import Shard, ShardReader, list_shards, shards_digest
from clip_train.data.tars import index_shard
from clip_train.errors import InputError


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
