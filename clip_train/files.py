"""Files on the local disk: JSON and lines read with errors of one line, outputs that appear whole or not at all.

In: a path. Out: values, or a path to write to that takes the place of the one wanted when all went well.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from clip_train.errors import InputError


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        InputError: When there is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a JSON object")
    return values


def read_section(values: Mapping[str, Any], name: str, *, where: str) -> dict[str, Any]:
    """An object inside a JSON object; empty where it is absent or null.

    Raises:
        InputError: When something else has its name.
    """
    found = values.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} is {found!r:.40}, not a JSON object")
    return found


def write_json(path: str, values: Any, *, indent: int = 2, ensure_ascii: bool = False) -> None:
    """Writes values as JSON and a line end.

    Raises:
        InputError: When the file cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(values, file, indent=indent, ensure_ascii=ensure_ascii)
            file.write("\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def check_format(values: Mapping[str, Any], known: int, *, where: str) -> None:
    """Raises InputError when what a file says about its format is not what this version reads."""
    if values["format"] != known:
        raise InputError(f"{where}: format {values['format']!r} is not known to this version")


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text file, without empty ones.

    Raises:
        InputError: When the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error


def file_digest(path: str) -> str:
    """The SHA-256 of a file, hexadecimal.

    Raises:
        InputError: When the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def make_folder(path: str) -> None:
    """Makes a folder and those above it, unless they are there.

    Raises:
        InputError: When it cannot be made, for one because a file has its name.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be a folder: {error.strerror}") from error


@contextlib.contextmanager
def written_file(path: str) -> Iterator[str]:
    """Gives a path to write to, which takes the place of `path` when all went well.

    Raises:
        InputError: When it cannot be written.
    """
    aside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def written_anew(output: str, *, folder: bool) -> Iterator[str]:
    """Gives a path to write to, which becomes `output` when all went well; for a folder it is there, and empty.

    Raises:
        InputError: When `output` exists already or cannot be written.
    """
    if os.path.exists(output):
        raise InputError(f"{output} exists already")
    aside = f"{output.rstrip(os.sep)}.tmp"
    try:
        _remove(aside)
        os.makedirs(aside if folder else os.path.dirname(os.path.abspath(output)), exist_ok=True)
        yield aside
        publish(aside, output)
    except OSError as error:
        raise InputError(f"{output}: {error.strerror or error}") from error
    finally:
        _remove(aside)


def publish(aside: str, path: str) -> None:
    """Gives a written file, or folder of files, its name once all of it is on the disk."""
    names = os.listdir(aside) if os.path.isdir(aside) else []
    for written in (*(os.path.join(aside, name) for name in names), aside):
        _sync(written)
    os.rename(aside, path)
    _sync(os.path.dirname(os.path.abspath(path)))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)
