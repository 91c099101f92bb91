"""Fixtures of the tests of the local service: a service over a store."""

from __future__ import annotations

import pytest

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
