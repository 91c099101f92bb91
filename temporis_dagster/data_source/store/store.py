"""SqlStore: the face of the store, one method per operation.

Comes in: a URL, tallies, names. Goes out: what the ``ManageableTarget`` protocol promises.
Never: opens the file before it is needed, or creates it in an operation that only asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from temporis_dagster.data_source.report import Tally
from temporis_dagster.data_source.store import read, sources
from temporis_dagster.data_source.store.errors import SourceMissingError, explained
from temporis_dagster.data_source.store.sqlite import Database, commit
from temporis_dagster.data_source.store.tokens import Tokens
from temporis_dagster.data_source.store.upsert import StoreUpsert
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.settings import trimmed


class SqlStore:
    """The data sources of one SQLite file. Implements ``ManageableTarget``.

    Many threads and processes may use the same file at once, also after a fork. An upsert holds the write lock for
    one chunk of observations at a time. Committed observations survive process death and power loss (see ``sqlite``).
    The file may hold tables of other applications. It is switched to SQLite's write-ahead log.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. A relative path is resolved here, once.
        account: The account whose data sources these are. Those of other accounts are invisible.
        create_missing: Whether an upsert creates its data source if that does not exist.

    Raises:
        ConfigurationError: The URL is not that of a SQLite file. The file is not opened before the first operation.
    """

    def __init__(self, url: str, *, account: str = "default", create_missing: bool = False) -> None:
        self._database = Database(_path(trimmed(url)))
        self._account = account
        self._create_missing = create_missing

    @property
    def url(self) -> str:
        """The URL of the file, with an absolute path."""
        return sa.URL.create("sqlite", database=self._database.path.as_posix()).render_as_string()

    @property
    def creates_missing(self) -> bool:
        """Whether an upsert creates its data source if that does not exist."""
        return self._create_missing

    @property
    def exists(self) -> bool:
        """Whether the file exists yet: the first data source or token creates it."""
        return self._database.path.exists()

    def __repr__(self) -> str:
        # Tools that show a traceback with its variables call this even for an object whose __init__ failed.
        where = self.url if hasattr(self, "_database") else None
        return f"SqlStore({where!r}, account={getattr(self, '_account', None)!r})"

    @property
    def tokens(self) -> Tokens:
        """The access tokens that a service over this store accepts for this account."""
        return Tokens(self._database, self.url, self._account)

    def of_account(self, account: str) -> SqlStore:
        """Return the store of another account, in the same file and over the same connections."""
        other = copy(self)
        other._account = account  # noqa: SLF001  # of this class
        return other

    def wait_for_locks(self, at_most_s: float) -> None:
        """Give up on a lock that another process holds after this time, instead of after a minute."""
        self._database.busy_timeout_s = at_most_s

    def upsert(self, tally: Tally) -> None:
        """Store the tally's observations, settling them chunk by chunk; each chunk is one transaction.

        Args:
            tally: The observations, and where their outcomes are recorded.

        Raises:
            DataSourceNotFoundError: There is no such data source. Nothing was stored.
            DataSourceArchivedError: It is archived, perhaps only since a moment ago. The report has what was stored.
            StoreError: The database failed. The report has what was stored.
        """
        StoreUpsert(self._database, self.url, self._account, tally, create_missing=self._create_missing).run()

    def archive_state(self, data_source: str) -> ArchiveState:
        """Return whether the data source takes observations."""
        with self._reading(data_source) as (_, source):
            return ArchiveState.ARCHIVED if source.archived else ArchiveState.ACTIVE

    def close(self) -> None:
        """Close the connections. The next operation would open the file again."""
        with explained(self.url, path=self._database.path):
            self._database.close()

    def create_data_source(self, data_source: str) -> None:
        """Create the data source, and the file if necessary. An existing one stays unchanged."""
        with self._explained(data_source), self._database.writing(create=True) as connection:
            sources.create(connection, self._account, data_source)
            commit(connection)

    def data_sources(self) -> list[str]:
        """Return the names of the account's data sources, sorted; an empty list if there is no file."""
        with self._explained():
            try:
                with self._database.reading() as connection:
                    return sources.names(connection, self._account)
            except SourceMissingError:
                return []

    def set_archived(self, data_source: str, *, archived: bool) -> None:
        """Archive or unarchive. After archiving has returned no observation is stored: every chunk checks the flag."""
        with self._explained(data_source), self._database.writing() as connection:
            source = sources.find(connection, self._account, data_source)
            sources.set_archived(connection, source, archived)
            commit(connection)

    def read(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> pd.DataFrame:
        """Return the observations of these names in [start, end): one consistent state, sorted by (timestamp, name)."""
        with self._reading(data_source) as (connection, source):
            return read.frame(connection, source, read.ReadBounds(start, end, names))

    def content_digest(self, data_source: str, start: int | None, end: int | None, names: Sequence[str] | None) -> str:
        """Return a text that is equal exactly when ``read`` would return the same, bit for bit."""
        with self._reading(data_source) as (connection, source):
            return read.digest(connection, source, read.ReadBounds(start, end, names))

    @contextmanager
    def _reading(self, data_source: str) -> Iterator[tuple[sa.Connection, sources.Source]]:
        with self._explained(data_source), self._database.reading() as connection:
            yield connection, sources.find(connection, self._account, data_source)

    @contextmanager
    def _explained(self, data_source: str = "") -> Iterator[None]:
        with explained(self.url, data_source, self._account, path=self._database.path):
            yield


def _path(url: str) -> Path:
    """Return the absolute path of the file that a URL names. Messages never quote a URL: it may hold a password."""
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError("The store's URL is not valid. Pass one such as sqlite:///temporis.db.") from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(
            f"A store at a {parsed.drivername!r} URL is not supported (yet). Pass one such as sqlite:///temporis.db."
        )
    if parsed.host or parsed.query or parsed.username or parsed.password:
        raise ConfigurationError(
            "The URL of a SQLite store must not have a host, user or options: it is sqlite:/// and then the path, as in"
            " sqlite:///relative.db or sqlite:////absolute.db."
        )
    if parsed.database in (None, "", ":memory:") or "\0" in str(parsed.database):
        raise ConfigurationError(
            "A store needs a file, because threads and processes cannot share one in memory."
            " Pass a URL with a path, such as sqlite:///temporis.db."
        )
    return Path(str(parsed.database)).absolute()
