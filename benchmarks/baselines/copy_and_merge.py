"""What scripts do with PostgreSQL: COPY into a temporary table, then INSERT ... ON CONFLICT DO UPDATE of what differs.

`Merge` gets sorted arrays and copies in binary. `MergeFrame` begins with a frame, as such scripts are written: CSV, and
a join for the ids of the series.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from benchmarks.baselines.psycopg_loop import connect, copied
from benchmarks.postgres_parts.samples import Load

SETTINGS = "sorted arrays, binary COPY, 50,000 rows per transaction; rows that do not differ are left alone"
SETTINGS_OF_FRAME = "from a frame: CSV, a join for the ids of the series, one transaction"
MERGE = (
    " ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value"
    " WHERE plain_observation.value IS DISTINCT FROM excluded.value"
)


class Merge:
    """COPY into a temporary table, then INSERT ... ON CONFLICT DO UPDATE of the rows that differ. From sorted arrays.

    Args:
        url: The database.
        source: Which data source.
        whole: Copy and merge all rows in one transaction, instead of 50,000 at a time.
    """

    def __init__(self, url: str, source: int, *, whole: bool = False) -> None:
        self._connection, self._source, self._whole = connect(url), source, whole
        self._connection.execute(
            "CREATE TEMP TABLE staged (timestamp int8, value float8, series int4) ON COMMIT DELETE ROWS"
        )
        self._connection.commit()

    @property
    def label(self) -> str:
        """What tables call this way."""
        return f"COPY to a temporary table and merge, {'all rows' if self._whole else '50,000 rows'} at a time"

    def upsert(self, load: Load) -> int:
        """Return how many rows differed from what was there."""
        base = self._source * len(load.names)
        chunks = load.chunks
        if self._whole:
            columns = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
            order = np.lexsort((columns[1], columns[0]))
            chunks = [tuple(column[order] for column in columns)]
        return sum(self._chunk(codes + base, times, values) for codes, times, values in chunks)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _chunk(self, series: np.ndarray, times: np.ndarray, values: np.ndarray) -> int:
        cursor = self._connection.cursor()
        with cursor.copy("COPY staged (series, timestamp, value) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(copied(series, times, values))
        insert = "INSERT INTO plain_observation (series, timestamp, value) SELECT series, timestamp, value FROM staged"
        changed = cursor.execute(insert + MERGE).rowcount
        self._connection.commit()
        return changed


class MergeFrame:
    """The same from a frame, as such scripts are written: CSV, a temporary table, a join for the ids of the series."""

    label = "the same script from a frame, as CSV, in one transaction"

    def __init__(self, url: str, source: int) -> None:
        self._connection, self._source = connect(url), source
        self._connection.execute("CREATE TEMP TABLE staged (timestamp int8, name text, value float8)")
        self._connection.commit()

    def upsert(self, load: Load) -> int:
        """Return how many rows differed from what was there."""
        frame: pd.DataFrame = load.frame
        seconds = frame["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
        text = io.StringIO()
        frame.assign(timestamp=seconds).to_csv(text, index=False, header=False)
        cursor = self._connection.cursor()
        cursor.execute("TRUNCATE staged")
        with cursor.copy("COPY staged (timestamp, name, value) FROM STDIN (FORMAT CSV)") as copy:
            copy.write(text.getvalue())
        changed = cursor.execute(
            "INSERT INTO plain_observation (series, timestamp, value) SELECT n.id, s.timestamp, s.value"
            " FROM staged s JOIN plain_series n ON n.source = %s AND n.name = s.name" + MERGE,
            (self._source,),
        ).rowcount
        self._connection.commit()
        return changed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
