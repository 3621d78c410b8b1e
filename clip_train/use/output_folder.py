"""One table a shard, in a folder that knows what it was made of.

In: shards, and an identity: all that decides the tables. Out: a folder. Its ``_started.json`` holds the identity from
the beginning; a closing file takes its place at the end and says that nothing is missing. Tables appear whole or
not at all, so a run that was cut short goes on with the shards that have no table yet. Ranks take those in turn.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from clip_train.data.shards import Shard
from clip_train.errors import InputError
from clip_train.files import write_json, written_file
from clip_train.training.distributed import Ranks, broadcast, max_over_ranks, take_turns

STARTED_NAME = "_started.json"
_DROPS_KEY = b"clip_train.drops"


class Filled(NamedTuple):
    """What a folder holds in the end."""

    rows: int
    drops: Mapping[str, int]  # samples by reason


class OutputFolder(NamedTuple):
    """A folder of tables."""

    path: str
    closing_name: str  # of the file that closes it
    identity: Mapping[str, Any]  # all that decides the tables

    def fill(
        self,
        shards: Sequence[Shard],
        ranks: Ranks,
        *,
        table_path: Callable[[str], str],
        make: Callable[[int, str], None],
    ) -> Filled:
        """Makes what is missing, and closes the folder.

        Args:
            shards: The shards.
            ranks: All of them call this.
            table_path: Where the table of a shard lies, by the shard's name without suffix.
            make: Writes the table of a shard, by its place among the shards and its name.

        Returns:
            What is in the folder, on the first rank.

        Raises:
            InputError: When the folder holds something else, or two shards have one name.
        """
        names = shard_names(shards)
        if ranks.is_first:
            self._start()
        is_missing = [not os.path.exists(table_path(name)) for name in names] if ranks.is_first else None
        missing = [place for place, is_it in enumerate(broadcast(is_missing, ranks)) if is_it]
        for place in take_turns(missing, ranks):
            make(place, names[place])
        max_over_ranks(0, ranks)  # waits until every rank is here
        return self._close({name: read_filled(table_path(name)) for name in names}) if ranks.is_first else Filled(0, {})

    def _start(self) -> None:
        for name in (self.closing_name, STARTED_NAME):
            path = os.path.join(self.path, name)
            if os.path.isfile(path):
                found = read_folder_file(path)["identity"]
                others = [key for key in {**found, **self.identity} if found.get(key) != self.identity.get(key)]
                if others:
                    raise InputError(f"{self.path} was made with other {', '.join(others)}; choose another folder")
                return
        if os.path.isdir(self.path) and os.listdir(self.path):
            raise InputError(f"{self.path} holds other files; choose another folder")
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from error
        self._write(STARTED_NAME, {"identity": self.identity})

    def _close(self, tables: Mapping[str, Filled]) -> Filled:
        rows = {name: table.rows for name, table in tables.items()}
        drops = sum((Counter(table.drops) for table in tables.values()), Counter[str]())
        self._write(self.closing_name, {"identity": self.identity, "rows": rows, "drops": drops})
        with contextlib.suppress(FileNotFoundError):  # closed before
            os.remove(os.path.join(self.path, STARTED_NAME))
        return Filled(sum(rows.values()), drops)

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        with written_file(os.path.join(self.path, name)) as aside:
            write_json(aside, values, indent=1, ensure_ascii=True)


def shard_names(shards: Sequence[Shard]) -> list[str]:
    """The names of shards without folder and suffix.

    >>> shard_names([Shard("data/00007.tar", 10)])
    ['00007']

    Raises:
        InputError: When two shards have the same one.
    """
    names = [os.path.basename(shard.path).removesuffix(".tar") for shard in shards]
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise InputError(f"two shards are called {repeated[0]}.tar; take one folder at a time")
    return names


def read_folder_file(path: str) -> dict[str, Any]:
    """What the closing file of a folder says.

    Raises:
        InputError: When there is none, or it says nothing of the kind.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values: dict[str, Any] = json.load(file)
            values["identity"]
    except OSError as error:
        unfinished = os.path.exists(os.path.join(os.path.dirname(path), STARTED_NAME))
        raise InputError(f"{path}: {'not finished; run it again' if unfinished else error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what this program writes") from error
    return values


def write_filled(path: str, table: pa.Table, drops: Mapping[str, int]) -> None:
    """Writes a table as a Parquet file that knows what was left out."""
    metadata = {**(table.schema.metadata or {}), _DROPS_KEY: json.dumps(drops).encode()}
    with written_file(path) as aside:
        # no dictionaries: keys, scores and features seldom repeat
        pq.write_table(table.replace_schema_metadata(metadata), aside, compression="zstd", use_dictionary=False)


def read_filled(path: str) -> Filled:
    """What a table that `write_filled` wrote holds.

    Raises:
        InputError: When it is none.
    """
    try:
        metadata = pq.read_metadata(path)
        return Filled(metadata.num_rows, json.loads((metadata.metadata or {}).get(_DROPS_KEY, b"{}")))
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"{path}: not a table that this program wrote") from error
