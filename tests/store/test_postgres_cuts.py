"""A connection to PostgreSQL that breaks at every message of an upsert, in both directions.

A proxy cuts it before the server gets the message, in the middle of the message, or after the server has acted and
before the client hears of it. Then the database is read, and the report of the upsert must be true of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from temporis_dagster import ArchiveState, UnavailableError, connect
from temporis_dagster.data_source.store.upsert import StoreUpsert
from tests.support.postgres_crew import Writer, stored_in, until_settled
from tests.support.postgres_proxy import Message, Proxy
from tests.support.postgres_worker import SOURCE, Plan
from tests.support.store_tools import cut_into_chunks

PLAN = Plan(rows=40, own=60, chunk_rows=16)
"""Three chunks, each with new, changed and unchanged rows."""

NOT_WAITED_FOR = 2
"""Messages at the end of an upsert that it does not wait for, or that come only sometimes: the end of a session."""


@pytest.fixture
def proxy(postgres_url, monkeypatch):
    cut_into_chunks(PLAN.chunk_rows, monkeypatch)
    with connect(postgres_url) as temporis:
        temporis.create_data_source(SOURCE)
    with Proxy(postgres_url) as proxy:
        yield proxy


class Cases:
    """One upsert after the other, each of keys of its own, on a connection that is used already or on a new one."""

    def __init__(self, proxy: Proxy, server, url: str, *, warm: bool, **options: object) -> None:
        self.proxy, self.server, self.url, self.warm, self.options = proxy, server, url, warm, options
        self.number = 0

    def run(self, prepare: Callable[[], object]) -> tuple[Writer, dict]:
        """Upsert twice, the second time with what ``prepare`` makes of the proxy; compare the report with the store."""
        writer, self.number = Writer(self.number, PLAN), self.number + 1
        self.proxy.pass_all()
        with connect(self.proxy.url(), **self.options) as temporis:
            writer.upsert(temporis._target)
            if not self.warm:
                temporis.close()
            prepare()
            record = writer.upsert(temporis._target)
        self.cuts, self.asked, self.seen = self.proxy.cuts, self.proxy.asked, self.proxy.seen
        self.proxy.cut_all()
        until_settled(self.server, self.url)
        writer.settle(stored_in(self.url, writer.names))
        return writer, record

    def length(self, *, to_server: bool) -> int:
        """How many messages an undisturbed upsert takes in this direction."""
        self.run(self.proxy.watch)
        return sum(one.startswith(">" if to_server else "<") for one in self.seen)


def places(length: int, *, soak: bool) -> Iterator[int]:
    """The numbers of the messages at which to cut: all of them, or some, always with the first and the last."""
    yield from (
        range(1, length + 1) if soak else sorted({*range(1, length + 1, 25), *range(max(1, length - 4), length + 1)})
    )


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
@pytest.mark.parametrize("warm", [True, False], ids=["used", "new"])
@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_an_upsert_goes_on_after_the_connection_was_cut(
    postgres_server, postgres_url, proxy, to_server, warm, half, soak
):
    """Wherever it was cut, the upsert connects again and stores everything, and its report is exact."""
    cases = Cases(proxy, postgres_server, postgres_url, warm=warm)
    length = cases.length(to_server=to_server)
    for place in places(length, soak=soak):
        _, record = cases.run(lambda place=place: proxy.cut_at(place, to_server=to_server, half=half))
        assert cases.cuts == 1 or place > length - NOT_WAITED_FOR, place
        assert record["error"] is None, (place, record)


@pytest.mark.parametrize("warm", [True, False], ids=["used", "new"])
@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_the_report_is_exact_when_the_server_stays_away(postgres_server, postgres_url, proxy, to_server, warm, soak):
    """What is reported as stored is stored, and nothing else; unknown is only a chunk whose COMMIT had no answer."""
    cases = Cases(proxy, postgres_server, postgres_url, warm=warm, give_up_after_s=0.01)
    length = cases.length(to_server=to_server)
    for place in places(length, soak=soak):
        _, record = cases.run(lambda place=place: proxy.cut_at(place, to_server=to_server, then_refuse=True))
        if record["error"] is None:
            assert place > length - NOT_WAITED_FOR, place
            continue
        assert record["error"] == UnavailableError.__name__, (place, record)
        if cases.asked != "COMMIT":
            assert record["unknown"] == 0, (place, cases.asked, record)


@pytest.mark.parametrize("warm", [True, False], ids=["used", "new"])
def test_an_upsert_goes_on_after_its_backend_was_terminated(postgres_server, postgres_url, proxy, warm, soak):
    """An administrator terminates the backend before it gets a message: any message of the upsert."""
    cases = Cases(proxy, postgres_server, postgres_url, warm=warm)
    for place in places(cases.length(to_server=True), soak=soak):
        kill = terminating(postgres_server, postgres_url, place)
        _, record = cases.run(lambda kill=kill: proxy.cut_when(kill))
        assert record["error"] is None, (place, record)


def terminating(server, url: str, place: int) -> Callable[[Message], bool]:
    """Terminate all backends of a database when this message to the server is on its way; cut nothing."""
    name = url.rsplit("/", 1)[1]
    statement = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    def at(message: Message) -> bool:
        if (message.to_server, message.number) == (True, place):
            server.execute(statement)
        return False

    return at


@pytest.fixture
def interrupts():
    """Ctrl-C only counts while an upsert runs: one that comes too late would interrupt the test itself."""
    raised: list[str] = []

    def interrupt(_number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is StoreUpsert.run.__code__:
                raised.append(frame.f_code.co_name)
                raise KeyboardInterrupt
            frame = frame.f_back

    before = signal.signal(signal.SIGINT, interrupt)
    yield raised
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_the_report_of_an_interrupt_is_exact(postgres_server, postgres_url, proxy, to_server, soak, interrupts):
    """Ctrl-C while any message is under way: what is reported as stored is stored, and the next upsert goes through."""
    cases = Cases(proxy, postgres_server, postgres_url, warm=True)
    for place in places(cases.length(to_server=to_server), soak=soak):
        writer, record = cases.run(lambda place=place: proxy.cut_when(interrupting(place, to_server=to_server)))
        assert record["error"] in (None, "KeyboardInterrupt"), (place, record)
        with connect(postgres_url) as temporis:
            assert writer.upsert(temporis._target)["error"] is None
    assert len(interrupts) > 5


def interrupting(place: int, *, to_server: bool) -> Callable[[Message], bool]:
    """Interrupt this process when this message is on its way; cut nothing."""

    def at(message: Message) -> bool:
        if (message.to_server, message.number) == (to_server, place):
            os.kill(os.getpid(), signal.SIGINT)
        return False

    return at


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_archiving_goes_on_after_the_connection_was_cut(postgres_server, postgres_url, proxy, to_server):
    """Wherever it was cut: when ``archive`` and ``unarchive`` return, the state is what was asked for."""
    with connect(proxy.url()) as temporis, connect(postgres_url) as direct:
        source, behind = temporis.data_source(SOURCE), direct.data_source(SOURCE)
        place, cuts = 0, 1
        while cuts:
            place += 1
            proxy.cut_at(place, to_server=to_server)
            archived = place % 2 == 1
            source.archive() if archived else source.unarchive()
            cuts = proxy.cuts
            proxy.pass_all()
            assert behind.archive_state() is (ArchiveState.ARCHIVED if archived else ArchiveState.ACTIVE), place
    assert place > 5


@pytest.mark.parametrize("to_server", [True, False], ids=["to the server", "from the server"])
def test_reading_goes_on_after_the_connection_was_cut(postgres_server, postgres_url, proxy, to_server):
    """Wherever it was cut, ``read`` and the digest are of everything that is stored."""
    writer = Writer(0, PLAN)
    with connect(proxy.url()) as temporis:
        writer.upsert(temporis._target)
        source = temporis.data_source(SOURCE)
        expected, digest = source.read(), source.content_digest()
        place, cuts = 0, 1
        while cuts:
            place += 1
            proxy.cut_at(place, to_server=to_server)
            assert source.read().equals(expected), place
            assert source.content_digest() == digest, place
            cuts = proxy.cuts
            proxy.pass_all()
    assert place > 5
