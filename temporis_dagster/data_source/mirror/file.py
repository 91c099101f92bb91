"""File: the mirror's file, or its PostgreSQL database, and the clock. Binds it to a target, checks that it is the same.

Comes in: a database and who the target is. Goes out: transactions, each as often as its database needs, and errors of
the tree.
Never: changes an observation. Leases and windows are measured by the database's clock, which all processes share; how
long this process has waited, by its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from temporis_dagster.data_source.mirror import batches, schema
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.mirror.database import MirrorDatabase, statements_of
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import (
    NotCommittedError,
    SourceMissingError,
    StoreUnusableError,
    explained,
)
from temporis_dagster.data_source.store.sqlite.schema import migrate
from temporis_dagster.errors import MirrorError

T = TypeVar("T")

MISSING_ADVICE = {
    "file": "Check the path; the first upsert makes the mirror.",
    "database": "Check the URL; the first upsert makes the mirror.",
}


class MirrorClock:
    """Time, as far as a mirror needs it."""

    def now(self, connection: sa.Connection) -> float:
        """Return Unix seconds by the database's clock, which all processes share."""
        return statements_of(connection).now(connection)

    def monotonic(self) -> float:
        """Return seconds on a clock of this process that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class KnownSource(NamedTuple):
    """A data source in the database of a mirror.

    Attributes:
        name: Its name.
        id: Its id in that database.
        file: Which mirror that is.
    """

    name: str
    id: int
    file: object


class ReplacedError(StoreUnusableError):
    """Signal: the mirror is gone, or another one is in its place.

    Args:
        kind: What it is in: a file or a database.
    """

    def __init__(self, kind: str) -> None:
        what = "its file was replaced or deleted" if kind == "file" else "its tables were replaced or deleted"
        super().__init__(f"{what} meanwhile", "What was pending in it is lost: run the upsert again.")


class _Undecided(NamedTuple):
    """A transaction whose commit had no answer: what tells it from others, and what it came to if it took place."""

    mark: object
    result: object


class MirrorFile:
    """The file of a mirror, or its database.

    Args:
        database: Where it is. It is made where there is none.
        identity: Who the target is.
        clock: What time it is.
    """

    def __init__(self, database: MirrorDatabase, identity: schema.Identity, clock: MirrorClock) -> None:
        self._database = database
        self.url, self.writes_by_key, self.clock = database.url, database.writes_by_key, clock
        self._identity = identity
        self._known_salt: bytes | None = None

    # One attempt

    @contextmanager
    def writing(
        self, *, same_file: object = None, wait_s: float | None = None, turn: int = 0
    ) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that may write. What is not committed is rolled back.

        On SQLite, it holds the lock of the file; on PostgreSQL, a data source is locked by ``begun`` or ``ensured``.

        Args:
            same_file: Which mirror it must still be. Without it, a mirror is made where there is none.
            wait_s: How long to wait for locks, in seconds; None for the usual time.
            turn: A number of this piece of work, whose attempts wait for each other; 0 for none.

        Raises:
            ReplacedError: It is another one.
            WrongTargetError: It is the mirror of another target.
        """
        with ExitStack() as stack:
            try:
                begin = self._database.writing(create=same_file is None, wait_s=wait_s, turn=turn)
                connection = stack.enter_context(begin)
            except SourceMissingError:
                raise ReplacedError(self._database.kind) from None
            if same_file is not None and self._database.identity(connection) != same_file:
                raise ReplacedError(self._database.kind)
            salt = schema.salt(connection)
            if salt is None:
                schema.create(connection, self._identity)
            else:
                self._ensure_ours(connection, salt)
                schema.upgrade(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one unchanging state: that of an empty mirror if there is none. None is created.

        Raises:
            WrongTargetError: It is the mirror of another target.
        """
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._database.reading())
            except SourceMissingError:
                yield stack.enter_context(_nothing())
                return
            salt = schema.salt(connection)
            if salt is None:
                schema.ensure_unused(connection)
                connection = stack.enter_context(_nothing())
            else:
                self._ensure_ours(connection, salt)
            yield connection

    def begun(self, connection: sa.Connection, source: int) -> Transaction:
        """Begin what a transaction does about a data source: until its end, no other one writes about that."""
        statements_of(connection).lock(connection, source)
        # Read once the lock is held: a lease must not be counted from before the wait for it.
        now = self.clock.now(connection)
        batches.bound_moments(connection, now, source)
        return Transaction(connection, source, now)

    def commit(self, connection: sa.Connection, then: Callable[[], None]) -> None:
        """Make the transaction durable, and then take note, even if this is interrupted."""
        self._database.commit(connection, then)

    # As many attempts as the database needs

    def write(
        self,
        work: Callable[[sa.Connection], T],
        then: Callable[[T], None] = lambda _: None,
        *,
        same_file: object = None,
        wait_s: float | None = None,
    ) -> T:
        """Do some work in a transaction that writes, commit it, and take note.

        Where a server was out of reach or another transaction in the way, it is done again. Where the connection was
        lost during the commit, the next attempt first waits for the end of that transaction, and asks what became of
        it.

        Args:
            work: What to do in the transaction. It may be called more than once: what an earlier call did in the
                database was rolled back, and the last call's result is what counts.
            then: Takes note of the result, once it is durable. It must do nothing else.
            same_file: Which mirror it must still be. Without it, a mirror is made where there is none.
            wait_s: For how long to wait for locks, and to go on, in seconds; None for the usual time.
        """
        return self._attempted(
            lambda turn: self.writing(same_file=same_file, wait_s=wait_s, turn=turn), work, then, wait_s
        )

    def write_of(
        self,
        source: KnownSource,
        work: Callable[[Transaction], T],
        then: Callable[[T], None] = lambda _: None,
        *,
        wait_s: float | None = None,
    ) -> T:
        """Like ``write``, for a data source, in the mirror in which it is known."""
        return self.write(
            lambda connection: work(self.begun(connection, source.id)), then, same_file=source.file, wait_s=wait_s
        )

    def change(self, data_source: str, work: Callable[[Transaction], T]) -> T:
        """Like ``write``, for a data source that the mirror knows by name.

        Raises:
            SourceMissingError: It knows no such data source.
        """

        def change(connection: sa.Connection) -> T:
            source = statements_of(connection).find(connection, schema.ACCOUNT, data_source)
            return work(self.begun(connection, source.id))

        return self.write(change)

    def write_unbound(self, work: Callable[[sa.Connection], T]) -> T:
        """Like ``write``, on an existing mirror of any target, while no other transaction writes into it.

        Raises:
            StoreUnusableError: There is no mirror.
        """
        return self._attempted(self._unbound, work, lambda _: None, None)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Ask something in a transaction that only reads: ``reading`` has its rules.

        Args:
            work: What to ask. It may be called more than once.
        """

        def attempt() -> T:
            with self.reading() as connection:
                return work(connection)

        return self._database.patiently(attempt)

    def read_of(self, source: KnownSource, work: Callable[[Transaction], T]) -> T:
        """Like ``read``, about a data source."""
        return self.read(lambda connection: work(Transaction(connection, source.id, self.clock.now(connection))))

    @property
    def exists(self) -> bool:
        """Whether there is a mirror at the URL, for any target."""

        def look() -> bool:
            with self._database.reading() as connection:
                return schema.salt(connection) is not None

        try:
            return self._database.patiently(look)
        except SourceMissingError:
            return False

    @contextmanager
    def explained(self, data_source: str = "", tally: Tally | None = None) -> Iterator[None]:
        """Turn whatever goes wrong in the block into errors of the tree.

        Args:
            data_source: The data source in question.
            tally: The upsert that is running, whose report the errors carry.
        """
        try:
            with explained(self._database, data_source, schema.ACCOUNT, tally=tally):
                yield
        except schema.WrongTargetError as error:
            report = tally.report("the mirror is bound to another target") if tally else None
            raise MirrorError(
                f"The mirror {self.url} cannot be used here: {error.what}. Use a separate mirror for each target. If"
                " it is the same account with a new token, run `temporis mirror rebind`; to send everything to a new"
                " target, `temporis mirror rebuild`.",
                url=self.url,
                report=report,
            ) from None

    def known(self, connection: sa.Connection, data_source: str) -> sources.Source | None:
        """Return the data source if the mirror knows it."""
        try:
            return sources.find(connection, schema.ACCOUNT, data_source)
        except SourceMissingError:
            return None

    def ensured(self, connection: sa.Connection, data_source: str) -> sources.Source:
        """Return the data source, which is added to the mirror if necessary, locked in a transaction that writes."""
        statements = statements_of(connection)
        try:
            return statements.find(connection, schema.ACCOUNT, data_source)
        except SourceMissingError:
            sources.create(connection, schema.ACCOUNT, data_source)
            return statements.find(connection, schema.ACCOUNT, data_source)

    def identity(self, connection: sa.Connection) -> object:
        """Return which mirror the transaction is in."""
        return self._database.identity(connection)

    def bind(self, connection: sa.Connection) -> None:
        """Bind the mirror to this target, whatever it was bound to."""
        schema.bind(connection, self._identity)

    def rebind(self) -> None:
        """Bind it to this target, and change nothing else."""
        self.write_unbound(self.bind)

    def close(self) -> None:
        """Close the idle connections."""
        self._database.close()

    def _attempted(
        self,
        begin: Callable[[int], AbstractContextManager[sa.Connection]],
        work: Callable[[sa.Connection], T],
        then: Callable[[T], None],
        wait_s: float | None,
    ) -> T:
        turn, undecided = secrets.randbits(62), list[_Undecided]()

        def attempt() -> T:
            with begin(turn) as connection:
                for before in undecided:
                    if self._database.took_place(connection, before.mark):
                        result: T = before.result  # type: ignore[assignment]  # what ``work`` returned
                        then(result)
                        return result
                undecided.clear()  # only now: the connection may have been lost before the answer
                result = work(connection)
                mark = self._database.mark(connection)
                try:
                    self.commit(connection, lambda: then(result))
                except NotCommittedError as refused:
                    raise refused.error from None
                except Exception:
                    undecided.append(_Undecided(mark, result))
                    raise
            return result

        return self._database.patiently(attempt, at_most_s=wait_s)

    @contextmanager
    def _unbound(self, turn: int) -> Iterator[sa.Connection]:
        kind = self._database.kind
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._database.writing(alone=True, turn=turn))
            except SourceMissingError:
                missing = "the file does not exist" if kind == "file" else "the mirror does not exist"
                raise StoreUnusableError(missing, MISSING_ADVICE[kind]) from None
            if schema.salt(connection) is None:
                raise StoreUnusableError("it is not a mirror", MISSING_ADVICE[kind])
            schema.upgrade(connection)
            yield connection

    def _ensure_ours(self, connection: sa.Connection, salt: bytes) -> None:
        """Check that it is the mirror of this target, in the same transaction that relies on it.

        Every binding has a new random salt, so a known salt is a known binding: of this mirror, and not changed
        meanwhile by ``rebuild`` or ``rebind``.
        """
        if salt != self._known_salt:
            schema.check(connection, self._identity)
            self._known_salt = salt


@contextmanager
def _nothing() -> Iterator[sa.Connection]:
    """Yield an empty mirror in memory, which is what is read where there is no mirror yet."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            migrate(connection)
            schema.make_tables(connection)
            yield connection
    finally:
        engine.dispose()
