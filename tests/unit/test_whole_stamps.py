"""A file that is read whole is known by all its bytes, and read once for that on each machine."""

import os

import pytest

from pipeline.base import files, whole_stamps
from pipeline.base.whole_stamps import whole_stamp


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Every file is a large one; a list of those whose digest was computed, and a cache of the test's own."""
    found = []
    compute = whole_stamps._digest
    monkeypatch.setattr(whole_stamps, "_LARGE_BYTES", 1)
    monkeypatch.setattr(whole_stamps, "_digest", lambda path, size: found.append(path) or compute(path, size))
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))
    return found


def test_every_byte_counts_and_neither_folder_nor_date_does(tmp_path):
    content = bytearray(5_000_000)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dump").write_bytes(content)
    os.utime(tmp_path / "two" / "dump", (1, 1))
    one, two = (str(tmp_path / name / "dump") for name in ("one", "two"))
    stamp = whole_stamp(one)
    assert stamp == whole_stamp(two)
    content[2_500_000] = 1
    (tmp_path / "two" / "dump").write_bytes(content)
    assert whole_stamp(two) != stamp
    assert {name: whole_stamp(two)[name] for name in ("name", "bytes")} == {"name": "dump", "bytes": 5_000_000}
    assert files.file_stamp(two) == files.file_stamp(one)  # which knows the ends only


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(tmp_path, reads):
    path = tmp_path / "dump"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 10**9))
    first = whole_stamp(str(path))
    assert whole_stamp(f"file://{path}") == first
    assert len(reads) == 1
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(1, 10**9))
    os.replace(other, path)  # same name, size and date
    assert whole_stamp(str(path)) != first
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, reads, monkeypatch):
    path = tmp_path / "dump"
    path.write_bytes(b"one")
    compute = whole_stamps._digest

    def change(*arguments):
        digest = compute(*arguments)
        path.write_bytes(b"changed")
        return digest

    monkeypatch.setattr(whole_stamps, "_digest", change)
    whole_stamp(str(path))
    monkeypatch.setattr(whole_stamps, "_digest", compute)
    whole_stamp(str(path))
    assert len(reads) == 2


def test_a_store_that_tells_no_version_is_always_read(reads):
    for content in (b"one", b"two"):
        files.write_bytes_whole("memory://whole/dump", content)
        whole_stamp("memory://whole/dump")
    assert reads == ["memory://whole/dump"] * 2


def test_a_store_that_tells_a_version_is_read_once_for_each(reads, monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    files.write_bytes_whole("memory://versions/dump", b"one")
    tell = MemoryFileSystem.info
    tag = ["a"]
    monkeypatch.setattr(
        MemoryFileSystem, "info", lambda self, path, **kwargs: {**tell(self, path, **kwargs), "ETag": tag[0]}
    )
    stamps = [whole_stamp("memory://versions/dump") for _ in range(2)]
    tag[0] = "b"
    stamps.append(whole_stamp("memory://versions/dump"))
    assert len(reads) == 2
    assert stamps[0] == stamps[1] == stamps[2]
