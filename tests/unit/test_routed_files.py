"""Messages through files: each arrives at its group, whole, whatever the order and number in which they are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base import files
from pipeline.fetching.routed_files import RoutedFiles, write_routed

NUM_GROUPS = 5
messages_of_sources = st.lists(st.lists(st.tuples(st.integers(0, NUM_GROUPS - 1), st.binary(max_size=9))), max_size=4)


@given(messages_of_sources)
def test_a_group_reads_what_each_source_sent_it_in_order(tmp_path_factory, sources):
    folder = tmp_path_factory.mktemp("routed")
    paths = [str(folder / f"{number}.bin") for number in range(len(sources))]
    for path, messages in zip(paths, sources, strict=True):
        write_routed(path, messages, num_groups=NUM_GROUPS)
    routed = RoutedFiles(paths, num_groups=NUM_GROUPS)
    for group in range(NUM_GROUPS):
        sent = [b"".join(message for to, message in messages if to == group) for messages in sources]
        assert routed.read(group) == [data for data in sent if data]


def test_a_file_is_as_the_module_says(tmp_path):
    write_routed(str(tmp_path / "a.bin"), [(2, b"xy"), (0, b"z"), (2, b"w")], num_groups=3)
    data = (tmp_path / "a.bin").read_bytes()
    assert np.frombuffer(data[:32], "<i8").tolist() == [32, 33, 33, 36]
    assert data[32:] == b"zxyw"


def test_each_source_is_asked_once_for_its_places_and_once_by_each_group_that_it_has_something_for(
    tmp_path, monkeypatch
):
    paths = [str(tmp_path / f"{number}.bin") for number in range(3)]
    for number, path in enumerate(paths):
        write_routed(path, [(0, b"a"), (1 + number, b"b"), (0, b"c")], num_groups=4)
    asked, read_range = [], files.read_range
    monkeypatch.setattr(files, "read_range", lambda *place: asked.append(place[0]) or read_range(*place))
    routed = RoutedFiles(paths, num_groups=4)
    assert sorted(asked) == paths
    asked.clear()
    assert routed.read(0) == [b"ac"] * 3
    assert routed.read(2) == [b"b"]
    assert sorted(asked) == sorted([*paths, paths[1]])


@pytest.mark.parametrize(("length", "end"), [(3, 24), (39, 40)])
def test_a_file_that_was_cut_is_an_error_that_names_it(tmp_path, length, end):
    path = tmp_path / "cut.bin"
    write_routed(str(path), [(0, b"a" * 8), (1, b"b" * 8)], num_groups=2)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(OSError, match=rf"cut\.bin ends before byte {end},"):
        RoutedFiles([str(path)], num_groups=2).read(1)
