"""7z archives: what the package that reads them gives comes in pieces, and nothing waits for ever."""

import io
import sys
import threading
import time
import types

import pytest

from vocab.dump import Article, NotADump, plan_units, read_dump, read_site
from vocab.kernels.compressed import Compression, detect_compression, read_chunks, read_pieces
from vocab.kernels.seven_zip import NoReader

MAGIC = b"7z\xbc\xaf\x27\x1c"
XML = "".join(
    f"<page><title>Title {n}</title><ns>0</ns><revision><text>Text {n}</text></revision></page>" for n in range(9)
)


def open_file(path):
    return open(path, "rb")


@pytest.fixture
def library(monkeypatch):
    """A library that gives the parts of each file of an "archive", and raises what is among them."""
    made = types.SimpleNamespace(files=[], taken=0)

    class SevenZipFile:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def extractall(self, factory):
            for number, parts in enumerate(made.files):
                writer = factory.create(f"file{number}")
                for part in parts:
                    if isinstance(part, BaseException):
                        raise part
                    assert writer.write(part) == len(part)
                    made.taken += 1
                writer.flush()
                assert writer.size() == sum(map(len, parts))

    monkeypatch.setitem(sys.modules, "py7zr", types.SimpleNamespace(SevenZipFile=SevenZipFile))
    return made


def pieces():
    file = io.BytesIO(MAGIC)
    assert detect_compression(file) is Compression.SEVEN_ZIP
    return read_pieces(file, Compression.SEVEN_ZIP)


def test_all_files_come_one_behind_another(library):
    library.files = [[b"one", b"two"], [], [b"three"]]
    assert [tuple(piece) for piece in pieces()] == [
        *((0, data, False, False) for data in (b"one", b"two", b"three")),
        (0, b"", True, False),
    ]


@pytest.mark.parametrize(
    "error", [ValueError("a bad sum"), EOFError(), TypeError("a number too large"), OSError("bad")]
)
def test_what_comes_before_damage_is_given(library, error):
    library.files = [[b"one", error]]
    assert [(piece.data, piece.damaged) for piece in pieces()] == [(b"one", False), (b"", True)]


def test_an_error_of_the_disk_is_no_damage(library):
    library.files = [[b"one", OSError(5, "Input/output error")]]
    with pytest.raises(OSError, match="Input/output"):
        list(pieces())


def test_no_more_is_decompressed_than_somebody_takes(library):
    library.files = [[b"x"] * 1000]
    running = threading.active_count()
    reading = pieces()
    next(reading)
    reading.close()
    deadline = time.monotonic() + 60
    while threading.active_count() > running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == running
    assert library.taken < 10


def test_without_the_library_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(NoReader, match=r"7z archive.* install wit400m with the extra '7z', or unpack it"):
        next(pieces())
    (tmp_path / "dump.7z").write_bytes(MAGIC)
    with pytest.raises(NotADump, match=r"dump\.7z: this is a 7z archive"):
        read_site(str(tmp_path / "dump.7z"), open_file)


def test_a_dump_is_read_by_the_real_library(tmp_path):
    py7zr = pytest.importorskip("py7zr")
    path = tmp_path / "dump.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writestr(f"<mediawiki>{XML}</mediawiki>", "dump.xml")
    [unit] = plan_units(str(path), open_file, unit_bytes=1)
    titles = [item.title for item in read_dump(unit, open_file) if isinstance(item, Article)]
    assert titles == [f"Title {number}" for number in range(9)]
    whole = path.read_bytes()
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        try:
            content = b"".join(read_chunks(io.BytesIO(broken)))
        except OSError:
            continue
        assert place < 8 or content == f"<mediawiki>{XML}</mediawiki>".encode()
