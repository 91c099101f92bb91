"""InputKeys: the keys of a frame: those of its observations, and those of rows that were invalid and left out.

Comes in: observations. Goes out: which timestamps of a series it lacks; the keys that only invalid rows have.
Never: takes a row whose timestamp could not be read for a key: it may be any.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from temporis_dagster.data_source.observations.model import DroppedKeys, Int64s, Mask, Observations
from temporis_dagster.data_source.plan.within import NOTHING, own_spans

NO_KEYS = DroppedKeys(NOTHING, NOTHING, NOTHING)


class Keys(NamedTuple):
    """Some keys: the series of each, as an index into the names of the frame, and its timestamp."""

    codes: Int64s
    timestamps: Int64s


class InputKeys:
    """The keys of a frame. A stored row with one of them is not a ghost.

    Args:
        observations: What the frame became.
    """

    def __init__(self, observations: Observations) -> None:
        self._observations = observations
        self._codes = {name: code for code, name in enumerate(observations.names) if name}
        self.dropped = observations.dropped_keys or NO_KEYS
        self._last: tuple[str, Int64s] | None = None

    def lacks(self, name: str, timestamps: Int64s) -> Mask:
        """Return which timestamps of a series are not in the frame."""
        given = self._of(name)
        if not len(given):
            return np.ones(len(timestamps), dtype=np.bool_)
        places = np.searchsorted(given, timestamps)
        places[places == len(given)] = 0
        lacking: Mask = given[places] != timestamps
        return lacking

    def _of(self, name: str) -> Int64s:
        """Return the timestamps of a series, ascending. Kept until the next series, because pages come one by one."""
        if self._last is None or self._last[0] != name:
            code = self._codes.get(name, -1)
            start, end = np.searchsorted(self._sorted_codes, [code, code + 1])
            valid = self._observations.timestamps[self._order[start:end]].astype(np.int64)
            invalid = self.dropped.timestamps[self.dropped.codes == code]
            self._last = name, np.unique(np.concatenate([valid, invalid]))
        return self._last[1]

    def only_dropped(self) -> Keys:
        """Return the keys of invalid rows that no valid row has."""
        dropped, valid = self.dropped, self._observations
        if not len(dropped.codes):
            return Keys(NOTHING, NOTHING)
        # All at once: searching the valid rows series by series is quadratic where every series has an invalid row.
        rivals = np.flatnonzero(np.isin(valid.codes, dropped.codes))
        codes = np.concatenate([valid.codes[rivals], dropped.codes])
        timestamps = np.concatenate([valid.timestamps[rivals], dropped.timestamps])
        is_dropped = np.arange(len(codes)) >= len(rivals)
        order = np.lexsort((is_dropped, timestamps, codes))
        codes, timestamps = codes[order].astype(np.int64), timestamps[order].astype(np.int64)
        new = is_dropped[order]  # the first row of each key, unless that is a valid one
        new[1:] &= (codes[1:] != codes[:-1]) | (timestamps[1:] != timestamps[:-1])
        return Keys(codes[new], timestamps[new])

    def unreadable_in(self, covered: Mask) -> int:
        """Return how many invalid rows have no key that could be read, and may be of one of these series."""
        codes = self.dropped.unreadable
        of_series = codes[codes >= 0]
        return len(codes) - len(of_series) + int(np.count_nonzero(covered[of_series]))

    def may_hide(self, name: str) -> bool:
        """Return whether an invalid row has a key that could not be read, and may be of this series."""
        codes = self.dropped.unreadable
        return bool(len(codes)) and bool(((codes < 0) | (codes == self._codes.get(name, -1))).any())

    @cached_property
    def names(self) -> frozenset[str]:
        """The series of which the frame has a row, valid or not: a category that no row uses is not one of them."""
        seen = self._observations.counts > 0
        seen[self.dropped.codes] = True
        seen[self.dropped.unreadable[self.dropped.unreadable >= 0]] = True
        return frozenset(name for name, has_row in zip(self._observations.names, seen.tolist(), strict=True) if has_row)

    @cached_property
    def spans(self) -> tuple[Int64s, Int64s]:
        """The first timestamp of each series, and the one after its last; (0, 0) for a series without a valid row."""
        return own_spans(self._observations)

    @cached_property
    def _order(self) -> Int64s:
        return np.argsort(self._observations.codes, kind="stable")

    @cached_property
    def _sorted_codes(self) -> Int64s:
        return self._observations.codes[self._order].astype(np.int64)
