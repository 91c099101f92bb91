"""What distributed runs write, and where to: the example's first months, into data sources that processes share.

Comes in: a folder, a PostgreSQL server. Goes out: variables for the processes that write, and the data source itself,
seen past whatever stands in front of it.
Never: imports what only the distributed engines bring.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import sqlalchemy as sa
from nyc_airports.dataset import DATA_SOURCE, NYC_DAYS
from nyc_airports.definitions import defs as load_example

from temporis_dagster import DataSource, connect
from temporis_dagster.data_source.store import SqlStore
from tests.conftest import CANARY
from tests.support.dagster_harness import key_range
from tests.support.postgres_server import Postgres
from tests.support.service_fixture import ServiceProcess

HOURLY = ("departures", "weather")
YEAR = NYC_DAYS.get_partition_keys()
DAYS = YEAR[:93]
"""The recipe makes three runs of 31 days of them, each with one step for each asset."""

RUNS = 3
Target = tuple[dict[str, str], DataSource]


def target(kind: str, folder: Path, server: Postgres) -> AbstractContextManager[Target]:
    """Make a data source of a kind that processes can share.

    Args:
        kind: One of ``KINDS``.
        folder: Where its files go.
        server: The PostgreSQL on which it may make a database.
    """
    return _service(folder) if kind == "service" else _postgres(server)


KINDS = ("service", "postgres")
"""`temporis serve` over a SQLite file, and a database without a service in front of it."""


@contextmanager
def _service(folder: Path) -> Iterator[Target]:
    store = SqlStore(f"sqlite:///{folder}/served.db")
    service = ServiceProcess(store.url)
    try:
        with connect(store.url) as temporis:
            source = temporis.create_data_source(DATA_SOURCE)
            yield {"TEMPORIS_URL": service.url, "TEMPORIS_TOKEN": store.tokens.create("workers")}, source
    finally:
        service.stop()
        store.close()


@contextmanager
def _postgres(server: Postgres) -> Iterator[Target]:
    with server.database() as plain, connect(url := with_a_password(plain)) as temporis:
        yield {"TEMPORIS_URL": url}, temporis.create_data_source(DATA_SOURCE)


def with_a_password(url: str, driver: str = "postgresql+psycopg") -> str:
    """The URL of a database with a password in it that must never be shown; a server that trusts us ignores it."""
    parsed = sa.make_url(url).set(drivername=driver)
    return parsed.set(password=parsed.password or CANARY).render_as_string(hide_password=False)


def by_a_single_process(folder: Path, city: Path, days: Sequence[str] = DAYS) -> tuple[int, str]:
    """Write the days as one run in this process, into a file: how many observations, and their digest."""
    url = f"sqlite:///{folder}/single.db"
    variables = {"TEMPORIS_URL": url, "NYC_OPERATIONAL_DB": str(city)}
    with patch.dict(os.environ, variables), connect(url) as temporis, dg.DagsterInstance.ephemeral() as instance:
        source = temporis.create_data_source(DATA_SOURCE)
        job = load_example().resolve_implicit_global_asset_job_def()
        assets, tags = [dg.AssetKey(asset) for asset in HOURLY], key_range(days[0], days[-1])
        assert job.execute_in_process(instance=instance, asset_selection=assets, tags=tags).success
        return len(source.read()), source.content_digest()
