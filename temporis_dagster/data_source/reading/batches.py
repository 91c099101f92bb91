"""Batches: what is read piece by piece, cut into batches of the size that the caller wants.

Comes in: a function that reads the next piece. Goes out: batches, in order; ``Reading``, how far a reading has come.
Never: holds a connection, or more than one piece and one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from temporis_dagster.data_source.reading.rows import Rows
from temporis_dagster.errors import ConfigurationError

FIRST_SPAN_S = 3_600
"""How many seconds the first piece is tried with."""


@dataclass
class Reading:
    """How far a reading in pieces has come.

    Attributes:
        start: The first Unix second that is still to be read.
        end: The Unix second after the last one that is to be read.
        names: The names of the series; None for all.
        rows: The maximum number of observations per batch.
        store: What tells the store, in which it began, from others.
        span_s: How many seconds the next piece may span, by what the one before it held.
    """

    start: int
    end: int
    names: Sequence[str] | None
    rows: int
    store: object
    span_s: int = FIRST_SPAN_S

    @property
    def is_over(self) -> bool:
        """Whether all has been read."""
        return self.start >= self.end


def rows_per_batch(rows: object) -> int:
    """Return the maximum number of observations per batch, after checking it.

    Raises:
        ConfigurationError: It is not a positive integer.
    """
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 1:
        raise ConfigurationError(f"rows must be an integer of at least 1, got {rows!r}.")
    return int(rows)


def in_batches(reading: Reading, read_on: Callable[[Reading], Rows]) -> Iterator[Rows]:
    """Yield batches of ``reading.rows`` observations; the last one may have fewer.

    Args:
        reading: What is to be read.
        read_on: Reads the next piece, which may be empty, and notes in the reading how far it came.
    """
    most, held, count = reading.rows, list[Rows](), 0
    while not reading.is_over:
        piece = read_on(reading)
        held.append(piece)
        count += len(piece)
        if count < most:
            continue
        whole, together = count - count % most, Rows.joined(held)
        held, count = [together.cut(whole, count)], count - whole
        for first in range(0, whole, most):
            yield together.cut(first, first + most)
    if count:
        yield Rows.joined(held)
