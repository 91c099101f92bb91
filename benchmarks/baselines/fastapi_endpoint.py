"""The endpoint of the service as its author would write it with FastAPI, pydantic 2 and the ``sqlite3`` driver.

It serves a file that our store has made: the same tables, tokens and durability, the same rules for records, the same
order of refusals but for one (FastAPI validates a body before it looks for its data source), one transaction per
request. It does not bound memory, connections or slow clients, logs nothing, and takes -0.0 for 0.0, as a REAL column
would. Run it with ``BENCHMARK_STORE=temporis.db uvicorn --factory benchmarks.baselines.fastapi_endpoint:create_app``.
"""

import hashlib
import os
import sqlite3
import threading
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

SETTINGS = (
    "FastAPI, pydantic 2 models, a thread of its pool per request, one connection per thread, one `executemany` upsert"
    " per request sorted by key, WAL, synchronous=FULL; uvicorn with uvloop and httptools if they are installed"
)
MOST_RECORDS = 50_000
UPSERT = (
    "INSERT INTO temporis_observation (series, timestamp, value) VALUES (?, ?, ?)"
    " ON CONFLICT (series, timestamp) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value"
)


class Record(BaseModel):
    """One observation, as in the API."""

    model_config = ConfigDict(strict=True)

    timestamp: int = Field(ge=-62_135_596_800, lt=100_000_000_000)
    name: str = Field(min_length=1, pattern="^[^\\x00]+$")
    value: float = Field(allow_inf_nan=False)


class Ingest(BaseModel):
    """The body of a request."""

    data_source: str
    records: list[Record] = Field(max_length=MOST_RECORDS)


class Store:
    """A file of observations, with one connection for each thread.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path, self._own = path, threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        if not hasattr(self._own, "connection"):
            self._own.connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
            self._own.connection.execute("PRAGMA synchronous = FULL")
        return self._own.connection

    def account(self, token: str) -> int | None:
        """The account that a token belongs to."""
        hashed = hashlib.sha256(token.encode()).hexdigest()
        found = self.connection.execute("SELECT account FROM temporis_token WHERE hash = ?", (hashed,)).fetchone()
        return found and found[0]

    def upsert(self, account: int, ingest: Ingest) -> None:
        """Store all records in one transaction."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            ids = self._ids(self._source(account, ingest.data_source), {record.name for record in ingest.records})
            rows = [(ids[record.name], record.timestamp, record.value) for record in ingest.records]
            rows.sort(key=lambda row: row[:2])  # the order of the table; of two records with one key, the last counts
            connection.executemany(UPSERT, rows)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _source(self, account: int, name: str) -> int:
        found = self.connection.execute(
            "SELECT id, archived FROM temporis_data_source WHERE account = ? AND name = ?", (account, name)
        ).fetchone()
        if found is None:
            raise HTTPException(404, "Data source not found.")
        if found[1]:
            raise HTTPException(409, "Data source is archived.")
        return found[0]

    def _ids(self, source: int, names: set[str]) -> dict[str, int]:
        rows = [(source, name) for name in names]
        new = "INSERT INTO temporis_series (data_source, name) VALUES (?, ?) ON CONFLICT DO NOTHING"
        self.connection.executemany(new, rows)
        of_name = "SELECT id FROM temporis_series WHERE data_source = ? AND name = ?"
        return {row[1]: self.connection.execute(of_name, row).fetchone()[0] for row in rows}


def create_app(store_path: str | None = None) -> FastAPI:
    """The application.

    Args:
        store_path: The file; None for the one that ``BENCHMARK_STORE`` names.
    """
    store = Store(store_path or os.environ["BENCHMARK_STORE"])
    app, bearer = FastAPI(), HTTPBearer(auto_error=False)

    def account(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> int:
        if given is None:
            raise HTTPException(401, "Missing access token.")
        if (found := store.account(given.credentials)) is None:
            raise HTTPException(401, "Invalid access token.")
        return found

    @app.post("/v1/data_sources/ingest", status_code=204)
    def ingest(body: Ingest, account: Annotated[int, Depends(account)]) -> None:
        store.upsert(account, body)

    return app
