"""One suite of promises, unchanged against every host of data sources.

The hosts are the fake, a store in SQLite and in PostgreSQL, the local service over each of these, and two processes of
the local service over one PostgreSQL database, which take turns.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporis_dagster import (
    ArchiveState,
    AuthenticationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    NotSupportedError,
    ReadNotSupportedError,
    connect,
)
from temporis_dagster.data_source.connection import Temporis
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.target import is_readable
from temporis_dagster.testing import FakeService, sample_frame
from tests.support.delivery_tools import CANARY, adds_up
from tests.support.service_fixture import ServiceProcess, started_service

SOURCE = "store_metrics"
HARD_NUMBERS = [-0.0, 0.0, 5e-324, 1e22, float(2**53), -float(2**53), 1.7976931348623157e308, 0.1 + 0.2]
HARD_NAMES = ["it's", 'say "hi"', "back\\slash", "emoji 🐘", "näive ☃", "a,b;c", "};{", "tab\there", "new\nline", " "]


@dataclass
class Host:
    """One kind of target, with what the dashboard can do besides the API."""

    temporis: Temporis
    archive: Callable[..., object]
    content: Callable[[], dict[tuple[int, str], float]]

    @property
    def source(self):
        return self.temporis.data_source(SOURCE)


def content_of(source):
    back = source.read()
    seconds = back.timestamp.astype("int64") if len(back) else []
    return dict(zip(zip(seconds, back.name, strict=True), back.value, strict=True))


def managed(temporis: Temporis, source) -> Host:
    """A host whose data source is looked at, and archived, in its store."""
    return Host(
        temporis,
        lambda *, archived: source.archive() if archived else source.unarchive(),
        lambda: content_of(source),
    )


class TakingTurns:
    """A target that passes each call on to the next of several others."""

    def __init__(self, targets) -> None:
        self._targets = itertools.cycle(targets)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._targets), name)


fresh_accounts = (f"account_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def database(postgres_server):
    """The URL of a PostgreSQL database that the tests of this file share: each has an account of its own."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="module")
def two_services(database):
    """Two processes of the local service over that database."""
    with closing(SqlStore(database)) as store:
        store.create_data_source("unused")
    processes = [ServiceProcess(database), ServiceProcess(database)]
    yield processes
    for process in processes:
        process.stop()


@contextmanager
def fake(request, tmp_path) -> Iterator[Host]:
    with FakeService(token=CANARY) as service, connect(service.url, service.token) as temporis:
        yield Host(
            temporis,
            lambda *, archived: service.archive(SOURCE, archived=archived),
            lambda: {(stamp, name): value for (_, stamp, name), value in service.content.items()},
        )
        assert service.complaints == []
        assert service.overlapping_keys == set()


@contextmanager
def sqlite(request, tmp_path) -> Iterator[Host]:
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        yield managed(temporis, temporis.create_data_source(SOURCE))


@contextmanager
def postgres(request, tmp_path) -> Iterator[Host]:
    with connect(request.getfixturevalue("database"), account=next(fresh_accounts)) as temporis:
        yield managed(temporis, temporis.create_data_source(SOURCE))


@contextmanager
def service_over(store_url: str, account: str) -> Iterator[Host]:
    with (
        started_service(store_url=store_url, account=account) as service,
        connect(service.url, service.token) as temporis,
        connect(store_url, account=account) as behind,
    ):
        yield managed(temporis, behind.data_source(SOURCE))


@contextmanager
def service_over_sqlite(request, tmp_path) -> Iterator[Host]:
    with service_over(f"sqlite:///{tmp_path}/temporis.db", "default") as host:
        yield host


@contextmanager
def service_over_postgres(request, tmp_path) -> Iterator[Host]:
    with service_over(request.getfixturevalue("database"), next(fresh_accounts)) as host:
        yield host


@contextmanager
def two_services_over_postgres(request, tmp_path) -> Iterator[Host]:
    database, services = request.getfixturevalue("database"), request.getfixturevalue("two_services")
    account = next(fresh_accounts)
    with ExitStack() as stack:
        behind = stack.enter_context(connect(database, account=account))
        source = behind.create_data_source(SOURCE)
        token = stack.enter_context(closing(SqlStore(database, account=account))).tokens.create("test")
        both = [stack.enter_context(connect(service.url, token))._target for service in services]
        yield managed(Temporis(TakingTurns(both)), source)


HOSTS = [fake, sqlite, postgres, service_over_sqlite, service_over_postgres, two_services_over_postgres]


@pytest.fixture(params=HOSTS, ids=lambda kind: kind.__name__)
def host(request, tmp_path):
    with request.param(request, tmp_path) as host:
        yield host


def frame(*records):
    return pd.DataFrame(records, columns=["timestamp", "name", "value"])


def bits(value):
    return struct.pack("<d", value)


def test_what_is_reported_stored_is_stored(host):
    """Every cell that is not NaN arrives, under its own key."""
    wide = sample_frame(hours=5)
    wide.iloc[2, 1] = None
    report = host.source.upsert(wide)
    assert (report.observations_in, report.stored, report.series) == (9, 9, 2)
    assert host.content() == {
        (int(moment.timestamp()), name): value
        for name, column in wide.items()
        for moment, value in column.dropna().items()
    }


def test_the_last_of_equal_keys_wins(host):
    """In one frame, the last valid row of a key is stored, and the others are counted."""
    report = host.source.upsert(frame((0, "a", 1), (0, "b", 2), (0, "a", 3), (0, "a", 4)))
    assert (report.stored, report.superseded, report.observations_in) == (2, 2, 4)
    assert host.content() == {(0, "a"): 4.0, (0, "b"): 2.0}


def test_a_replay_is_harmless_and_a_correction_overwrites(host):
    """The same frame again changes nothing; a new value for a key replaces the old; nothing is ever deleted."""
    host.source.upsert(frame((0, "a", 1), (60, "a", 2)))
    again = host.source.upsert(frame((0, "a", 1), (60, "a", 2)))
    assert again.stored + again.unchanged == 2
    host.source.upsert(frame((60, "a", 5)))
    assert host.content() == {(0, "a"): 1.0, (60, "a"): 5.0}


def test_a_data_source_that_is_not_there(host):
    """Nothing of the frame was sent, the error says so, and asking for its state is the same error."""
    missing = host.temporis.data_source("no_such_source")
    with pytest.raises(DataSourceNotFoundError, match="no_such_source") as caught:
        missing.upsert(sample_frame(hours=3))
    assert (caught.value.report.unsent, caught.value.report.observations_in) == (6, 6)
    assert len(caught.value.report.unsent_rows) == 6
    assert not caught.value.retryable
    with pytest.raises(DataSourceNotFoundError):
        missing.archive_state()


def test_an_archived_data_source_takes_nothing_until_it_is_unarchived(host):
    """The error's report has every row as unsent, what was there stays, and unarchiving undoes it."""
    host.source.upsert(frame((0, "a", 1)))
    host.archive(archived=True)
    with pytest.raises(DataSourceArchivedError) as caught:
        host.source.upsert(frame((0, "a", 2), (60, "a", 2)))
    report = caught.value.report
    assert (report.unsent, report.stored, report.observations_in) == (2, 0, 2)
    assert report.unsent_rows.position.tolist() == [0, 1]
    assert host.content() == {(0, "a"): 1.0}
    host.archive(archived=False)
    assert adds_up(host.source.upsert(frame((0, "a", 2))))
    assert host.content() == {(0, "a"): 2.0}


def test_asking_for_the_archive_state_writes_nothing(host):
    """The answer is ACTIVE or ARCHIVED, and ensure_writable lets only the first pass."""
    host.source.upsert(frame((0, "a", 1)))
    assert host.source.archive_state() is ArchiveState.ACTIVE
    host.source.ensure_writable()
    host.archive(archived=True)
    assert host.source.archive_state() is ArchiveState.ARCHIVED
    with pytest.raises(DataSourceArchivedError):
        host.source.ensure_writable()
    assert host.content() == {(0, "a"): 1.0}


def test_every_bit_of_a_number_and_every_character_of_a_name_arrives(host):
    """-0.0, subnormals, 1e22, 2**53; quotes, emoji, separators, line breaks."""
    records = [(i, name, number) for name in HARD_NAMES for i, number in enumerate(HARD_NUMBERS)]
    assert host.source.upsert(frame(*records)).stored == len(records)
    assert {key: bits(value) for key, value in host.content().items()} == {(i, n): bits(v) for i, n, v in records}


def test_what_can_be_read_can_be_planned_and_deleted_and_the_api_can_do_neither(host):
    """A store does all of it, exactly; over HTTP, each call is refused with the way out, and nothing changes."""
    host.source.upsert(frame((0, "a", 1), (60, "a", 2), (120, "b", 3)))
    given = frame((0, "a", 1), (120, "b", 4), (180, "b", 5))
    if is_readable(host.source._target):
        plan = host.source.plan(given, start=0, end=3600)
        assert (plan.new, plan.changed, plan.unchanged, plan.ghosts) == (1, 1, 1, 1)
        assert host.source.latest()["value"].tolist() == [2.0, 3.0]
        assert len(host.content()) == 3
        assert host.source.delete(60, names=["a"]) == 1
        assert set(host.content()) == {(0, "a"), (120, "b")}
        return
    for ask in (lambda: host.source.plan(given), host.source.latest):
        with pytest.raises(ReadNotSupportedError, match="mirror"):
            ask()
    with pytest.raises(NotSupportedError, match="temporis delete"):
        host.source.delete(60, names=["a"])
    assert len(host.content()) == 3


def test_an_empty_frame_sends_nothing(host):
    """Its report is empty, even if the data source does not exist."""
    report = host.temporis.data_source("no_such_source").upsert(sample_frame(hours=0))
    assert (report.observations_in, report.requests) == (0, 0)


RECORDS = st.lists(
    st.tuples(
        st.integers(-2, 5),
        st.sampled_from(["a", "A", "é", "é", "ab", "a b"]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_any_upserts_leave_what_a_dict_would_hold(host, upserts):
    """Whatever is upserted in whatever order, the content is the last value of each key, bit for bit."""
    expected = host.content()
    for records in upserts:
        report = host.source.upsert(frame(*records))
        assert adds_up(report)
        assert report.stored + report.unchanged == len({(stamp, name) for stamp, name, _ in records})
        expected |= {(stamp, name): value for stamp, name, value in records}
    assert {key: bits(value) for key, value in host.content().items()} == {k: bits(v) for k, v in expected.items()}


# Several services over one database


@pytest.fixture
def account(database):
    """The store of an account of its own, with the data source."""
    with closing(SqlStore(database, account=next(fresh_accounts))) as store:
        store.create_data_source(SOURCE)
        yield store


def test_a_token_counts_in_every_process_until_it_is_deleted(account, two_services):
    """A token that was made a moment ago is known to both, and one that was deleted to neither."""
    token = account.tokens.create("laptop")
    for service in two_services:
        with connect(service.url, token) as temporis:
            assert temporis.data_source(SOURCE).upsert(frame((0, "a", 1))).stored == 1
    account.tokens.delete("laptop")
    for service in two_services:
        with connect(service.url, token) as temporis, pytest.raises(AuthenticationError):
            temporis.data_source(SOURCE).upsert(frame((0, "a", 2)))
    assert account.rows(SOURCE, None, None, None).values.tolist() == [1.0]


def test_what_one_process_stores_or_refuses_the_other_knows(account, two_services):
    """The value that was sent last counts, whichever process got it; an archived data source is archived in both."""
    token = account.tokens.create("test")
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(connect(service.url, token)).data_source(SOURCE) for service in two_services
        )
        for value, source in enumerate([first, second, second, first], start=1):
            source.upsert(frame((0, "a", value)))
            assert account.rows(SOURCE, None, None, None).values.tolist() == [float(value)]
        account.set_archived(SOURCE, archived=True)
        for source in (first, second):
            with pytest.raises(DataSourceArchivedError):
                source.upsert(frame((0, "a", 9)))
        account.set_archived(SOURCE, archived=False)
        assert second.upsert(frame((0, "a", 5))).stored == 1
    assert account.rows(SOURCE, None, None, None).values.tolist() == [5.0]


def test_a_killed_process_holds_up_nobody(account, database, two_services):
    """After ``kill -9`` of a third process, which had written a moment ago, the other two go on at once."""
    token = account.tokens.create("test")
    third = ServiceProcess(database)
    with connect(third.url, token) as temporis:
        temporis.data_source(SOURCE).upsert(frame((0, "a", 1)))
    third.kill()
    for service in two_services:
        with connect(service.url, token) as temporis:
            temporis.data_source(SOURCE).upsert(frame((60, service.url, 1)))
        assert httpx.get(f"{service.url}/health").json() == {"status": "ok"}
    assert len(account.rows(SOURCE, None, None, None).values) == 3
