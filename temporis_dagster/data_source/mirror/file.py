"""File: the mirror's file and its clock. Opens the file, binds it to a target, checks that it is still the same.

Comes in: a path and who the target is. Goes out: transactions, and errors of the tree.
Never: changes an observation. Leases and windows are measured by the database's clock, which all processes share; how
long this process has waited, by its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from temporis_dagster.data_source.mirror import batches, schema
from temporis_dagster.data_source.mirror.batches import Transaction
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import SourceMissingError, StoreUnusableError, explained
from temporis_dagster.data_source.store.sqlite.file import FileId, SqliteFile, commit, file_of
from temporis_dagster.data_source.store.sqlite.schema import migrate
from temporis_dagster.errors import MirrorError

MISSING_ADVICE = "Check the path; the first upsert makes the mirror."


class MirrorClock:
    """Time, as far as a mirror needs it."""

    def now(self, connection: sa.Connection) -> float:
        """Return Unix seconds by the database's clock, which all processes share."""
        return float(connection.exec_driver_sql("SELECT (julianday('now') - 2440587.5) * 86400.0").scalar_one())

    def monotonic(self) -> float:
        """Return seconds on a clock of this process that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class KnownSource(NamedTuple):
    """A data source in the file of a mirror.

    Attributes:
        name: Its name.
        id: Its id in that file.
        file: Which file that is.
    """

    name: str
    id: int
    file: FileId


class ReplacedError(StoreUnusableError):
    """Signal: the file of the mirror is gone, or another one is in its place."""

    def __init__(self) -> None:
        super().__init__(
            "its file was replaced or deleted meanwhile", "What was pending in it is lost: run the upsert again."
        )


class MirrorFile:
    """The file of a mirror.

    Args:
        path: The file, absolute. It is made where there is none.
        url: What messages call it.
        identity: Who the target is.
        clock: What time it is.
    """

    def __init__(self, path: Path, url: str, identity: schema.Identity, clock: MirrorClock) -> None:
        self._database = SqliteFile(path)
        self.url, self.clock = url, clock
        self._identity = identity
        self._known_salt: bytes | None = None

    @contextmanager
    def writing(self, *, same_file: FileId | None = None, wait_s: float | None = None) -> Iterator[sa.Connection]:
        """Yield a connection that holds the write lock. What is not committed is rolled back.

        Args:
            same_file: The file that it must still be. Without it, a mirror is made where there is none.
            wait_s: How long to wait for the lock, in seconds; None for the usual time.

        Raises:
            ReplacedError: It is another file.
            WrongTargetError: It is the mirror of another target.
        """
        begin = partial(self._database.writing, create=same_file is None, wait_s=wait_s)
        with self._opened(begin, same_file) as connection:
            salt = schema.salt(connection)
            if salt is None:
                schema.create(connection, self._identity)
            else:
                self._ensure_ours(connection, salt)
                self._make_usable(connection)
            yield connection

    @contextmanager
    def writing_of(self, source: KnownSource, *, wait_s: float | None = None) -> Iterator[Transaction]:
        """Like ``writing``, for a data source, in the file in which it is known."""
        with self.writing(same_file=source.file, wait_s=wait_s) as connection:
            yield Transaction(connection, source.id, self.clock.now(connection))

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

    @contextmanager
    def reading_of(self, source: KnownSource) -> Iterator[Transaction]:
        """Like ``reading``, for a data source."""
        with self.reading() as connection:
            yield Transaction(connection, source.id, self.clock.now(connection))

    @property
    def exists(self) -> bool:
        """Whether there is a mirror at the path, for any target."""
        try:
            with self._database.reading() as connection:
                return schema.salt(connection) is not None
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

    @contextmanager
    def changing(self, data_source: str) -> Iterator[Transaction]:
        """Like ``writing``, for a data source that the mirror knows by name; committed at the end."""
        with self.writing() as connection:
            source = sources.find(connection, schema.ACCOUNT, data_source)
            yield Transaction(connection, source.id, self.clock.now(connection))
            commit(connection)

    def known(self, connection: sa.Connection, data_source: str) -> sources.Source | None:
        """Return the data source if the mirror knows it."""
        try:
            return sources.find(connection, schema.ACCOUNT, data_source)
        except SourceMissingError:
            return None

    def ensured(self, connection: sa.Connection, data_source: str) -> sources.Source:
        """Return the data source, which is added to the mirror if necessary."""
        sources.create(connection, schema.ACCOUNT, data_source)
        return sources.find(connection, schema.ACCOUNT, data_source)

    @contextmanager
    def unbound_writing(self) -> Iterator[sa.Connection]:
        """Like ``writing``, on an existing mirror of any target."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._database.writing())
            except SourceMissingError:
                raise StoreUnusableError("the file does not exist", MISSING_ADVICE) from None
            if schema.salt(connection) is None:
                raise StoreUnusableError("it is not a mirror", MISSING_ADVICE)
            self._make_usable(connection)
            yield connection

    def bind(self, connection: sa.Connection) -> None:
        """Bind the mirror to this target, whatever it was bound to."""
        schema.bind(connection, self._identity)

    def rebind(self) -> None:
        """Bind it to this target, and change nothing else."""
        with self.unbound_writing() as connection:
            self.bind(connection)
            commit(connection)

    def close(self) -> None:
        """Close the idle connections."""
        self._database.close()

    @contextmanager
    def _opened(
        self, begin: Callable[[], AbstractContextManager[sa.Connection]], same_file: FileId | None
    ) -> Iterator[sa.Connection]:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(begin())
            except SourceMissingError:
                raise ReplacedError from None
            if same_file is not None and file_of(connection) != same_file:
                raise ReplacedError
            yield connection

    def _make_usable(self, connection: sa.Connection) -> None:
        schema.upgrade(connection)
        batches.bound_moments(connection, self.clock.now(connection))

    def _ensure_ours(self, connection: sa.Connection, salt: bytes) -> None:
        """Check that it is the mirror of this target, in the same transaction that relies on it.

        Every binding has a new random salt, so a known salt is a known binding: of this file, and not changed meanwhile
        by ``rebuild`` or ``rebind``.
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
