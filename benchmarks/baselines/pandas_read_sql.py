"""``pandas.read_sql`` of a store's own tables: the frame that ``read`` returns, whole or in chunks.

Seconds become timestamps with a zone through ``parse_dates``. Chunks are what pandas has for bounded memory; SQLAlchemy
streams them only on request.
"""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

SETTINGS = "a join with the names, sorted, `parse_dates`; in chunks with `stream_results`"
QUERY = (
    "SELECT o.timestamp, s.name, o.value FROM temporis_observation o JOIN temporis_series s ON s.id = o.series"
    " ORDER BY o.timestamp, s.name"
)
PARSED = {"timestamp": {"unit": "s", "utc": True}}
CHUNK = 100_000


def whole(url: str) -> int:
    """Read everything at once; return the number of rows."""
    engine = sa.create_engine(url)
    frame = pd.read_sql(QUERY, engine, parse_dates=PARSED)
    engine.dispose()
    return len(frame)


def in_chunks(url: str) -> int:
    """Read everything in chunks of 100,000 rows; return the number of rows."""
    engine = sa.create_engine(url)
    with engine.connect().execution_options(stream_results=True) as connection:
        rows = sum(map(len, pd.read_sql(QUERY, connection, parse_dates=PARSED, chunksize=CHUNK)))
    engine.dispose()
    return rows


def seconds_of(url: str) -> pd.DataFrame:
    """From PostgreSQL: read the seconds, then make them timestamps, which is faster than ``to_timestamp`` in SQL."""
    engine = sa.create_engine(url)
    frame = pd.read_sql(QUERY, engine)
    engine.dispose()
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True))


def over_adbc(url: str) -> pd.DataFrame:
    """The same through ADBC, which reads columns."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url) as connection:
        frame = pd.read_sql(QUERY, connection)
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True))
