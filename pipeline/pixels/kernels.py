"""Loops over pixels, compiled by numba: a resize in two passes, and the averages of a picture's channels.

In: arrays of 8-bit pixels and whole-number weights. Out: arrays that are filled. All is done in whole numbers, so
every machine gets the same bits; `pipeline.pixels.resizing` and `pipeline.pixels.averages` have the same in numpy
for where nothing is compiled. numba is needed once a machine, see `vocab.kernels.standalone`.

Both passes of the resize run over neighbours in memory, which is what compilers make vectors of: the first takes a
block of rows at a time and turns it on its side, the second takes whole rows. What overshoots is cut off after each
pass, as in Pillow.
"""

from typing import Any, Final

import numpy as np

from vocab.kernels.standalone import Array, standalone

_FINE: Final = 6  # bits below a level that are kept between the passes
_WEIGHT_BITS: Final = 14  # of a weight's fraction: 1 is 16384
_BYTES, _SHORTS, _SUMS = (Array(np.dtype(kind), 2) for kind in (np.uint8, np.int16, np.int64))
_LINE, _LINE_SUMS, _ROW_SUMS, _PLACES = (Array(np.dtype(kind), 1) for kind in (np.int16, np.int32, np.uint32, np.int64))


def _blend(source: Any, first: int, weights: Any, shift: int, top: int, sums: Any, line: Any) -> None:
    """Blends neighbouring rows into one line: (sum of rows x weights) >> shift, rounded, within 0 and top."""
    sums[: line.size] = np.int32(1 << (shift - 1))
    for tap in range(weights.size):
        weight = np.int32(weights[tap])
        row = source[first + tap]
        for place in range(line.size):
            sums[place] += weight * np.int32(row[place])
    for place in range(line.size):
        line[place] = min(max(sums[place] >> shift, 0), top)


@standalone(_BYTES, _PLACES, _SHORTS, _PLACES, _SHORTS, _BYTES, _LINE, _LINE_SUMS, _SHORTS, _BYTES)
def resize_rows(
    source: Any,
    firsts: Any,
    weights: Any,
    side_firsts: Any,
    side_weights: Any,
    block: Any,
    column: Any,
    sums: Any,
    middle: Any,
    result: Any,
) -> None:
    """Resizes an RGB picture.

    Args:
        source: uint8 [height, width * 3].
        firsts: int64 [new height], the first row that each new row is a blend of.
        weights: int16 [new height, taps], in 1/16384.
        side_firsts: int64 [new width], the first column of each blend.
        side_weights: int16 [new width, taps].
        block: uint8 [width, 3 * rows], for the columns of so many rows at once.
        column: int16 [3 * rows], for one of them.
        sums: int32 [longest of new width * 3 and 3 * rows], for a line of either pass.
        middle: int16 [height, new width * 3], for what the first pass makes.
        result: uint8 [new height, new width * 3], filled.
    """
    height, width = source.shape[0], source.shape[1] // 3
    rows_at_once = block.shape[1] // 3
    for first in range(0, height, rows_at_once):
        num_rows = min(rows_at_once, height - first)
        for row in range(num_rows):
            for place in range(width):
                block[place, 3 * row] = source[first + row, 3 * place]
                block[place, 3 * row + 1] = source[first + row, 3 * place + 1]
                block[place, 3 * row + 2] = source[first + row, 3 * place + 2]
        for place in range(side_firsts.size):
            _blend(block, side_firsts[place], side_weights[place], _WEIGHT_BITS - _FINE, 255 << _FINE, sums, column)
            for row in range(num_rows):
                middle[first + row, 3 * place] = column[3 * row]
                middle[first + row, 3 * place + 1] = column[3 * row + 1]
                middle[first + row, 3 * place + 2] = column[3 * row + 2]
    for row in range(firsts.size):
        _blend(middle, firsts[row], weights[row], _WEIGHT_BITS + _FINE, 255, sums, result[row])


@standalone(_BYTES, _ROW_SUMS, _SUMS)
def average_channels(source: Any, line: Any, sums: Any) -> None:
    """Sums the channels of a picture over a grid of equal cells; a pixel on a border counts in both by its share.

    Args:
        source: uint8 [height, width * channels], neither side longer than 65,535.
        line: uint32 [width * channels], for the sum of the rows of a row of cells.
        sums: int64 [channels * cells, cells], filled: levels x share of the rows x share of the columns, both in
            1/cells.
    """
    cells = sums.shape[1]
    channels = sums.shape[0] // cells
    height, width = source.shape[0], source.shape[1] // channels
    for cell in range(cells):
        line[:] = np.uint32(0)
        for row in range(cell * height // cells, min(height, ((cell + 1) * height - 1) // cells + 1)):
            share = np.uint32(min((row + 1) * cells, (cell + 1) * height) - max(row * cells, cell * height))
            pixels = source[row]
            for place in range(line.size):
                line[place] += share * np.uint32(pixels[place])
        for column in range(cells):
            first, last = column * width // cells, min(width, ((column + 1) * width - 1) // cells + 1) - 1
            shares = min((first + 1) * cells, (column + 1) * width) - column * width
            last_share = (column + 1) * width - last * cells
            for channel in range(channels):
                total = np.uint64(0)
                for place in range(first + 1, last):
                    total += line[channels * place + channel]
                total = total * np.uint64(cells) + np.uint64(shares) * line[channels * first + channel]
                if last > first:
                    total += np.uint64(last_share) * line[channels * last + channel]
                sums[channel * cells + cell, column] = np.int64(total)
