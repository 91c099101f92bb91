"""Fixtures of the tests of the dashboard: one over a store of its own for each test, and a browser."""

from __future__ import annotations

import pytest

from temporis_dagster.dashboard.attempts import ADDRESS_WINDOW_S
from tests.support.dashboard_tools import started_dashboard


@pytest.fixture
def running(tmp_path):
    """A service with a dashboard, over a store with the data source ``store_metrics``."""
    with started_dashboard(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def one_of_module(tmp_path_factory):
    """A dashboard for all tests of a file that change nothing."""
    with started_dashboard(tmp_path_factory.mktemp("dashboard")) as running:
        yield running


@pytest.fixture
def shared(one_of_module):
    """That dashboard, long after the attempts to log in of the test before."""
    one_of_module.clock.move(ADDRESS_WINDOW_S)
    return one_of_module


@pytest.fixture
def visitor(running):
    """A person who is logged in."""
    return running.visitor()


@pytest.fixture(scope="module")
def browser():
    """A browser for the tests of one file; where there is none, they are left out.

    It is closed at the end of the file, because no other event loop can run in this thread before.
    """
    from tests.support.browser import started_browser
    from tests.support.left_out import left_out
    from tests.support.system_parts import chromium

    if chromium() is None:
        left_out("Chromium is not installed. `make setup-system` installs it.")
    with started_browser() as browser:
        yield browser
