"""Fixtures of the tests of the local service: a store, and a service over one."""

from __future__ import annotations

import pytest

from temporis_dagster.data_source.store import SqlStore
from tests.support.service_fixture import started_service


@pytest.fixture
def limits():
    """How large a request may be; None for the limits of production. A test file replaces it by its own."""
    return


@pytest.fixture
def service(tmp_path, limits):
    """A running service with the data source ``store_metrics``."""
    with started_service(tmp_path, limits=limits) as service:
        yield service


@pytest.fixture
def store(tmp_path):
    """A SQLite file with the data source ``store_metrics``."""
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db")
    store.create_data_source("store_metrics")
    yield store
    store.close()
