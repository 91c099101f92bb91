"""The ledger: the mirror's file, opened, bound and seen to be the same one.

Comes in: a file and who the target is. Goes out: connections inside a transaction, errors of the tree.
Never: knows what is in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from temporis_dagster.data_source.mirror import batches, schema
from temporis_dagster.data_source.mirror.clock import MirrorClock
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.errors import SourceMissingError, StoreUnusableError, explained
from temporis_dagster.data_source.store.schema import migrate
from temporis_dagster.data_source.store.sqlite import Database, FileId, commit, file_of
from temporis_dagster.errors import MirrorError

MISSING_ADVICE = "Check the path; the first upsert makes the mirror."


class ReplacedError(StoreUnusableError):
    """Signal: another file, or none, is where the mirror was."""

    def __init__(self) -> None:
        super().__init__("its file was replaced or deleted meanwhile", "What was pending in it is lost: run it again.")


class Ledger:
    """The file of a mirror.

    Args:
        path: The file, absolute; made where there is none.
        url: How to call it in messages.
        identity: Who the target is.
        clock: What time it is.
    """

    def __init__(self, path: Path, url: str, identity: schema.Identity, clock: MirrorClock) -> None:
        self._database = Database(path)
        self.url, self.clock = url, clock
        self._identity = identity
        self._known_salt: bytes | None = None

    @contextmanager
    def writing(self, *, same_file: FileId | None = None, wait_s: float | None = None) -> Iterator[sa.Connection]:
        """A connection that holds the write lock; what is not committed is rolled back.

        Args:
            same_file: The file that it must still be. Without it, a mirror is made where there is none.
            wait_s: How long to wait for the lock; None for as long as always.

        Raises:
            ReplacedError: It is another file.
            WrongTargetError: It is the mirror of another target.
        """
        begin = partial(self._database.writing, create=same_file is None, wait_s=wait_s)
        with self._opened(begin, same_file) as connection:
            if schema.is_mirror(connection):
                self._ensure_ours(connection)
                self._make_usable(connection)
            else:
                schema.create(connection, self._identity)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one unchanging state. Where there is no mirror, that of an empty one; none is made.

        Raises:
            WrongTargetError: It is the mirror of another target.
        """
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._database.reading())
            except SourceMissingError:
                yield stack.enter_context(_nothing())
                return
            if schema.is_mirror(connection):
                self._ensure_ours(connection)
            else:
                schema.ensure_unused(connection)
                connection = stack.enter_context(_nothing())
            yield connection

    @property
    def exists(self) -> bool:
        """Whether there is a mirror at the path, of whichever target."""
        try:
            with self._database.reading() as connection:
                return schema.is_mirror(connection)
        except SourceMissingError:
            return False

    @contextmanager
    def explained(self, data_source: str = "", tally: Tally | None = None) -> Iterator[None]:
        """Turn whatever goes wrong within into errors of the tree.

        Args:
            data_source: The data source in question.
            tally: The upsert that is running, whose report the errors carry.
        """
        try:
            with explained(self.url, data_source, schema.ACCOUNT, path=self._database.path, tally=tally):
                yield
        except schema.WrongTargetError as error:
            report = tally.report("the mirror is bound to another target") if tally else None
            raise MirrorError(
                f"The mirror {self.url} cannot be used here: {error.what}. Use a mirror of its own for each target. If"
                " it is the same account with a new token, run `temporis mirror rebind`; to send everything to a new"
                " target, `temporis mirror rebuild`.",
                url=self.url,
                report=report,
            ) from None

    @contextmanager
    def changing(self, data_source: str) -> Iterator[tuple[sa.Connection, sources.Source]]:
        """A connection that holds the write lock, and a data source that the mirror knows; committed in the end."""
        with self.writing() as connection:
            yield connection, sources.find(connection, schema.ACCOUNT, data_source)
            commit(connection)

    def known(self, connection: sa.Connection, data_source: str) -> sources.Source | None:
        """The data source if the mirror knows it."""
        try:
            return sources.find(connection, schema.ACCOUNT, data_source)
        except SourceMissingError:
            return None

    def ensured(self, connection: sa.Connection, data_source: str) -> sources.Source:
        """The data source, which the mirror knows from now on."""
        sources.create(connection, schema.ACCOUNT, data_source)
        return sources.find(connection, schema.ACCOUNT, data_source)

    @contextmanager
    def unbound_writing(self) -> Iterator[sa.Connection]:
        """As ``writing``, on a mirror of whichever target, which must be there."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._database.writing())
            except SourceMissingError:
                raise StoreUnusableError("the file does not exist", MISSING_ADVICE) from None
            if not schema.is_mirror(connection):
                raise StoreUnusableError("it is no mirror", MISSING_ADVICE)
            self._make_usable(connection)
            yield connection

    def bind(self, connection: sa.Connection) -> None:
        """From now on it is the mirror of this target, whatever it was."""
        schema.bind(connection, self._identity)

    def rebind(self) -> None:
        """Bind it, and nothing more."""
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

    def _ensure_ours(self, connection: sa.Connection) -> None:
        """See that it is the mirror of this target, in the very transaction that is going to rely on it.

        Every binding has a new random salt, so a known salt is a known binding: of this file, and not meanwhile changed
        by ``rebuild`` or ``rebind``.
        """
        salt = schema.salt(connection)
        if salt != self._known_salt:
            schema.check(connection, self._identity)
            self._known_salt = salt


@contextmanager
def _nothing() -> Iterator[sa.Connection]:
    """An empty mirror in memory: what is read where there is no mirror yet."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            migrate(connection)
            schema.make_tables(connection)
            yield connection
    finally:
        engine.dispose()
