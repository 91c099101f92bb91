"""The pytest fixture: one fake service a test.

Comes in: a test that asks for it. Goes out: a running service with one empty data source, ``store_metrics``.
Never: is imported before it is asked for, because it needs pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from temporis_dagster.testing.fake_service import FakeService


@pytest.fixture
def fake_temporis() -> Iterator[FakeService]:
    """A fake of the Temporis API with one data source, ``store_metrics``."""
    with FakeService() as service:
        yield service
