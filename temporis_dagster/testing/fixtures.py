"""Fixtures: the pytest fixture ``fake_temporis``, one fake service per test.

Comes in: a test that uses it, and the names of its data sources. Goes out: a running service with these, empty.
Never: is imported before it is used, because it needs pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from temporis_dagster.testing.fake_service import FakeService


@pytest.fixture
def fake_temporis(request: pytest.FixtureRequest) -> Iterator[FakeService]:
    """A fake of the Temporis API, with the data source ``store_metrics`` unless the test names its own.

    A test names them with ``@pytest.mark.parametrize("fake_temporis", [("shop", "plant")], indirect=True)``: one name,
    a tuple of names, or a mapping from each name to whether it is archived. It can also create them later, with
    ``fake_temporis.create_data_source("plant")``.
    """
    with FakeService(getattr(request, "param", ("store_metrics",))) as service:
        yield service
