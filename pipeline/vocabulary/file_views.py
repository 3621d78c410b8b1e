"""Page-view files ► the views of every title in each: how the stage build-vocab reads page views.

In: page-view files, the titles of the dumps' units. Out: `VIEWS` of every file. Of the tens of millions of titles that
people ask a large wiki for in a month, only those that the dump has are kept, so that memory goes with the dump.
"""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.base import files
from pipeline.base.drops import Counts, DropReason, drop_counts
from pipeline.base.tables import read_table, write_table
from vocab.known_titles import hash_titles, join_hashes
from vocab.pageviews import VIEWS, Access, count_views

KNOWN_TITLES = pa.schema([pa.field("hash", pa.uint64(), nullable=False)])


def write_known_titles(tables: Sequence[str], output: str) -> Counts:
    """Writes the hashes of all titles of the dumps, redirects as well.

    Args:
        tables: The titles of all units, `TITLES`.
        output: The table to write, `KNOWN_TITLES`.
    """
    hashes = join_hashes(hash_titles(read_table(path, ["title"])["title"]) for path in tables)
    write_table(output, pa.table([pa.array(hashes)], schema=KNOWN_TITLES), KNOWN_TITLES)
    return {}


def count_file_views(
    source: str, output: str, *, project: str, access: Access = "all", known_titles: str = ""
) -> Counts:
    """Writes the views of every title in a page-view file.

    Args:
        source: The page-view file.
        output: The table to write, `VIEWS`.
        project: The wiki whose rows count.
        access: Which of its sites count.
        known_titles: Table of the titles to keep, `KNOWN_TITLES`; empty: all.

    Returns:
        Rows in, kept and dropped.

    Raises:
        FileTrouble: When the file cannot be read to its end.
    """
    known = read_table(known_titles)["hash"].to_numpy() if known_titles else None
    with files.open_for_read(source) as file:
        try:
            found = count_views(file, project=project, access=access, known=known)
        except OSError as error:
            raise files.FileTrouble(f"{source}: {error}") from error
    counts = drop_counts("view_rows", found.num_rows - found.num_bad_rows, {DropReason.BAD_ROW: found.num_bad_rows})
    write_table(output, found.views, VIEWS, counts)
    return counts
