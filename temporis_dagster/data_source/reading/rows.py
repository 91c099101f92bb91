"""Rows: observations that were read back, as columns.

Comes in: arrays. Goes out: the same, cut or joined.
Never: knows where they were read, or which library they will be a frame of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s, Mask


@dataclass(frozen=True)
class Rows:
    """Observations, sorted by (timestamp, name).

    Attributes:
        timestamps: Unix seconds.
        codes: The place of each observation's series in ``names``.
        names: The names of series, sorted by code point. Some may have no observation.
        values: The values.
    """

    timestamps: Int64s
    codes: Codes
    names: Sequence[str]
    values: Floats

    def __len__(self) -> int:
        return len(self.timestamps)

    @classmethod
    def none(cls) -> Rows:
        """Return no observations."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int32), [], np.empty(0))

    def present(self) -> set[str]:
        """Return the names that have an observation."""
        return {self.names[code] for code in np.unique(self.codes).tolist()}

    def take(self, positions: Int64s | Mask) -> Rows:
        """Return the observations at some positions, ascending, or where a mask is true."""
        return Rows(self.timestamps[positions], self.codes[positions], self.names, self.values[positions])

    def cut(self, first: int, end: int) -> Rows:
        """Return a copy of the observations from a position up to another, which does not keep the others alive."""
        if first <= 0 and end >= len(self):
            return self
        codes, names = self.codes[first:end], self.names
        if len(names) > len(codes):
            present, codes = np.unique(codes, return_inverse=True)
            names = [names[code] for code in present.tolist()]
        part = slice(first, end)
        return Rows(self.timestamps[part].copy(), codes.astype(np.int32), names, self.values[part].copy())

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the observations of all parts, of which each comes after the one before it."""
        if len(parts) == 1:
            return parts[0]
        names: Sequence[str] = parts[0].names
        codes = [part.codes for part in parts]
        if any(part.names != names for part in parts):
            names = sorted({name for part in parts for name in part.names})
            places = {name: place for place, name in enumerate(names)}
            own = [np.array([places[name] for name in part.names], dtype=np.int32) for part in parts]
            codes = [places_of[part.codes] for places_of, part in zip(own, parts, strict=True)]
        return cls(
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate(codes),
            names,
            np.concatenate([part.values for part in parts]),
        )
