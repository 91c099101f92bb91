"""DataSource: upsert, check, read, archive: the one face over every kind of target.

Comes in: frames, and what to do with them. Goes out: reports, frames, archive states, or one error of the tree.
Never: knows SQL or HTTP (the targets do), or how a frame is checked (``observations`` does).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import pandas as pd

from temporis_dagster.data_source.local_service import to_manage, to_read
from temporis_dagster.data_source.observations import (
    AllowFuture,
    Ambiguous,
    Decimals,
    Layout,
    Nonexistent,
    ObservationArguments,
    ObservationOptions,
    Observations,
    OnConflict,
    OnInvalid,
    SubSecond,
    Unit,
    observe,
)
from temporis_dagster.data_source.observations.aware import Awareness, awareness, impossible
from temporis_dagster.data_source.observations.conflicts import settle_conflicts
from temporis_dagster.data_source.progress import shown
from temporis_dagster.data_source.report import Progress, Tally, UpsertReport
from temporis_dagster.data_source.target import (
    ArchiveState,
    ManageableTarget,
    MirroringTarget,
    PendingInfo,
    ReadableTarget,
    Target,
)
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    NotSupportedError,
    ReadNotSupportedError,
    RejectedObservationsError,
    TemporisError,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Frame: TypeAlias = "pd.DataFrame | pd.Series[Any] | Observations"
Moment: TypeAlias = "datetime | int | None"


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

    def upsert(  # noqa: PLR0913  the options of a frame show in an editor
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
        unit: Unit | None = None,
        allow_future: AllowFuture = None,
        on_conflict: OnConflict = "last",
        decimals: Decimals = "nearest",
        progress: bool | Progress | None = None,
    ) -> UpsertReport:
        """Store observations: new keys are inserted, existing keys get the new value, nothing is ever deleted.

        Sending the same frame again is always safe. A row that vanished upstream stays. A frame without rows
        is no request; where ``create_missing`` is set, it creates the data source that is not there all the same.

        Args:
            data: *Long*: columns ``timestamp``, ``name``, ``value``. *Wide*: a DatetimeIndex (or the timestamp column)
                and one numeric column a series; a NaN cell is no observation. A *Series* with a DatetimeIndex and a
                name. Or ``Observations`` that were checked before. Never modified.
            layout: ``"long"``, ``"wide"``, or ``"auto"``: long if the name and value columns exist, else wide.
            timestamp: The column of timestamps; without it, the DatetimeIndex. None takes the index.
            name: The column of series names (long).
            value: The column of values (long): finite numbers.
            timezone: Zone name for naive timestamps and for dates, such as ``"Europe/Berlin"``.
            ambiguous: For a local time that occurs twice: ``"raise"``; ``"infer"``, from rows that go forward or
                backward in time, series by series; ``"NaT"``; or, where only one of the two is there, True (DST, the
                first) or False. One for all, so no array.
            nonexistent: For a local time the clock skipped: ``"raise"``, ``"shift_forward"``, ``"shift_backward"``,
                ``"NaT"`` or a timedelta.
            sub_second: ``"floor"`` cuts fractions of a second off instead of refusing them.
            on_invalid: ``"drop"`` sends the rest and lists the dropped rows; ``"raise"`` sends nothing. What is
                the call's fault is never dropped, but raised: timestamps without a zone and no ``timezone``, numbers
                that read as calendar dates, timestamps too far ahead.
            unit: What number timestamps count since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``. None: seconds, and
                numbers that all read as calendar dates, such as 20240620 or Excel's 45463, are refused.
            allow_future: How far ahead of the clock a timestamp may lie: a timedelta, text such as ``"730 days"``, or
                True for any distance. None: a year (366 days). Further ones are refused.
            on_conflict: For rows with one (timestamp, name) and different values: ``"last"`` stores the last one, lists
                the others as ``superseded_rows`` and warns in the log; ``"raise"`` sends nothing.
            decimals: For a Decimal that float64 does not hold exactly: ``"nearest"`` takes the nearest float,
                ``"exact"`` refuses it.
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
            StoreError: The database or the mirror's file failed; its report says what was stored before.
            MirrorError: The mirror is another target's, or full; nothing was written.
        """
        options = ObservationOptions(
            layout=layout,
            timestamp=timestamp,
            name=name,
            value=value,
            timezone=timezone,
            ambiguous=ambiguous,
            nonexistent=nonexistent,
            sub_second=sub_second,
            on_invalid=on_invalid,
            unit=unit,
            allow_future=allow_future,
            on_conflict=on_conflict,
            decimals=decimals,
        )
        observations = self._observed(data, options)
        with shown(progress, self.name, len(observations)) as settled:
            report = self._deliver(Tally(self.name, observations, dry_run=self._dry_run, progress=settled))
        if report.rejected and on_invalid == "raise":
            raise rejection(report, observations, self.url, options)
        return report

    def _observed(self, data: Frame, options: ObservationOptions) -> Observations:
        if not isinstance(data, Observations):
            return observe(data, options, data_source=self.name)
        if options.on_conflict == "raise":
            settle_conflicts(data, options, data_source=self.name)
        return data

    def _deliver(self, tally: Tally) -> UpsertReport:
        # All of it inside the try: whoever is interrupted anywhere in here gets a report.
        try:
            if self._dry_run:
                return tally.report("A dry run writes nothing.")
            if len(tally.observations):
                self._target.upsert(tally)
            else:
                self._create_where_missing()
            report = tally.report()
        except TemporisError:
            raise
        except BaseException as interruption:
            _hand_on(tally, interruption)
            raise
        return report

    def _create_where_missing(self) -> None:
        """What a write does where ``create_missing`` is set, also of nothing: a reader then finds an empty frame."""
        if not getattr(self._target, "creates_missing", False):
            return
        target = cast("ManageableTarget", self._target)
        try:
            target.archive_state(self.name)
        except DataSourceNotFoundError:
            target.create_data_source(self.name)

    def check(self, data: Frame, **options: Unpack[ObservationArguments]) -> UpsertReport:
        """Make the checks of ``upsert`` and send nothing: every good observation is reported as unsent.

        Takes the arguments of ``upsert`` about the data and raises its errors about them.
        """
        observations = self._observed(data, ObservationOptions(**options))
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
        """Whether the data source takes observations. Over HTTP it asks with an ingest of none, also in a dry run.

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
        command = "sources archive" if archived else "sources unarchive"
        target = manageable(self._target, "archive or unarchive a data source", f"{command} {self.name}")
        if not self._dry_run:
            target.set_archived(self.name, archived=archived)

    def flush(self, *, wait: bool = True, progress: bool | Progress | None = None) -> UpsertReport:
        """Deliver what is pending in the mirror, oldest first. In a dry run, does nothing.

        Args:
            wait: Whether to wait for rows that may not be sent yet (another process sends them, or an older value of
                theirs may still arrive), until nothing is pending.
            progress: True shows a progress bar; or a function that is told how many observations were delivered.

        Returns:
            How many observations were stored and rejected, and how many are pending still.

        Raises:
            NotSupportedError: The connection has no mirror.
            DeliveryError: What ``upsert`` raises; what is left stays pending.
            MirrorError: It is another target's mirror.
            StoreError: The mirror's file failed.
        """
        mirror = _mirror_of(self._target)
        if self._dry_run:
            return UpsertReport(self.name, dry_run=True)
        with shown(progress, self.name, mirror.pending(self.name).rows) as settled:
            return mirror.flush(self.name, wait=wait, progress=settled)

    def pending(self) -> PendingInfo:
        """What the mirror keeps and the service does not surely have. Raises what ``flush`` raises of the mirror."""
        return _mirror_of(self._target).pending(self.name)

    def discard_pending(self) -> int:
        """Forget what is pending: it is never sent, and ``read`` shows it no longer; how many observations.

        For what is not wanted any more, such as the backlog of a data source that stays archived. What another process
        sends at this very moment is left alone, and pending until that is over. What was sent without an answer is
        forgotten, too, and may be stored all the same. The value that the service had before stays there, unread. In
        a dry run, does nothing.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: It is another target's mirror.
            StoreError: The mirror's file failed. What was discarded until then stays discarded.
        """
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_pending(self.name)

    def rejected_rows(self) -> pd.DataFrame:
        """The observations that the service refused and the mirror keeps.

        Returns:
            Columns ``timestamp`` (datetime64[s, UTC]), ``name`` (str), ``value`` (float64), ``reason`` (the service's
            words) and ``rejected_at`` (datetime64[s, UTC]).

        Raises:
            NotSupportedError: The connection has no mirror.
            StoreError: The mirror's file failed.
        """
        return _mirror_of(self._target).rejected_rows(self.name)

    def retry_rejected(self) -> int:
        """Let the rejected observations be pending again, for the next flush; how many. In a dry run, does nothing."""
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.retry_rejected(self.name)

    def discard_rejected(self) -> int:
        """Forget the rejected observations; how many. In a dry run, does nothing."""
        mirror = _mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_rejected(self.name)


def rejection(
    report: UpsertReport, observations: Observations, url: str, options: ObservationOptions
) -> RejectedObservationsError:
    """The error for observations that the service refused one by one, of the options that they were read with."""
    first, origin = report.rejected_rows.iloc[0], observations.origin
    place = f"row {first.position} ({origin.labels_called} {origin.labels[first.position]!r}), series {first['name']!r}"
    return RejectedObservationsError(
        f"Data source {report.data_source!r} at {url} refused {report.rejected:,} of {report.observations_in:,}"
        f" observations and stored {report.stored:,}. The first is {place}:"
        f" {first.reason}. {options.LIST_OF_REJECTED} Correct them, or pass {options.spelled('on_invalid', 'drop')}.",
        data_source=report.data_source,
        report=report,
    )


def manageable(target: Target, what: str, command: str) -> ManageableTarget:
    """The target as one that does what the dashboard does for the cloud.

    Args:
        target: Any target.
        what: What it is to do.
        command: The command that does so on the store of a local service.

    Raises:
        NotSupportedError: It cannot.
    """
    if not hasattr(target, "set_archived"):
        raise NotSupportedError(f"{target.url} cannot {what}. Do it {to_manage(target.url, command)}.")
    return cast("ManageableTarget", target)


def _readable(target: Target) -> ReadableTarget:
    if not hasattr(target, "read"):
        raise ReadNotSupportedError(
            f"{target.url} has no read-back: the API never gives observations out. To see them, {to_read(target.url)};"
            " or keep a copy in a mirror: mirror='sqlite:///mirror.db' in Python, --mirror sqlite:///mirror.db in a"
            " shell."
        )
    return cast("ReadableTarget", target)


def _mirror_of(target: Target) -> MirroringTarget:
    if not hasattr(target, "flush"):
        raise NotSupportedError(f"{target.url} has no mirror. Connect with mirror='sqlite:///mirror.db' to have one.")
    return cast("MirroringTarget", target)


def _hand_on(tally: Tally, interruption: BaseException) -> None:
    """Attach the report as of now; whoever interrupts again while it is made gets it with that interruption."""
    try:
        _attach(interruption, tally.report("The upsert was interrupted. Run it again."))
    except KeyboardInterrupt as again:
        _hand_on(tally, again)
        raise


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
    if awareness(moment) is not Awareness.AWARE:
        raise ConfigurationError(f"{argument}={moment!r} has no time zone. Attach one, such as datetime.timezone.utc.")
    if (reason := impossible(moment)) is not None:
        raise ConfigurationError(f"{argument}={moment!r}: {reason}.")
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
