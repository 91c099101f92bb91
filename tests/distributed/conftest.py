"""What the tests of distributed runs share. They run in an environment of their own, `.venv-distributed`."""

import importlib.util

import pytest
from nyc_airports import operational_db

from temporis_dagster import connect
from tests.support.distributed_processes import virtual_host
from tests.support.distributed_targets import KINDS, by_a_single_process, with_a_password
from tests.support.distributed_targets import target as made_target
from tests.support.spark_cluster import OF_EXECUTORS, cluster

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
        yield with_a_password(url, "postgresql+psycopg2")


@pytest.fixture(scope="module")
def broker_of_ours(broker):
    """The URL of a virtual host of our own."""
    with virtual_host(broker) as url:
        yield url


@pytest.fixture(scope="module", params=KINDS)
def target(request, tmp_path_factory, postgres_server, city):
    """Variables for the processes that write to a data source of this kind, and the data source, seen past them."""
    with made_target(request.param, tmp_path_factory.mktemp("target"), postgres_server) as (variables, source):
        yield {**variables, "NYC_OPERATIONAL_DB": str(city)}, source


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, city):
    """What a single process makes of the same days: how many observations, and their digest."""
    return by_a_single_process(tmp_path_factory.mktemp("single"), city)


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """A session on a Spark cluster of two workers, whose tasks have a token in their environment."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(folder, spark__executorEnv__TEMPORIS_TOKEN=OF_EXECUTORS) as started:
        started.folder = folder
        yield started


@pytest.fixture
def source(postgres_url):
    """A data source that every executor reaches."""
    with connect(postgres_url, create_missing=True) as temporis:
        yield temporis.data_source("store_metrics")
