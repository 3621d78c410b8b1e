"""Files appear whole or not at all; inputs are named by paths, folders and globs."""

import hashlib
import time

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from pipeline.base import files


def test_a_file_appears_only_when_the_block_ends_well(tmp_path):
    path = str(tmp_path / "deep" / "a.bin")
    with pytest.raises(KeyError), files.write_whole(path) as file:
        file.write(b"half")
        raise KeyError
    assert not files.exists(path)
    assert list((tmp_path / "deep").iterdir()) == []
    files.write_bytes_whole(path, b"whole")
    assert files.read_bytes(path) == b"whole"


def test_a_memory_file_system_works_as_a_disk_does():
    path = "memory://bucket/x/a.bin"
    files.write_bytes_whole(path, b"abc")
    assert files.exists(path)
    assert files.read_bytes(path) == b"abc"
    assert files.file_size(path) == 3
    assert [files.basename(p) for p in files.list_files("memory://bucket/x")] == ["a.bin"]
    assert files.expand_inputs(["memory://bucket/x/*.bin"])[0].endswith("bucket/x/a.bin")
    with pytest.raises(KeyError), files.write_whole("memory://bucket/x/b.bin") as file:
        file.write(b"half")
        raise KeyError
    assert not files.exists("memory://bucket/x/b.bin")
    files.remove_tree("memory://bucket")
    assert not files.exists(path)


def test_working_files_are_not_listed(tmp_path):
    for name in ("b.parquet", "a.parquet", "_stage.json", ".a.parquet.tmp-1", "a.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [files.basename(p) for p in files.list_files(str(tmp_path), ".parquet")] == ["a.parquet", "b.parquet"]


def test_inputs_are_expanded_sorted_and_each_once(tmp_path):
    for name in ("b.warc", "a.warc"):
        (tmp_path / name).write_bytes(b"x")
    found = files.expand_inputs([str(tmp_path / "b.warc"), str(tmp_path), str(tmp_path / "*.warc")])
    assert [files.basename(p) for p in found] == ["a.warc", "b.warc"]


def test_an_input_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.*nothing\.warc"):
        files.expand_inputs([str(tmp_path / "nothing.warc")])


def test_left_overs_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (".a.tar.tmp-00ff", "a.tar", ".hidden"):
        (tmp_path / "deep" / name).write_bytes(b"")
    files.remove_temporaries(str(tmp_path))
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == [".hidden", "a.tar"]


@pytest.mark.parametrize("scheme", ["", "file://", "memory://m"])
def test_a_folder_names_all_files_below_it_but_working_files(tmp_path, scheme):
    folder = f"{scheme}{tmp_path}"
    for name in ("b.warc", "crawl/2024/a.warc", "crawl/.hidden", "crawl/_stage.json", "_working/a.warc", ".git/a.warc"):
        files.write_bytes_whole(files.join(folder, name), b"")
    found = [path.rpartition(tmp_path.name)[2] for path in files.expand_inputs([folder])]
    assert found == ["/b.warc", "/crawl/2024/a.warc"]


def test_links_between_folders_are_followed_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.warc").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "nowhere").symlink_to(tmp_path / "c")
    names = [path.rpartition("/")[2] for path in files.expand_inputs([str(tmp_path / "a")])]
    assert sorted(names) == ["a.warc", "b.warc"]


def test_a_stamp_knows_content_and_name_but_not_folder(tmp_path):
    one, two = tmp_path / "one" / "a.bin", tmp_path / "two" / "a.bin"
    for path, content in ((one, b"x" * 3_000_000), (two, b"x" * 3_000_000)):
        path.parent.mkdir()
        path.write_bytes(content)
    assert files.file_stamp(str(one)) == files.file_stamp(str(two))
    two.write_bytes(b"x" * 2_999_999 + b"y")
    assert files.file_stamp(str(one)) != files.file_stamp(str(two))


def test_a_remote_file_is_copied_once_for_mapping(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files.write_bytes_whole("memory://m/t.npy", b"12345678")
    first = files.local_path("memory://m/t.npy")
    assert files.read_bytes(first) == b"12345678"
    assert files.local_path("memory://m/t.npy") == first
    files.remove_tree("memory://m")


class Broken(OSError):
    """What the client of a store says, without a path."""


def test_an_error_of_a_store_names_the_object(monkeypatch):
    def fail(*_, **__):
        raise Broken("SlowDown")

    for name in ("cat_file", "pipe_file", "ls", "exists", "size"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    path = "memory://m/a/b.parquet"
    for call in (
        files.read_bytes,
        files.exists,
        files.file_size,
        files.list_files,
        lambda p: files.read_range(p, 0, 1),
    ):
        with pytest.raises(OSError, match=r"memory://m/a/b\.parquet: SlowDown"):
            call(path)
    with pytest.raises(OSError, match=r"memory://m/a/b\.parquet: SlowDown"):
        files.write_bytes_whole(path, b"x")


def test_ranges_are_read_as_they_are_asked_for(tmp_path):
    for path in (str(tmp_path / "a.bin"), "memory://m/ranges.bin"):
        files.write_bytes_whole(path, bytes(range(100)))
        assert files.read_range(path, 10, 5) == bytes(range(10, 15))
        assert files.read_range(path, 95, 50) == bytes(range(95, 100))
        assert files.read_range(path, 3, 0) == b""
    files.remove_tree("memory://m")


def test_sizes_are_told_of_what_is_there(tmp_path):
    for folder in (str(tmp_path), "memory://m"):
        files.write_bytes_whole(files.join(folder, "x", "a"), b"12")
        files.write_bytes_whole(files.join(folder, "y", "_b"), b"")
        asked = [files.join(folder, *names) for names in (("x", "a"), ("x", "c"), ("y", "_b"), ("z", "d"))]
        assert files.sizes(asked) == {asked[0]: 2, asked[2]: 0}
    files.remove_tree("memory://m")


def test_what_is_written_is_recorded_with_its_digest(tmp_path):
    with files.record_writes() as written:
        for path in (str(tmp_path / "a"), "memory://m/a"):
            files.write_bytes_whole(path, b"abc")
            with pytest.raises(KeyError), files.write_whole(path) as file:
                file.write(b"half")
                raise KeyError
    files.write_bytes_whole(str(tmp_path / "b"), b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert written == [(str(tmp_path / "a"), 3, digest), ("memory://m/a", 3, digest)]
    assert files.file_digest("memory://m/a") == digest
    files.remove_tree("memory://m")


def test_an_error_while_a_file_is_read_names_the_object(monkeypatch):
    path = "memory://m/a.bin"
    files.write_bytes_whole(path, b"abc\ndef")
    with files.open_for_read(path) as file:
        assert file.read(2) == b"ab"
        assert list(file) == [b"c\n", b"def"]

    def fail(*_):
        raise Broken("connection reset")

    for name in ("read", "readinto"):
        monkeypatch.setattr(MemoryFile, name, fail)
    with files.open_for_read(path) as file:
        for read in (file.read, lambda: file.readinto(bytearray(1))):
            with pytest.raises(OSError, match=r"memory://m/a\.bin: connection reset"):
                read()
    files.remove_tree("memory://m")


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_a_listing_tells_size_age_and_kind_of_all_that_is_in_a_folder(tmp_path, scheme):
    folder = f"{scheme}{tmp_path}"
    before = time.time()
    files.write_bytes_whole(files.join(folder, "_working", "deep.bin"), b"1")
    files.write_bytes_whole(files.join(folder, "a.bin"), b"1234")
    found = files.list_entries(folder)
    assert sorted(found) == ["_working", "a.bin"]
    assert (found["a.bin"].bytes, found["a.bin"].is_folder, found["_working"].is_folder) == (4, False, True)
    assert abs(found["a.bin"].modified - before) < 3600
    assert files.list_entries(files.join(folder, "nowhere")) == {}


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_discarded_writes_leave_nothing_and_are_listed(tmp_path, scheme):
    path = f"{scheme}{tmp_path}/folder/a.json"
    with files.discard_writes() as discarded, files.record_writes() as written:
        files.write_json(path, {"a": 1})
    assert (discarded, written) == ([path], [])
    assert not files.exists(f"{scheme}{tmp_path}/folder")
    files.write_json(path, {"a": 1})
    assert files.exists(path)
