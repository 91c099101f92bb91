"""kill -9 of a backfill while it writes to the local service, and what the next one makes of it."""

import os
import time
from unittest.mock import patch

import dagster as dg
import pytest

from temporis_dagster import connect
from tests.support.dagster_harness import key_range
from tests.support.end_to_end_run import start
from tests.support.end_to_end_story import BACKFILLED, DAYS, ROWS
from tests.support.end_to_end_upstream import PATIENCE_S, Upstream
from tests.support.service_fixture import started_service


@pytest.fixture
def sources(tmp_path):
    """The two data sources behind a service, seen past it; backfills in processes of their own find all they need."""
    with (
        dg.instance_for_test(),
        started_service(tmp_path) as service,
        connect(service.store.url) as temporis,
        patch.dict(os.environ, {"E2E_URL": service.url, "E2E_TOKEN": service.token, "E2E_FOLDER": str(tmp_path)}),
    ):
        Upstream(tmp_path).say(version=1.0)
        yield {name: temporis.create_data_source(name) for name in BACKFILLED}


def backfill(name):
    """The one run of a backfill of some days, in a process of its own."""
    return start(f"backfill_{name}", key_range(DAYS[0], DAYS[-1]))


def killed_once_more_than(rows, source):
    """Start the backfill, kill it as soon as more than so many rows are stored; how many there are then."""
    process, deadline = backfill("disturbed"), time.monotonic() + PATIENCE_S
    try:
        while len(source.read()) <= rows:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    return len(source.read())


def test_a_backfill_that_was_killed_and_started_again_ends_like_an_undisturbed_one(sources, soak):
    """Killed with a part of the rows stored, then run again, to the end: the same content, bit for bit."""
    undisturbed, stored = backfill("undisturbed"), 0
    for _ in range(5 if soak else 1):
        stored = killed_once_more_than(stored, sources["disturbed"])
        assert 0 < stored < ROWS, "it was not killed in the middle"
    assert [process.wait(PATIENCE_S) for process in (undisturbed, backfill("disturbed"))] == [0, 0]
    assert len(sources["undisturbed"].read()) == ROWS
    assert sources["disturbed"].content_digest() == sources["undisturbed"].content_digest()
