"""Getting WordNet: from Debian's packages when NLTK's download fails, and a clear end when both do."""

import os
import shutil
import stat
import textwrap

import nltk.data
import pytest

from jobs.get_wordnet import main
from pipeline.dumps.wordnet import NoWordNet, get_wordnet, write_lexnames
from vocab.synsets import read_lemmas

NOWHERE = "http://127.0.0.1:9/index.xml"  # the discard port: nobody answers


def install(folder, name, script):
    path = folder / name
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(autouse=True)
def search_path(monkeypatch):
    """NLTK's own search path, to which its downloader adds."""
    monkeypatch.setattr("nltk.data.path", list(nltk.data.path))


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is searched for programs before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def debian(programs):
    """Programs that have Debian's packages."""
    install(programs, "apt-get", '[ "$1" = update ] || for name in "$2" "$3"; do echo $name > $name.deb; done')
    install(
        programs,
        "dpkg-deb",
        """
        mkdir -p $3/usr/share/wordnet
        case $2 in *base*) for part in noun verb adj adv; do
            echo "00001740 03 n 01 ${part}_name 0 000 | gloss" > $3/usr/share/wordnet/data.$part
        done;; *) touch $3/usr/share/wordnet/index.sense;; esac
        """,
    )


def test_debians_packages_are_unpacked_and_completed(tmp_path, debian):
    folder = str(tmp_path / "data")
    assert get_wordnet(folder, index_url=NOWHERE) == "unpacked"
    assert sorted(read_lemmas(folder)["lemma"].to_pylist()) == ["adj name", "adv name", "noun name", "verb name"]
    assert {"lexnames", "index.sense"} <= set(os.listdir(tmp_path / "data" / "corpora" / "wordnet"))
    assert get_wordnet(folder, index_url=NOWHERE) == "found"


def test_a_disk_that_fills_up_leaves_no_half_wordnet_and_the_next_try_is_whole(tmp_path, debian, capsys, monkeypatch):
    def copy_half(source, target):
        os.makedirs(target)
        shutil.copy(f"{source}/data.noun", target)
        raise shutil.Error([(source, target, "[Errno 28] No space left on device: 'data.verb'")])

    flags = ["--output", str(tmp_path / "data"), "--index-url", NOWHERE]
    with monkeypatch.context() as full:
        full.setattr("pipeline.dumps.wordnet.shutil.copytree", copy_half)
        assert main(flags) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert f"cannot write {tmp_path}/data/corpora/wordnet: [Errno 28] No space left" in line
    assert os.listdir(tmp_path / "data" / "corpora") == []
    assert main(flags) == 0
    assert read_lemmas(str(tmp_path / "data")).num_rows == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--output", "file"], "file cannot be a folder, because a file is there", id="a file"),
        pytest.param(["--index-url", "nltk.org"], "index-url must be an http or https URL, not 'nltk.org'", id="url"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    assert main(["--output", "new", *flags]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_when_both_ways_fail_the_error_tells_why_and_the_job_ends_with_1(tmp_path, programs, capsys):
    install(programs, "apt-get", 'echo "E: Unable to locate package wordnet-base" >&2; exit 100')
    with pytest.raises(NoWordNet, match=r"NLTK's download: .*Unable to locate package.*nltk\.downloader"):
        get_wordnet(str(tmp_path / "data"), index_url=NOWHERE)
    assert main(["--output", str(tmp_path / "data"), "--index-url", NOWHERE]) == 1
    assert "Unable to locate package" in capsys.readouterr().err


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoWordNet, match="there is no apt-get"):
        get_wordnet(str(tmp_path / "data"), index_url=NOWHERE)


def test_lexnames_are_the_45_files_of_the_lexicographers(tmp_path, request):
    path = tmp_path / "lexnames"
    write_lexnames(str(path))
    lines = path.read_text().splitlines()
    assert len(lines) == 45
    assert (lines[0], lines[3], lines[44]) == ("00\tadj.all\t3", "03\tnoun.Tops\t1", "44\tadj.ppl\t3")
    real = request.getfixturevalue("real_data") / "wordnet" / "lexnames"
    assert path.read_bytes() == real.read_bytes()
