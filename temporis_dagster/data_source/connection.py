"""connect(url) -> Temporis: a connection to the data sources of a service or of a file, whichever the URL names.

Comes in: a URL and options. Goes out: a connection, and from it data sources.
Never: opens anything before its first use, or shows a token or a password.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from temporis_dagster.contract import CLOUD_URL, ensure_data_source_name, series_name_fault
from temporis_dagster.data_source.local_service import to_manage
from temporis_dagster.data_source.options import HttpOptions, MirrorOptions, OnUnavailable
from temporis_dagster.data_source.source import DataSource, manageable
from temporis_dagster.data_source.target import ManageableTarget, MirroringTarget, Target
from temporis_dagster.errors import ConfigurationError, TemporisError
from temporis_dagster.settings import from_environment, hidden_token, hidden_url, trimmed

if TYPE_CHECKING:
    from typing_extensions import Self

    from temporis_dagster.data_source.http.target import HttpTarget

DATABASES = ("sqlite", "postgresql", "postgres")
"""What the URLs of data sources in a database start with; the store tells which drivers it has."""


def connect(  # noqa: PLR0913  # one argument per option
    url: str | None = None,
    token: str | None = None,
    *,
    batch_rows: int | None = None,
    max_body_bytes: int = 4_000_000,
    max_in_flight: int | None = None,
    requests_per_second: float | None = None,
    timeout_s: float = 30.0,
    give_up_after_s: float = 300.0,
    allow_http: bool = False,
    verify: bool | str = True,
    create_missing: bool = False,
    account: str = "default",
    mirror: str | None = None,
    skip_unchanged: bool = False,
    on_unavailable: OnUnavailable = "raise",
    late_write_window_s: float = 60.0,
    max_pending_rows: int = 50_000_000,
    dry_run: bool = False,
) -> Temporis:
    """Connect to the data sources of a service or of a file. Nothing is opened before the first use.

    The token and the options that only tune delivery are accepted for every URL, so that one call works on a laptop and
    in the cloud.

    Args:
        url: ``https://...`` for the Temporis API, ``http://127.0.0.1:8008`` for a local service,
            ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` for an embedded data source,
            ``postgresql+psycopg://user@host:port/database`` for data sources in PostgreSQL. A relative path is
            resolved once, in this call. Defaults to the ``TEMPORIS_URL`` environment variable, and without that to the
            cloud if there is a token.
        token: The access token of an HTTP service, which an https URL requires. Defaults to the ``TEMPORIS_TOKEN``
            environment variable. It is never shown.
        batch_rows: HTTP: the maximum number of observations per request. None adapts it to how fast the service
            answers: 10,000 at first, up to 25,000.
        max_body_bytes: HTTP: the maximum size of a request body, in bytes.
        max_in_flight: HTTP: the maximum number of requests at a time. None adapts it to what the service takes: 4 at
            first, from 1 to 16.
        requests_per_second: HTTP: the maximum number of requests started per second; None for no limit.
        timeout_s: HTTP: how many seconds an attempt may take, on top of the time that its body needs on a slow line.
        give_up_after_s: HTTP, PostgreSQL: how many seconds to go on *without any acknowledgement*. A healthy load of
            any size is never cut off.
        allow_http: HTTP: whether the token may travel unencrypted to another machine.
        verify: HTTP: True verifies certificates with the CA bundle that ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``,
            ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` names, otherwise with certifi's; a path names the CA bundle to use;
            False accepts any certificate. Proxies come from the environment.
        create_missing: SQL: whether an upsert creates a data source that does not exist.
        account: SQL: whose data sources to use; accounts never see each other's.
        mirror: HTTP: ``sqlite:///mirror.db``, a file, or ``postgresql+psycopg://user@host/database``, shared by many
            machines: it keeps every observation before it is sent, and can be read.
        skip_unchanged: With a mirror: whether to send only observations that the service is not known to have.
        on_unavailable: With a mirror: ``"raise"`` raises when observations cannot be delivered now, although they are
            kept; ``"queue"`` only keeps them.
        late_write_window_s: With a mirror: for how many seconds after an attempt without an answer the service may
            still apply it.
        max_pending_rows: With a mirror: the maximum number of observations that may wait in it. An upsert beyond that
            is refused.
        dry_run: Whether to check everything and never send or write an observation.

    Returns:
        A connection that threads may share. Use it as a context manager, or close it.

    Raises:
        ConfigurationError: There is no URL, or it or an option cannot be used.

    Examples:
        >>> import tempfile, pandas as pd
        >>> from temporis_dagster import connect
        >>> hours = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
        >>> with connect(f"sqlite:///{tempfile.mkdtemp()}/temporis.db") as temporis:
        ...     source = temporis.create_data_source("store_metrics")
        ...     report = source.upsert(pd.DataFrame({"orders": range(24)}, index=hours))
        ...     again = source.upsert(pd.DataFrame({"orders": range(24)}, index=hours))
        >>> report.stored, again.stored, again.unchanged
        (24, 0, 24)
    """
    url, token, mirror = hidden_url(url), hidden_token(token), hidden_url(mirror)
    options = HttpOptions(
        batch_rows, max_body_bytes, max_in_flight, requests_per_second, timeout_s, give_up_after_s, allow_http, verify
    )
    return connect_with(
        options,
        url,
        token,
        create_missing=create_missing,
        account=account,
        mirror=mirror,
        mirroring=MirrorOptions(skip_unchanged, on_unavailable, late_write_window_s, max_pending_rows),
        dry_run=dry_run,
    )


def connect_with(
    options: HttpOptions,
    url: str | None = None,
    token: str | None = None,
    *,
    create_missing: bool = False,
    account: str = "default",
    mirror: str | None = None,
    mirroring: MirrorOptions | None = None,
    dry_run: bool = False,
) -> Temporis:
    """Connect as ``connect`` does, with the options of each backend as one value: for the surfaces over the core.

    The options of a surface are a subclass, whose advice uses that surface's own words.
    """
    url, token, mirror = hidden_url(url), hidden_token(token), hidden_url(mirror)
    mirroring = mirroring or MirrorOptions()
    given = token
    url, token = _url_and_token(url, token, options)
    again = Reconnection(url, given, options, create_missing, account, mirror, mirroring, dry_run)
    scheme = url.split(":", 1)[0].lower()
    if scheme in ("http", "https"):
        _refuse_for_http(url, create_missing=create_missing, account=account)
        if mirror is None:
            _refuse_without_mirror(mirroring)
            return Temporis(_http_target(url, token, options), dry_run=dry_run, again=again)
        mirrored = _mirror(mirror, _http_target(url, token, options), token, mirroring)
        return Temporis(mirrored, dry_run=dry_run, again=again)
    if scheme.split("+")[0] in DATABASES:
        if mirror is not None:
            raise ConfigurationError(f"A data source in a database needs no mirror. {mirroring.ADVICE.without_mirror}")
        _refuse_without_mirror(mirroring)
        store = _store(url, account=account, create_missing=create_missing, give_up_after_s=options.give_up_after_s)
        # The path of a file was resolved in this process's working directory; another process may have another one.
        again = replace(again, url=store.url) if scheme.startswith("sqlite") else again
        return Temporis(store, dry_run=dry_run, again=again)
    # Only the scheme is shown: the rest may hold a password.
    raise ConfigurationError(f"A URL that starts with {scheme[:20]!r} is not supported. {options.ADVICE.connect}")


def _url_and_token(url: str | None, token: str | None, options: HttpOptions) -> tuple[str, str | None]:
    token = trimmed(token) if token is not None else hidden_token(from_environment("TEMPORIS_TOKEN"))
    from_variable = hidden_url(from_environment("TEMPORIS_URL"))
    url = trimmed(url) if url is not None else from_variable or (CLOUD_URL if token else None)
    if not isinstance(url, str | None):
        raise ConfigurationError(f"The URL must be a string, got {type(url).__name__}. {options.ADVICE.connect}")
    if not url:
        raise ConfigurationError(f"There is no URL to connect to. {options.ADVICE.connect}")
    return url, token


def _refuse_for_http(url: str, *, create_missing: bool, account: str) -> None:
    if create_missing:
        raise ConfigurationError(
            f"The API cannot create data sources, so leave out create_missing=True. Create the data source"
            f" {to_manage(url, 'sources create NAME')}."
        )
    if account != "default":
        raise ConfigurationError("Over HTTP, the token determines the account. Leave out the account.")


def _refuse_without_mirror(options: MirrorOptions) -> None:
    if options.skip_unchanged or options.on_unavailable != "raise":
        raise ConfigurationError(
            f"Without a mirror there is nowhere to keep rows: {options.ADVICE.need_mirror}. To have one,"
            f" {options.ADVICE.mirror}."
        )


# The return types are what each backend claims to be: here the type checkers compare it with the protocol.


def _http_target(url: str, token: str | None, options: HttpOptions) -> HttpTarget:
    from temporis_dagster.data_source.http.target import HttpTarget

    return HttpTarget(url, token, options)


def _mirror(url: str, service: HttpTarget, token: str | None, options: MirrorOptions) -> MirroringTarget:
    from temporis_dagster.data_source.mirror import Mirror

    return Mirror(url, service, token, options)


def _store(url: str, *, account: str, create_missing: bool, give_up_after_s: float) -> ManageableTarget:
    if series_name_fault(account):  # the same rule: text that any database and terminal can handle
        raise ConfigurationError(f"account={account!r} cannot name an account. Use text, such as 'default'.")
    from temporis_dagster.data_source.store import SqlStore

    return SqlStore(url, account=account, create_missing=create_missing, give_up_after_s=give_up_after_s)


class Temporis:
    """A connection to the data sources of a service or of a file. Made by ``connect``.

    Threads may share it. Use it as a context manager, or close it.
    """

    def __init__(self, target: Target, *, dry_run: bool = False, again: Reconnection | None = None) -> None:
        self._target = target
        self._dry_run = dry_run
        self._again = again

    @property
    def url(self) -> str:
        """Where the data sources are: an absolute URL without secrets."""
        return self._target.url

    @property
    def dry_run(self) -> bool:
        """Whether this connection checks everything and never sends or writes an observation."""
        return self._dry_run

    def data_source(self, name: str) -> DataSource:
        """Get the data source of this name, without checking that it exists: its first use does.

        Args:
            name: A lowercase letter followed by lowercase letters, digits and underscores; at most 48 characters.

        Raises:
            ConfigurationError: No data source can have this name.
        """
        ensure_data_source_name(name)
        return DataSource(name, self._target, dry_run=self._dry_run, again=self._again)

    def create_data_source(self, name: str) -> DataSource:
        """Create a data source. Does nothing if it exists, or in a dry run.

        Args:
            name: A lowercase letter followed by lowercase letters, digits and underscores; at most 48 characters.

        Returns:
            The data source.

        Raises:
            ConfigurationError: No data source can have this name.
            NotSupportedError: This connection cannot create data sources. The message names the place that can.
            StoreError: The database failed.
        """
        source = self.data_source(name)
        if not self._dry_run:
            manageable(self._target, "create a data source", f"sources create {name}").create_data_source(name)
        return source

    def data_sources(self) -> list[str]:
        """List the names of the account's data sources, sorted.

        Raises:
            NotSupportedError: This connection cannot list data sources. The message names the place that can.
            StoreError: The database failed.
        """
        return manageable(self._target, "list data sources", "sources list").data_sources()

    def close(self) -> None:
        """Release connections; those in use are closed when they are returned.

        It is safe to call this twice, and from another thread. A later call opens what it needs again.
        """
        self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Temporis({self.url!r})"


def noting(connection: Temporis, note: str) -> Temporis:
    """Make the same connection with errors that end with a note, such as where its URL came from."""
    target = cast("Target", _Noting(connection._target, note))  # noqa: SLF001  # of this module's own class
    return Temporis(target, dry_run=connection.dry_run, again=connection._again)  # noqa: SLF001  the same


@dataclass(frozen=True)
class Reconnection:
    """How to make the same connection in another process, to which a connection itself cannot be sent.

    Attributes:
        url: The URL, also if it came from the environment.
        token: The token, if the caller passed one. One from the environment is not here: the other process has its own.
        options: The options for HTTP.
        create_missing: As in ``connect``.
        account: As in ``connect``.
        mirror: As in ``connect``.
        mirroring: The options of the mirror.
        dry_run: As in ``connect``.
    """

    url: str
    token: str | None
    options: HttpOptions
    create_missing: bool
    account: str
    mirror: str | None
    mirroring: MirrorOptions
    dry_run: bool

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle plain options: those of a surface need that surface, such as Dagster, to be imported."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["options"] = _as_plain(HttpOptions, self.options)
        plain["mirroring"] = _as_plain(MirrorOptions, self.mirroring)
        return Reconnection, tuple(plain.values())

    def connect(self) -> Temporis:
        """Make the connection.

        Raises:
            ConfigurationError: This process cannot make it: its environment has no token, or an option names a file
                that is not here.
        """
        return connect_with(
            _as_plain(HttpOptions, self.options),  # checked again: a CA bundle may be missing here
            self.url,
            self.token,
            create_missing=self.create_missing,
            account=self.account,
            mirror=self.mirror,
            mirroring=self.mirroring,
            dry_run=self.dry_run,
        )


def _as_plain(kind: type[Any], options: Any) -> Any:
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})


def reconnection_of(source: DataSource) -> Reconnection:
    """Return how to connect to a data source from another process.

    Raises:
        ConfigurationError: It was not made by ``connect``, so there is no telling.
    """
    if source._again is None:  # noqa: SLF001  for this module only
        raise ConfigurationError(
            f"{source!r} was not made by connect(...), so other processes cannot connect to it as well. Pass a data"
            " source of connect(...) or of a TemporisResource."
        )
    return source._again  # noqa: SLF001  for this module only


class _Noting:
    """A target that passes every call on to another, and adds a note to its errors."""

    def __init__(self, target: Target, note: str) -> None:
        self._target, self._note = target, note

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._calling(found) if callable(found) else found

    def _calling(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return method(*arguments, **named)
            except TemporisError as error:
                error.args = (f"{error} {self._note}", *error.args[1:])
                raise

        return call
