"""What the tests of distributed runs share. They run in an environment of their own, `.venv-distributed`."""

import importlib.util

import pytest
import sqlalchemy as sa
from nyc_airports import operational_db

from tests.conftest import CANARY
from tests.support.distributed_processes import virtual_host

if importlib.util.find_spec("dagster_celery") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def city(tmp_path_factory):
    """The example's operational database, built once."""
    return operational_db.build(tmp_path_factory.mktemp("city") / "operational.db")


@pytest.fixture(scope="module")
def instance_database(postgres_server):
    """The URL of an empty database for a Dagster instance and for Celery's results; its password is never shown."""
    with postgres_server.database() as url:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg2")
        yield parsed.set(password=parsed.password or CANARY).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def broker_of_ours(broker):
    """The URL of a virtual host of our own."""
    with virtual_host(broker) as url:
        yield url
