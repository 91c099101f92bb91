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
from temporis_dagster.data_source.reading.forms import pandas_frame

HEADER = ("timestamp", "name", "value")
ROWS_PER_PIECE = 500
"""Pieces are small, because the service gives a client ten seconds for what it has been sent and not read yet."""


def csv_of(batches: Iterable[Rows]) -> Iterator[bytes]:
    """Yield the file piece by piece: times in ISO 8601, and numbers and texts so that they are read back exactly."""
    yield _lines([HEADER])
    for batch in batches:
        frame = pandas_frame(batch)
        seconds = frame["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[s]")
        times = np.datetime_as_string(seconds, timezone="UTC").tolist()
        names, values = frame["name"].tolist(), frame["value"].tolist()
        for first in range(0, len(times), ROWS_PER_PIECE):
            rows = slice(first, first + ROWS_PER_PIECE)
            yield _lines(zip(times[rows], names[rows], map(repr, values[rows]), strict=True))


def _lines(rows: Iterable[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    # With this line end, Python 3.10 and 3.11 also quote a text with a lone CR, which would be lost otherwise.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
