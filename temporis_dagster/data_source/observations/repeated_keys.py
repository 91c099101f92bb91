"""Repeated keys: of observations with the same (timestamp, name) the last one wins, before anything is sent.

Comes in: the keys of valid observations in row order. Goes out: which of them stay, which of these beat the others, and
the order by series and time, which finding them takes.
Never: looks at values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.observations.model import (
    BLOCK_ROWS,
    Codes,
    Int64s,
    Mask,
    Positions,
    Seconds,
    width_for,
)

BITS = 63
"""The bits of a positive number of 64 bits."""

NO_ROWS: Int64s = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows whose (timestamp, name) a later row has as well.

    Attributes:
        last: Which of all rows are the last with their key, as a mask.
        lost: The other rows, ascending.
        winners: The last row with the key of each of those.
    """

    last: Mask
    lost: Int64s
    winners: Int64s


@dataclass(frozen=True, eq=False)
class KeyOrder:
    """The order of rows by their keys.

    Attributes:
        in_time: Whether the rows themselves ascend in time and, at one time, by the numbers of their series.
        by_series: The last row of each key, by series and then by time. None if the rows are in that order themselves,
            or ``in_time``: then they need not be sorted to see that no key is repeated.
        repeats: The rows that are not the last with their key; None if there are none.
    """

    in_time: bool
    by_series: Positions | None = None
    repeats: Repeats | None = None


def key_order(timestamps: Seconds, codes: Codes) -> KeyOrder:
    """Find the order of observations by their keys, and those that are not the last with their (timestamp, name).

    Args:
        timestamps: Unix seconds.
        codes: The series of each.
    """
    in_time = _ascend(timestamps, codes)
    if in_time or _ascend(codes, timestamps):
        return KeyOrder(in_time)
    order, repeated = _by_series(timestamps, codes)
    if not len(repeated):
        return KeyOrder(in_time, order)
    return KeyOrder(in_time, np.delete(order, repeated), _repeats(order, repeated))


def _ascend(major: Seconds | Codes, minor: Seconds | Codes) -> bool:
    """Return whether the pairs ascend strictly. They are compared block by block, without an array of all keys."""
    for start in range(0, len(major) - 1, BLOCK_ROWS):
        here, after = slice(start, start + BLOCK_ROWS), slice(start + 1, start + BLOCK_ROWS + 1)
        count = len(major[after])
        before, step = major[here][:count], minor[after] > minor[here][:count]
        if not ((major[after] > before) | ((major[after] == before) & step)).all():
            return False
    return True


def _by_series(timestamps: Seconds, codes: Codes) -> tuple[Positions, Int64s]:
    """Return the rows by series, time and row, and the places in that order whose key the next place has as well.

    Key and row are packed into one number for each row, because numbers are sorted several times as fast as their
    places. If they do not fit into 64 bits, the places are sorted.
    """
    count, first = len(timestamps), int(timestamps.min())
    span, row_bits = int(timestamps.max()) - first + 1, (count - 1).bit_length()
    if ((int(codes.max()) + 1) * span).bit_length() + row_bits > BITS:
        places = np.lexsort((timestamps, codes))
        series, seconds = codes[places], timestamps[places]
        same = (series[1:] == series[:-1]) & (seconds[1:] == seconds[:-1])
        return places.astype(width_for(count)), np.flatnonzero(same)
    packed: Int64s = np.empty(count, dtype=np.int64)
    for start in range(0, count, BLOCK_ROWS):
        block = packed[start : start + BLOCK_ROWS]
        block[:] = codes[start : start + BLOCK_ROWS]
        block *= span
        block += timestamps[start : start + BLOCK_ROWS]
        block -= first
        block <<= row_bits
        block += np.arange(start, start + len(block))
    packed.sort()
    order, repeated, rows = np.empty(count, dtype=width_for(count)), list[Int64s](), 1 << row_bits
    for start in range(0, count, BLOCK_ROWS):
        block, after = packed[start : start + BLOCK_ROWS], packed[start + 1 : start + BLOCK_ROWS + 1]
        order[start : start + BLOCK_ROWS] = block & (rows - 1)
        same = (block[: len(after)] ^ after) < rows
        if same.any():
            repeated.append(start + np.flatnonzero(same))
    return order, np.concatenate([NO_ROWS, *repeated])


def _repeats(order: Positions, repeated: Int64s) -> Repeats:
    """Return the repeats, given the places in the order of series and time whose key the next place has as well."""
    last_of_key = np.append(np.diff(repeated) > 1, True)
    winners = repeated[last_of_key] + 1
    winning = winners[np.searchsorted(winners, repeated, side="right")]
    lost, won = order[repeated].astype(np.int64), order[winning].astype(np.int64)
    by_row, last = np.argsort(lost), np.ones(len(order), dtype=np.bool_)
    last[lost] = False
    return Repeats(last, lost[by_row], won[by_row])
