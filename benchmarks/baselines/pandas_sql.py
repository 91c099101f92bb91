"""What pandas has for databases: ``to_sql``, which appends; the same with an upsert as its method; ``read_sql``."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

SETTINGS = "`to_sql` of 50,000 rows at a time; the upsert is the `method=` that pandas' documentation shows"
SETTINGS_OF_READ = "`read_sql` of a sorted query, with `parse_dates`"
CHUNK = 50_000


def opened(url: str) -> sa.Engine:
    """An engine, and a table with a key: ``to_sql`` itself makes one without."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE keyed (timestamp, name, value, PRIMARY KEY (timestamp, name))")
    return engine


def append(engine: sa.Engine, frame: pd.DataFrame) -> None:
    """Append all rows, to a table without a key."""
    frame.to_sql("plain", engine, if_exists="append", index=False, chunksize=CHUNK)


def upsert(engine: sa.Engine, frame: pd.DataFrame) -> None:
    """Insert what is new, and change what is there."""
    frame.to_sql("keyed", engine, if_exists="append", index=False, method=_upserting, chunksize=CHUNK)


def _upserting(table: pd.io.sql.SQLTable, connection: sa.Connection, keys: list[str], rows: object) -> None:
    statement = insert(table.table)
    changed = statement.on_conflict_do_update(["timestamp", "name"], set_={"value": statement.excluded.value})
    connection.execute(changed, [dict(zip(keys, row, strict=True)) for row in rows])


def read(engine: sa.Engine) -> pd.DataFrame:
    """All rows in the order of time, with timestamps that have a zone."""
    query = "SELECT timestamp, name, value FROM plain ORDER BY timestamp, name"
    return pd.read_sql(query, engine, parse_dates={"timestamp": {"utc": True}})
