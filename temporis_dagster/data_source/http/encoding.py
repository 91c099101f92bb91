"""Encoding: observations become request bodies, bounded by rows and bytes, made one by one as they are sent.

Comes in: observations and the bounds. Goes out: bodies, each of which knows its rows and its JSON.
Never: loses a bit of a number, holds more than the body being made, or sends.

orjson writes the numbers of a body as two arrays, which are split at their commas and joined with the constant text
between them, which was measured as 1.3 times as fast as one struct per record. A timestamp that stands in several rows
in a row, as in a frame in the order of time, is written once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson

from temporis_dagster.data_source.http.body_size import BodySize
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.observations.model import Floats, Seconds

NEXT = b'},{"timestamp":'
"""The text between two records."""

BLOCK_ROWS = 1_000
"""How many rows are in memory as pieces at a time: some 200 kB, which is also faster than a whole body at once."""

FILL = 0.95
"""The share of the allowed bytes to fill when estimating rows per body, because rows differ in length."""


@dataclass(frozen=True, eq=False)
class Body:
    """The body of one request.

    Attributes:
        rows: The observations in it, as a slice with both ends.
        content: JSON in UTF-8.
    """

    rows: slice
    content: bytes

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)


class Encoder:
    """The bodies of one upsert.

    Args:
        data_source: The name of the data source.
        observations: What to send, in this order.
        size: The bounds of a body, asked whenever one is made: they may change meanwhile.
    """

    def __init__(self, data_source: str, observations: Observations, size: BodySize) -> None:
        self._head = b'{"data_source":%b,"records":[{"timestamp":' % orjson.dumps(data_source)
        names = (b',"name":%b,"value":' % orjson.dumps(name) for name in observations.names)
        self._names = np.fromiter(names, dtype=object, count=len(observations.names))
        self._observations, self._size = observations, size
        self._bytes_per_row = 0.0

    def bodies(self) -> Iterator[Body]:
        """Make the bodies of all observations, in order."""
        start, count = 0, len(self._observations)
        while start < count:
            stop = min(start + self._fitting_rows(), count)
            yield from self._bounded(slice(start, stop))
            start = stop

    def is_too_large(self, body: Body) -> bool:
        """Tell whether a body that was made earlier exceeds the present bound and can be cut."""
        return len(body.content) > self._size.max_bytes and len(body) > 1

    def halves(self, body: Body) -> list[Body]:
        """Cut a body in two, for a service that refused it as a whole."""
        middle = body.rows.start + len(body) // 2
        return [self._body(slice(body.rows.start, middle)), self._body(slice(middle, body.rows.stop))]

    def _bounded(self, rows: slice) -> Iterator[Body]:
        body = self._body(rows)
        if not self.is_too_large(body):
            yield body
            return
        middle = rows.start + len(body) // 2
        del body
        yield from self._bounded(slice(rows.start, middle))
        yield from self._bounded(slice(middle, rows.stop))

    def _fitting_rows(self) -> int:
        """Estimate how many rows fit, by the size of the last body: one that turns out too large is made in vain."""
        if not self._bytes_per_row:
            return self._size.rows
        return max(min(self._size.rows, int(FILL * self._size.max_bytes / self._bytes_per_row)), 1)

    def _body(self, rows: slice) -> Body:
        observations, count = self._observations, rows.stop - rows.start
        timestamps, values = _timestamps(observations.timestamps[rows]), observations.values[rows]
        names: list[bytes] = self._names[observations.codes[rows]].tolist()
        observations.let_go()
        blocks = [
            _records(timestamps[block], names[block], values[block])
            for block in (slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS))
        ]
        blocks[0] = self._head + blocks[0]
        blocks[-1] += b"}]}"
        content = NEXT.join(blocks)
        self._bytes_per_row = len(content) / count
        return Body(rows, content)


def empty_body(data_source: str) -> bytes:
    """Make an empty ingest, which asks whether the data source takes observations."""
    return orjson.dumps({"data_source": data_source, "records": []})


def _records(timestamps: list[bytes], names: list[bytes], values: Floats) -> bytes:
    """Make the records of some rows, without the text before the first timestamp and after the last value."""
    pieces = [NEXT] * (4 * len(names) - 1)
    pieces[0::4] = timestamps
    pieces[1::4] = names
    pieces[2::4] = _texts(values)
    return b"".join(pieces)


def _timestamps(timestamps: Seconds) -> list[bytes]:
    """Write timestamps as JSON; where one comes several times in a row, once."""
    starts = np.flatnonzero(timestamps[1:] != timestamps[:-1]) + 1
    if 2 * len(starts) > len(timestamps):
        return _texts(timestamps)
    starts = np.concatenate(([0], starts))
    once = _texts(timestamps[starts])
    made = np.fromiter(once, dtype=object, count=len(once))
    repeated: list[bytes] = made.repeat(np.diff(starts, append=len(timestamps))).tolist()
    return repeated


def _texts(numbers: Seconds | Floats) -> list[bytes]:
    """Write numbers as JSON, each as the shortest text that reads back as the same bits."""
    contiguous = numbers if numbers.flags.c_contiguous else numbers.copy()
    return orjson.dumps(contiguous, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
