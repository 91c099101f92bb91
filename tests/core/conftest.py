"""Fixtures of the core's tests."""

from __future__ import annotations

import pytest

from temporis_dagster import connect


@pytest.fixture
def store_url(url):
    """The URL of a store that has the data source ``store_metrics``."""
    with connect(url) as temporis:
        temporis.create_data_source("store_metrics")
    return url
