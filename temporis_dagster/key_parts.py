"""How partition keys are divided into time and the rest, whatever defines the partitions.

Comes in: keys. Goes out: the part of a key that is not time, its words by dimension, and the time.
Never: imports Dagster, or knows series or observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ONLY_DIMENSION = "partition"
"""What the one dimension of static or dynamic partitions is called: Dagster has no name for it."""


@dataclass(frozen=True)
class KeyParts:
    """How partition keys are divided into time and part.

    Attributes:
        timed: Whether there is a time dimension next to the parts.
        places: The positions of the part's dimensions in the key; None if the whole key is the part.
        dimensions: The names of the part's dimensions.
    """

    timed: bool
    places: tuple[int, ...] | None
    dimensions: tuple[str, ...] = (ONLY_DIMENSION,)

    def of(self, key: str) -> str:
        """Return the part of a partition key that is not time."""
        if self.places is None:
            return str(key)
        words = str(key).split("|")
        if len(words) <= max(self.places):  # a key of a definition that the asset had earlier
            return str(key)
        return "|".join(words[place] for place in self.places)

    def time_of(self, key: str) -> str:
        """Return the rest of a partition key, which names the time window; empty if there is none."""
        if self.places is None:
            return ""
        return "|".join(word for place, word in enumerate(str(key).split("|")) if place not in self.places)

    def words_of(self, part: str) -> Mapping[str, str]:
        """Return the words of a part, by dimension."""
        words = [part] if self.places is None else part.split("|")
        return dict(zip(self.dimensions, words, strict=True))

    def read_together(self, keys: Iterable[str]) -> Mapping[str, set[str]]:
        """Return the parts among partition keys, by time window: those whose rows are read together."""
        read: dict[str, set[str]] = {}
        for key in keys:
            read.setdefault(self.time_of(key), set()).add(self.of(key))
        return read
