"""Fixtures of the tests of the command line: no settings of this machine, and a store to act on."""

from __future__ import annotations

import pytest

from temporis_dagster.data_source.store import SqlStore


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No setting of the machine that runs the tests."""
    for name in ("TEMPORIS_URL", "TEMPORIS_TOKEN", "TEMPORIS_STORE", "TEMPORIS_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path):
    """A SQLite file with the data source ``store_metrics``."""
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db")
    store.create_data_source("store_metrics")
    yield store
    store.close()
