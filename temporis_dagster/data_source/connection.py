"""connect(url) -> Temporis -> DataSource: the one face over every kind of target.

Comes in: a URL and options, frames. Goes out: reports, frames, archive states, or one error of the tree.
Never: knows SQL or HTTP (the targets do), or how a frame is checked (``observations`` does).
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import pandas as pd

from temporis_dagster.contract import CLOUD_URL, DATA_SOURCE_NAME_RULE, is_data_source_name, series_name_fault
from temporis_dagster.data_source.observations import (
    Ambiguous,
    Layout,
    Nonexistent,
    ObservationArguments,
    ObservationOptions,
    Observations,
    OnInvalid,
    SubSecond,
    observe,
)
from temporis_dagster.data_source.options import RemoteOptions
from temporis_dagster.data_source.progress import progress_bar
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.data_source.target import ArchiveState, ReadableTarget, Target
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
    NotSupportedError,
    ReadNotSupportedError,
    RejectedObservationsError,
    TemporisError,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

Frame: TypeAlias = "pd.DataFrame | pd.Series[Any] | Observations"
Moment: TypeAlias = "datetime | int | None"

HOW_TO_CONNECT = (
    "Pass url='sqlite:///temporis.db' for an embedded data source on this machine, or set TEMPORIS_URL to such a URL;"
    " for the Temporis cloud, pass token= or set TEMPORIS_TOKEN."
)


def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    batch_rows: int = 10_000,
    max_body_bytes: int = 4_000_000,
    max_in_flight: int = 4,
    requests_per_second: float | None = None,
    timeout_s: float = 30.0,
    give_up_after_s: float = 300.0,
    allow_http: bool = False,
    verify: bool | str = True,
    create_missing: bool = False,
    account: str = "default",
    dry_run: bool = False,
) -> Temporis:
    """Connect to a host of data sources. Nothing is opened before the first use.

    The options that only tune, and the token, are accepted for every URL, so that one call serves laptop and cloud.

    Args:
        url: ``https://...`` for the Temporis API, ``http://127.0.0.1:8008`` for a local service,
            ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` for an embedded data source. A relative path is
            resolved once, here. None reads ``TEMPORIS_URL``; without that, the cloud, if there is a token.
        token: The access token of an HTTP service; None reads ``TEMPORIS_TOKEN``. It is never shown.
        batch_rows: HTTP: at most so many observations a request.
        max_body_bytes: HTTP: at most so many bytes a request.
        max_in_flight: HTTP: at most so many requests at once.
        requests_per_second: HTTP: the fastest pace; None for no limit.
        timeout_s: HTTP: how long an attempt may take, on top of the time that its body needs on a slow line.
        give_up_after_s: HTTP: how long to go on *without any acknowledgement*, so that a healthy load of any size is
            never cut.
        allow_http: HTTP: whether the token may travel unencrypted to another machine.
        verify: HTTP: whether to verify certificates, or the path of a CA bundle. Proxies come from the environment.
        create_missing: SQL: whether an upsert creates a data source that is not there.
        account: SQL: whose data sources; accounts never see each other's.
        dry_run: Everything is checked and nothing is ever sent or written.

    Returns:
        A connection, safe to share between threads; use it as a context manager, or close it.

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
    options = RemoteOptions(
        batch_rows, max_body_bytes, max_in_flight, requests_per_second, timeout_s, give_up_after_s, allow_http, verify
    )
    url, token = _url_and_token(url, token)
    scheme = url.split(":", 1)[0]
    if scheme in ("http", "https"):
        _refuse_for_http(create_missing=create_missing, account=account)
        return Temporis(_remote(url, token, options), dry_run=dry_run)
    if scheme == "sqlite":
        return Temporis(_store(url, account=account, create_missing=create_missing), dry_run=dry_run)
    # Only the scheme is shown: the rest may hold a password.
    raise ConfigurationError(f"There is no way to connect to a URL that starts with {scheme[:20]!r}. {HOW_TO_CONNECT}")


def _url_and_token(url: str | None, token: str | None) -> tuple[str, str | None]:
    token = token if token is not None else os.environ.get("TEMPORIS_TOKEN") or None
    url = url if url is not None else os.environ.get("TEMPORIS_URL") or (CLOUD_URL if token else None)
    if not isinstance(url, str | None):
        raise ConfigurationError(f"A {type(url).__name__} is not a URL. {HOW_TO_CONNECT}")
    if not url:
        raise ConfigurationError(f"There is nothing to connect to. {HOW_TO_CONNECT}")
    return url, token


def _refuse_for_http(*, create_missing: bool, account: str) -> None:
    if create_missing:
        raise ConfigurationError(
            "The API cannot create data sources. Create it in the dashboard, without create_missing."
        )
    if account != "default":
        raise ConfigurationError("Over HTTP the token decides the account. Leave out account=.")


def _remote(url: str, token: str | None, options: RemoteOptions) -> Target:
    from temporis_dagster.data_source.remote import Remote

    return Remote(url, token, options)


def _store(url: str, *, account: str, create_missing: bool) -> Target:
    if series_name_fault(account):  # the rule is the same: text that any database and terminal takes
        raise ConfigurationError(f"account={account!r} cannot name an account. Use text, such as 'default'.")
    from temporis_dagster.data_source.store import SqlStore

    return SqlStore(url, account=account, create_missing=create_missing)


class Temporis:
    """A connection to a host of data sources. Made by [`connect`][temporis_dagster.connect]."""

    def __init__(self, target: Target, *, dry_run: bool = False) -> None:
        self._target = target
        self._dry_run = dry_run

    @property
    def url(self) -> str:
        """Where the data sources are: absolute, without secrets."""
        return self._target.url

    @property
    def dry_run(self) -> bool:
        """Whether nothing is ever written."""
        return self._dry_run

    def data_source(self, name: str) -> DataSource:
        """The data source of that name. Whether it exists shows at its first use.

        Raises:
            ConfigurationError: No data source can have this name.
        """
        if not is_data_source_name(name):
            raise ConfigurationError(f"{name!r} cannot name a data source. Use {DATA_SOURCE_NAME_RULE}.")
        return DataSource(name, self._target, dry_run=self._dry_run)

    def create_data_source(self, name: str) -> DataSource:
        """Create a data source, as often as one likes: an existing one is left as it is. In a dry run, does nothing.

        Raises:
            ConfigurationError: No data source can have this name.
            NotSupportedError: This target creates them elsewhere; the message says where.
            StoreError: The database failed.
        """
        source = self.data_source(name)
        if not self._dry_run:
            _manageable(self._target, "create a data source").create_data_source(name)
        return source

    def data_sources(self) -> list[str]:
        """The names of the account's data sources, sorted.

        Raises:
            NotSupportedError: This target cannot list them.
            StoreError: The database failed.
        """
        return _manageable(self._target, "list data sources").data_sources()

    def close(self) -> None:
        """Let go of connections. Safe to call twice."""
        self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Temporis({self.url!r})"


class DataSource:
    """Many named series of observations under one name. Made by ``Temporis.data_source``."""

    def __init__(self, name: str, target: Target, *, dry_run: bool = False) -> None:
        self.name = name
        self._target = target
        self._dry_run = dry_run

    @property
    def url(self) -> str:
        """Where the data source is: absolute, without secrets."""
        return self._target.url

    def __repr__(self) -> str:
        return f"DataSource({self.name!r}, {self.url!r})"

    def upsert(
        self,
        data: Frame,
        *,
        layout: Layout = "auto",
        timestamp: Hashable = "timestamp",
        name: Hashable = "name",
        value: Hashable = "value",
        timezone: str | None = None,
        ambiguous: Ambiguous = "raise",
        nonexistent: Nonexistent = "raise",
        sub_second: SubSecond = "raise",
        on_invalid: OnInvalid = "raise",
        progress: bool | Progress | None = None,
    ) -> UpsertReport:
        """Store observations: new keys are inserted, existing keys get the new value, nothing is ever deleted.

        Sending the same frame again is always safe. A row that vanished upstream stays. A frame without rows is no
        request: nothing is asked and nothing is created.

        Args:
            data: *Long*: columns ``timestamp``, ``name``, ``value``. *Wide*: a DatetimeIndex (or the timestamp column)
                and one numeric column a series; a NaN cell is no observation. A *Series* with a DatetimeIndex and a
                name. Or ``Observations`` that were checked before. Never modified.
            layout: ``"long"``, ``"wide"``, or ``"auto"``: long if the name and value columns exist, else wide.
            timestamp: The column of timestamps; without it, the DatetimeIndex. None takes the index.
            name: The column of series names (long).
            value: The column of values (long): finite numbers that float64 holds exactly.
            timezone: Zone name for naive timestamps and for dates, such as ``"Europe/Berlin"``.
            ambiguous: For a local time that occurs twice: ``"raise"``, ``"infer"``, ``"NaT"``, True (DST) or False.
            nonexistent: For a local time the clock skipped: ``"raise"``, ``"shift_forward"``, ``"shift_backward"``,
                ``"NaT"`` or a timedelta.
            sub_second: ``"floor"`` cuts fractions of a second off instead of refusing them.
            on_invalid: ``"drop"`` sends the rest and lists the dropped rows; ``"raise"`` sends nothing.
            progress: True shows a progress bar; or a function that is told how many observations were settled.

        Returns:
            What happened to every observation.

        Raises:
            InvalidObservationsError: Rows that cannot be observations. Nothing was sent.
            ConfigurationError: An argument makes no sense. Nothing was sent.
            DataSourceNotFoundError: There is no such data source.
            DataSourceArchivedError: It takes no observations; the report says what was stored before.
            RejectedObservationsError: The service refused some; the others are stored.
            AuthenticationError: The service does not know the token.
            UnavailableError: The service could not be reached for too long; run it again later.
            DeliveryError: The service answered something the API does not document.
            StoreError: The database failed; its report says what was stored before.
        """
        options = ObservationOptions(
            layout, timestamp, name, value, timezone, ambiguous, nonexistent, sub_second, on_invalid
        )
        observations = data if isinstance(data, Observations) else observe(data, options, data_source=self.name)
        with self._progress(progress, len(observations)) as settled:
            report = self._deliver(Tally(self.name, observations, dry_run=self._dry_run, progress=settled))
        if report.rejected and on_invalid == "raise":
            raise self._rejected(report)
        return report

    def _deliver(self, tally: Tally) -> UpsertReport:
        if self._dry_run:
            return tally.report("A dry run writes nothing.")
        if not len(tally.observations):
            return tally.report()
        try:
            self._target.upsert(tally)
        except TemporisError:
            raise
        except BaseException as interruption:
            _attach(interruption, tally.report("The upsert was interrupted. Run it again."))
            raise
        return tally.report()

    def _progress(self, progress: bool | Progress | None, total: int) -> AbstractContextManager[Progress | None]:
        if progress is True:
            return progress_bar(self.name, total)
        return nullcontext(progress or None)

    def _rejected(self, report: UpsertReport) -> RejectedObservationsError:
        first = report.rejected_rows.iloc[0]
        return RejectedObservationsError(
            f"Data source {self.name!r} at {self.url} refused {report.rejected:,} of {report.observations_in:,}"
            f" observations and stored {report.stored:,}. The first is row {first.position} (label {first.label!r}):"
            f" {first.reason}. The error's .report.rejected_rows lists them all. Correct them, or pass"
            " on_invalid='drop'.",
            data_source=self.name,
            report=report,
        )

    def check(self, data: Frame, **options: Unpack[ObservationArguments]) -> UpsertReport:
        """Make the checks of ``upsert`` and send nothing: every good observation is reported as unsent.

        Takes the arguments of ``upsert`` about the data and raises its errors about them.
        """
        observations = (
            data
            if isinstance(data, Observations)
            else observe(data, ObservationOptions(**options), data_source=self.name)
        )
        return Tally(self.name, observations, dry_run=True).report("A check sends nothing.")

    def read(self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None) -> pd.DataFrame:
        """The stored observations of [start, end), sorted by (timestamp, name).

        Args:
            start: Aware datetime or Unix second; None for no bound.
            end: Aware datetime or Unix second, itself left out; None for no bound.
            names: Exact series names; None for all.

        Returns:
            Columns ``timestamp`` (datetime64[s, UTC]), ``name`` (str) and ``value`` (float64).

        Raises:
            ConfigurationError: A bound without a time zone, or names that are not strings.
            DataSourceNotFoundError: There is no such data source.
            ReadNotSupportedError: This target has no read-back.
            StoreError: The database failed.
        """
        target = _readable(self._target)
        return target.read(self.name, _second("start", start), _second("end", end), _exact_names(names))

    def content_digest(self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None) -> str:
        """A text that is equal exactly when the content of [start, end) is equal, bit for bit, whatever the order.

        Takes the arguments of ``read`` and raises its errors.
        """
        target = _readable(self._target)
        return target.content_digest(self.name, _second("start", start), _second("end", end), _exact_names(names))

    def archive_state(self) -> ArchiveState:
        """Whether the data source takes observations. Writes nothing.

        Raises:
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
        """
        return self._target.archive_state(self.name)

    def ensure_writable(self) -> None:
        """Return if the data source takes observations, or if that cannot be known; raise otherwise.

        Raises:
            DataSourceArchivedError: It is archived.
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
        """
        if self.archive_state() is ArchiveState.ARCHIVED:
            raise DataSourceArchivedError(
                f"Data source {self.name!r} at {self.url} is archived and takes no observations. Unarchive it first.",
                data_source=self.name,
                report=UpsertReport(self.name),
            )

    def archive(self) -> None:
        """Stop ingestion, keep the data. No observation lands after this returned. In a dry run, does nothing.

        Raises:
            NotSupportedError: This target is archived elsewhere; the message says where.
            DataSourceNotFoundError: There is no such data source.
            StoreError: The database failed.
        """
        self._set_archived(archived=True)

    def unarchive(self) -> None:
        """Take observations again. In a dry run, does nothing. Raises what ``archive`` raises."""
        self._set_archived(archived=False)

    def _set_archived(self, *, archived: bool) -> None:
        target = _manageable(self._target, "archive or unarchive a data source")
        if not self._dry_run:
            target.set_archived(self.name, archived=archived)


def _manageable(target: Target, what: str) -> ReadableTarget:
    if not hasattr(target, "read"):
        raise NotSupportedError(f"{target.url} cannot {what}. Do it in the Temporis dashboard.")
    return cast("ReadableTarget", target)


def _readable(target: Target) -> ReadableTarget:
    if not hasattr(target, "read"):
        raise ReadNotSupportedError(f"{target.url} has no read-back: the API never gives observations out.")
    return cast("ReadableTarget", target)


def _attach(interruption: BaseException, report: UpsertReport) -> None:
    """Let the report go with an exception that is not ours, such as KeyboardInterrupt."""
    interruption.report = report  # type: ignore[attr-defined]  # documented: the one way to hand it on
    if hasattr(interruption, "add_note"):
        interruption.add_note(f"{report}. What was stored stays; the exception's .report has the rows.")


def _second(argument: str, moment: Moment) -> int | None:
    """The first whole Unix second at or after the moment: timestamps are whole, so the comparison stays exact."""
    if moment is None or (isinstance(moment, int | np.integer) and not isinstance(moment, bool)):
        return None if moment is None else int(moment)
    if not isinstance(moment, datetime) or pd.isna(moment):
        raise ConfigurationError(f"{argument}={moment!r} is not a moment. Pass an aware datetime or a Unix second.")
    if moment.tzinfo is None:
        raise ConfigurationError(f"{argument}={moment!r} has no time zone. Attach one, such as datetime.timezone.utc.")
    plain = moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment
    since = plain.replace(tzinfo=None) - datetime(1970, 1, 1) - (plain.utcoffset() or timedelta())  # noqa: DTZ001
    whole, rest = divmod(since, timedelta(seconds=1))
    return whole + bool(rest or getattr(moment, "nanosecond", 0))


def _exact_names(names: Iterable[str] | None) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, Iterable):
        raise ConfigurationError(f"names={names!r} is no list. Pass the series names as a list of strings.")
    exact: list[Any] = [names] if isinstance(names, str) else list(names)
    if wrong := [name for name in exact if not isinstance(name, str)]:
        raise ConfigurationError(f"names has {wrong[0]!r}, which is not a string. Pass the series names as strings.")
    return exact
