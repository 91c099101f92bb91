"""CSV: observations as a file that is made while it is downloaded.

Comes in: batches of observations. Goes out: the bytes of a CSV file, as `temporis read` writes it.
Never: holds more than one batch, or writes a number that would be read back as another one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import numpy as np

from temporis_dagster.data_source.reading import Rows

HEADER = ("timestamp", "name", "value")
ROWS_PER_PIECE, PIECE_BYTES = 500, 32_768
"""Pieces are small, because the service gives a client ten seconds for what it has been sent and not read yet. A name
of a series may be of any length, so the rows alone do not bound them."""


def csv_of(batches: Iterable[Rows]) -> Iterator[bytes]:
    """Yield the file piece by piece: times in ISO 8601, and numbers and texts so that they are read back exactly."""
    yield from _pieces([HEADER])
    for batch in batches:
        for first in range(0, len(batch), ROWS_PER_PIECE):
            rows = slice(first, first + ROWS_PER_PIECE)
            times = np.datetime_as_string(batch.timestamps[rows].astype("datetime64[s]"), timezone="UTC").tolist()
            names = (batch.names[code] for code in batch.codes[rows].tolist())
            yield from _pieces(zip(times, names, map(repr, batch.values[rows].tolist()), strict=True))


def _pieces(rows: Iterable[tuple[str, ...]]) -> Iterator[bytes]:
    """Yield the rows in pieces of at most ``PIECE_BYTES``, and hold little more than one of them or one row."""
    text = io.StringIO()
    # With this line end, Python 3.10 and 3.11 also quote a text with a lone CR, which would be lost otherwise.
    writer = csv.writer(text, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        if text.tell() >= PIECE_BYTES:
            yield from _cut(text.getvalue())
            text.seek(0)
            text.truncate()
    yield from _cut(text.getvalue())


def _cut(text: str) -> Iterator[bytes]:
    content = text.encode()
    for first in range(0, len(content), PIECE_BYTES):
        yield content[first : first + PIECE_BYTES]
