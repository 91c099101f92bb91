"""RowDigest: a number that stands for a set of rows, in whatever order they come.

Every row becomes two 64-bit numbers, made of its series' name, its second and the bits of its value, and these are
added up. So the rows need not be sorted, those of a frame and those that were already stored can be added one after the
other, and equal sets of rows have equal digests on every machine and with every version of Python, NumPy and pandas.
Two different sets have the same 128 bits only by chance, unless a user sets out to find such sets.

Comes in: seconds, codes of series and their names, values; for each row the number of its window. Goes out: a text of
32 hexadecimal digits for each window, and one for all of them.
Never: uses ``hash()``, which differs from process to process, or the order in which the bytes of a number are stored.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from temporis_dagster.data_source.observations.model import CACHED_ROWS, Codes, Floats, Integers, Seconds

Words: TypeAlias = npt.NDArray[np.uint64]

SHIFTS_AND_FACTORS = (
    ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)),
    ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)),
)
"""One for each of the two numbers: the last steps of SplitMix64 and of MurmurHash3, after which each bit of a word
depends on all of its bits. Each is a permutation of the words."""


class RowDigest:
    """The digest of some rows, window by window.

    Args:
        windows: How many windows there are.

    Examples:
        >>> import numpy as np
        >>> seconds, orders = np.array([0, 60]), np.array([41.0, 42.0])
        >>> once, again = RowDigest(1), RowDigest(1)
        >>> once.add(np.array([0, 0]), seconds, np.array([0, 0]), ["orders"], orders)
        >>> for row in (1, 0):
        ...     again.add(np.array([0]), seconds[[row]], np.array([0]), ["orders"], orders[[row]])
        >>> once.of_all()
        '7bd2ac744a401d3d00fef37c0e92cb64'
        >>> again.of_all() == once.of_all()
        True
    """

    def __init__(self, windows: int) -> None:
        self._sums = np.zeros((2, windows), dtype=np.uint64)

    def add(self, windows: Integers, seconds: Seconds, codes: Codes, names: Sequence[str], values: Floats) -> None:
        """Add rows, none of which may have been added before.

        Args:
            windows: The number of the window of each row. Rows with a negative number are left out.
            seconds: The Unix second of each row.
            codes: The series of each row, as an index into ``names``.
            names: The names of series.
            values: The value of each row.
        """
        of_names = _of_names(names)
        for start in range(0, len(seconds), CACHED_ROWS):
            block = slice(start, start + CACHED_ROWS)
            inside = windows[block] >= 0
            rows = slice(None) if inside.all() else inside
            at = seconds[block][rows].astype(np.int64).view(np.uint64)
            value = np.ascontiguousarray(values[block][rows]).view(np.uint64)
            places, series = windows[block][rows], codes[block][rows]
            # The rows of a window mostly come one after the other, so they are added up before windows are looked up.
            starts = np.flatnonzero(np.append(len(places) > 0, places[1:] != places[:-1]))
            for number, name in enumerate(of_names):
                word = _mixed(at ^ name[series], number)
                word ^= value
                np.add.at(self._sums[number], places[starts], np.add.reduceat(_mixed(word, number), starts))

    def of_each(self) -> list[str]:
        """Return the digest of the rows of each window."""
        first, second = self._sums.tolist()
        return [f"{one:016x}{other:016x}" for one, other in zip(first, second, strict=True)]

    def of_all(self) -> str:
        """Return the digest of the rows of all windows together; if there is only one, that of its rows."""
        first, second = self._sums.sum(axis=1, dtype=np.uint64).tolist()
        return f"{first:016x}{second:016x}"


def _of_names(names: Sequence[str]) -> tuple[Words, Words]:
    """Return two numbers for each name, made of its bytes in UTF-8."""
    hashed = b"".join(hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names)
    both = np.frombuffer(hashed, dtype="<u8").astype(np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def _mixed(words: Words, number: int) -> Words:
    """Mix the bits of each word, in place."""
    for shift, factor in SHIFTS_AND_FACTORS[number]:
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    return words
