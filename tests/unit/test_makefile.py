"""The Makefile's variables reach commands as they were given: blanks, quotes, dollars and all."""

import os
import shutil
import subprocess
import sys

import pytest

ODD = "my 'dir' & $HOME; (a)  #1"
SAY_WORDS = (
    '#!/bin/sh\nfor word in "${0##*/}" "$@"; do printf "%s\\0" "$word"; done >> "$WORDS"; printf "\\n" >> "$WORDS"\n'
)


@pytest.fixture
def make(tmp_path, checkout):
    """Runs make in an environment whose programs write down how they are called; gives the words of every call."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    environment, said = tmp_path / "an env", tmp_path / "words"
    (environment / "bin").mkdir(parents=True)
    for name in ("wit400m", "python"):
        program = environment / "bin" / name
        program.write_text(SAY_WORDS)
        program.chmod(0o755)
    program.write_text(f'#!/bin/sh\ncase "$1" in -c) exec "{sys.executable}" "$@";; esac\n' + SAY_WORDS)
    (environment / "installed").touch()

    def run(*arguments):
        said.write_bytes(b"")
        variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = ["make", "-s", "-C", str(checkout), f"VENV={environment}", *arguments]
        done = subprocess.run(command, env=variables | {"WORDS": str(said)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [line.split("\0")[:-1] for line in said.read_text().splitlines()]

    return run


def test_a_dump_is_one_word_where_a_file_or_a_glob_is_called_so_and_else_the_words_of_a_shell(make, tmp_path):
    (tmp_path / ODD).mkdir()
    (tmp_path / ODD / "a [1].xml").touch()
    (tmp_path / ODD / "b.xml").touch()
    start = str(tmp_path / ODD)
    cases = {
        f"{start}/a [1].xml": [f"{start}/a [1].xml"],
        f"{start}/*.xml": [f"{start}/*.xml"],
        start: [start],
        "a.xml b.xml": ["a.xml", "b.xml"],
        f'"{start}/b.xml" other.xml': [f"{start}/b.xml", "other.xml"],
        "https://host/a.xml.bz2?a=1&b=2": ["https://host/a.xml.bz2?a=1&b=2"],
        "l'an.xml": ["l'an.xml"],
        "~/a.xml": [os.path.expanduser("~/a.xml")],
    }
    for value, words in cases.items():
        [call] = make("vocab", f"DUMP={value}", "WORDNET=none")
        assert call == ["wit400m", "build-vocab", "--data", "data", "--dump", *words, "--wordnet", "none"]
        [call] = make("vocab", "DUMP=x", f"VIEWS={value}", "WORDNET=none")
        assert call[4:] == ["--dump", "x", "--pageviews", *words, "--wordnet", "none"]


def test_variables_that_are_one_word_stay_one(make, tmp_path):
    names = ("DATA", "WIKI", "DATE", "BASE", "CONTACT", "WORDNET_INDEX")
    found, got, _ = make("vocab", *(f"{name}={ODD} {name}" for name in names))
    data, wiki, date, base, contact, index = (f"{ODD} {name}" for name in names)
    folder = f"{tmp_path}/an env/nltk_data"
    assert found == ["wit400m", "get-wordnet", "--if-missing", "--output", folder, "--index-url", index]
    flags = ["--data", data, "--wiki", wiki, "--date", date, "--base-url", base, "--contact", contact]
    assert got == ["wit400m", "get-dump", *flags]
    [call] = make("run", f"STAGE={ODD}", f"DATA={ODD}", "ARGS=--output 'my vocab' --drop-titles '^a$'")
    assert call == ["wit400m", ODD, "--data", ODD, "--output", "my vocab", "--drop-titles", "^a$"]
    [call] = make("vocab", "DUMP=x", f"WORDNET={ODD}", "DATA=~/data")
    assert call[2:] == ["--data", os.path.expanduser("~/data"), "--dump", "x", "--wordnet", ODD]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param("train", ["python", "-m", "clip_train", "train", "--output", "a b"], id="train"),
        pytest.param("demo", ["wit400m", "demo", "--output", "demo-data", "--output", "a b"], id="demo"),
        pytest.param("mutants", ["python", "tests/mutants.py", "--output", "a b"], id="mutants"),
    ],
)
def test_further_flags_are_a_part_of_the_shells_line(make, target, words):
    [call] = make(target, "ARGS=--output 'a b'")
    assert call == words


def test_an_environment_with_a_blank_in_its_name_is_made_there(make, tmp_path):
    shutil.rmtree(tmp_path / "an env")
    program = tmp_path / "my python"
    program.write_text(
        '#!/bin/sh\n[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/uv"; }\n'
    )
    program.chmod(0o755)
    assert make("install", f"PYTHON={program}") == []
    assert (tmp_path / "an env" / "installed").exists()
