"""Matching by compiled code: a column of texts as `vocab.kernels.matching` wants it.

In: a column of texts and a table (`vocab.matcher_table`). Out: for each text the queries it holds. Most texts are
normalised on the way, byte by byte (`vocab.normalize.ByteRules`); the others come normalised, in a second column.
Import this module only where functions are compiled (`vocab.kernels.compiled`).
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vocab.kernels.hashing import BYTE_VALUES
from vocab.kernels.matching import QUOTE, SEPARATOR, SIGN, SIGN_RUN, KeyTable, TextBytes, match_rows, pack_clitics
from vocab.matcher_numpy import cut_blocks
from vocab.matcher_table import Matches, PrefixTable, text_buffers
from vocab.normalize import ByteRules, Normalization

_NORMALIZE_BYTES = 1 << 20  # of texts normalised together

_Array = TypeVar("_Array", bound=npt.NDArray[Any])


def match_column(texts: pa.Array, table: PrefixTable, normalization: Normalization) -> Matches:
    """Finds the queries of every text of a column; null counts as empty."""
    texts = pc.fill_null(texts, "")
    by_bytes = normalization.goes_by_bytes(texts)
    blocks = [
        normalization.normalize_texts(block)
        for block in cut_blocks(texts.filter(pc.invert(by_bytes)), _NORMALIZE_BYTES)
    ]
    offsets, query_ids = match_rows(
        _as_texts(texts, normalization.byte_rules(), table),
        _as_texts(pa.concat_arrays(blocks), ByteRules.of_normalized(), table),
        _frozen(by_bytes.to_numpy(zero_copy_only=False)),
        KeyTable(
            np.uint64(table.multiplier),
            _frozen(table.slots),
            np.uint64(table.home_shift),
            np.uint64(table.value_bits),
            _frozen(table.longer),
            np.uint64(table.longer_shift),
        ),
    )
    return Matches(offsets, query_ids)


def _as_texts(texts: pa.Array, rules: ByteRules, table: PrefixTable) -> TextBytes:
    """A column without nulls."""
    offsets, data = text_buffers(texts)
    values = np.where(rules.in_word, BYTE_VALUES[rules.becomes], SEPARATOR)
    tokens = np.zeros(256, np.uint64)
    for alone in np.flatnonzero(rules.alone):
        tokens[alone] = _hash_token(bytes([rules.becomes[alone]]), table.multiplier)
    for words, kind in ((rules.behind_letters, SIGN_RUN), (rules.behind_single_letter, SIGN)):
        for byte, word in words.items():
            values[byte], tokens[byte] = kind, _hash_token(word, table.multiplier)
    if rules.quote is not None:
        values[rules.quote] = QUOTE
    return TextBytes(
        offsets=_frozen(offsets),
        data=_frozen(data),
        values=_frozen(values),
        tokens=_frozen(tokens),
        clitics=_frozen(pack_clitics(rules.before, rules.behind, any_behind=rules.any_behind)),
        empty_tokens=rules.empty_tokens,
    )


def _hash_token(token: bytes, multiplier: int) -> int:
    hashed = 0
    for value in BYTE_VALUES[[*token, ord(" ")]].tolist():
        hashed = (hashed * multiplier + value) % 2**64
    return hashed


def _frozen(array: _Array) -> _Array:
    """A view that cannot be written to, so that arrays in memory and in files are of one type."""
    view: _Array = array.view()
    view.flags.writeable = False
    return view
