"""The ledger: the mirror's file, opened, bound and seen to be the same one.

Comes in: a file and who the target is. Goes out: connections inside a transaction, errors of the tree.
Never: knows what is in the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from temporis_dagster.data_source.mirror import schema
from temporis_dagster.data_source.mirror.clock import MirrorClock
from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import sources
from temporis_dagster.data_source.store.failures import SourceMissingError, StoreUnusableError, explained
from temporis_dagster.data_source.store.sqlite import Database, commit
from temporis_dagster.errors import MirrorError


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
        self._bound: tuple[int, int] | None = None

    @property
    def file(self) -> tuple[int, int] | None:
        """Which file is open."""
        return self._database.file

    @contextmanager
    def writing(self, *, same_file: tuple[int, int] | None = None) -> Iterator[sa.Connection]:
        """A connection that holds the write lock; what is not committed is rolled back.

        Args:
            same_file: The file that it must still be.
        """
        self._ensure_bound(same_file)
        with self._database.writing() as connection:
            self._ensure_same(same_file)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one unchanging state."""
        self._ensure_bound(None)
        with self._database.reading() as connection:
            self._ensure_same(None)
            yield connection

    @contextmanager
    def explained(self, data_source: str = "", tally: Tally | None = None) -> Iterator[None]:
        """Turn whatever goes wrong within into errors of the tree."""
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

    def source(self, connection: sa.Connection, data_source: str, *, create: bool = False) -> sources.Source:
        """The data source as the mirror knows it.

        Raises:
            SourceMissingError: The mirror does not know it, and is not to.
        """
        if create:
            sources.create(connection, schema.ACCOUNT, data_source)
        return sources.find(connection, schema.ACCOUNT, data_source)

    @contextmanager
    def unbound_writing(self) -> Iterator[sa.Connection]:
        """As ``writing``, on a mirror of whichever target."""
        with self._database.writing() as connection:
            if not schema.is_mirror(connection):
                raise StoreUnusableError("it is no mirror", "Check the path.")
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

    def _ensure_bound(self, same_file: tuple[int, int] | None) -> None:
        """See that the file is there and the mirror of this target: once for each file."""
        if self._bound is not None and self._bound == _file(self._database.path):
            return
        if same_file is not None:
            raise ReplacedError
        try:
            with self._database.reading() as connection:
                made = schema.is_mirror(connection)
                if made:
                    schema.check(connection, self._identity)
        except SourceMissingError:
            made = False
        if not made:
            self._create()
        self._bound = self._database.file

    def _ensure_same(self, same_file: tuple[int, int] | None) -> None:
        if self._database.file not in (self._bound, None) or same_file not in (self._bound, None):
            raise ReplacedError

    def _create(self) -> None:
        with self._database.writing(create=True) as connection:
            if schema.is_mirror(connection):
                schema.check(connection, self._identity)
            else:
                schema.create(connection, self._identity)
            commit(connection)


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
