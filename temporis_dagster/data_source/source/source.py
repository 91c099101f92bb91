"""DataSource: upsert, check, read and archive; the one face over every target.

Comes in: frames, and what to do with them. Goes out: reports, frames, archive states, or an error of the tree.
Never: knows SQL or HTTP (the targets do), or how a frame is checked (``observations`` does).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast, overload

import pandas as pd

from temporis_dagster import markup
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
    Series,
    SubSecond,
    Unit,
)
from temporis_dagster.data_source.plan import Ghosts, Plan, Within
from temporis_dagster.data_source.progress import shown
from temporis_dagster.data_source.reading import (
    ArrowBatch,
    ArrowTable,
    Form,
    Rows,
    draw,
    ensure_available,
    ensure_matplotlib,
    formed,
    in_batches,
    new_axes,
    record_batches,
    remarks_on,
    rows_per_batch,
    thinned,
)
from temporis_dagster.data_source.report import Progress, UpsertReport
from temporis_dagster.data_source.source.abilities import deleting, manageable, mirror_of, readable
from temporis_dagster.data_source.source.arguments import (
    Moment,
    bounds_of,
    exact_names,
    gap_s_of,
    positive,
    second_of,
    window_of,
)
from temporis_dagster.data_source.source.upserting import Upserting
from temporis_dagster.data_source.streams import (
    SLICE_CELLS,
    Frame,
    FrameStream,
)
from temporis_dagster.data_source.target import (
    ArchiveState,
    PendingInfo,
    Target,
    is_manageable,
    is_mirroring,
    is_readable,
)
from temporis_dagster.errors import (
    ConfigurationError,
    DataSourceArchivedError,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from typing_extensions import Unpack

    from temporis_dagster.data_source.connection import Reconnection

LOGGER = logging.getLogger(__name__)

ROWS_PER_BATCH = 100_000
"""The number of observations per batch of ``read_batches``, unless the caller passes another."""

MOST_SERIES = 10
"""The number of lines in a plot, unless the caller passes another: matplotlib's colours repeat after ten."""


class DataSource:
    """A named collection of series of observations. Made by ``Temporis.data_source``.

    Attributes:
        name: What it is called.
    """

    def __init__(self, name: str, target: Target, *, dry_run: bool = False, again: Reconnection | None = None) -> None:
        self.name = name
        self._slice_cells = SLICE_CELLS
        self._target = target
        self._dry_run = dry_run
        self._again = again

    @property
    def _upserting(self) -> Upserting:
        return Upserting(self, self._target, dry_run=self._dry_run, slice_cells=self._slice_cells)

    @property
    def url(self) -> str:
        """Where the data source is: an absolute URL without secrets."""
        return self._target.url

    @property
    def dry_run(self) -> bool:
        """Whether this connection checks everything and writes nothing."""
        return self._dry_run

    def __repr__(self) -> str:
        return f"DataSource({self.name!r}, {self.url!r})"

    def _repr_html_(self) -> str:
        return markup.paragraph(self.name, "a data source") + markup.table((), self._facts())

    def _facts(self) -> list[tuple[str, object]]:
        """Return what is known without the network, without waiting and without reading observations."""
        target = self._target
        facts: list[tuple[str, object]] = [("at", self.url)]
        if is_mirroring(target):
            facts.append(("mirror", target.mirror_url))
        if not is_readable(target):
            facts.append(("reading", "not over HTTP; connect with mirror= to read what you send"))
        seen = target.glance(self.name) if is_manageable(target) else None
        if seen is not None and not seen.exists:
            facts.append(("state", "does not exist yet"))
        elif seen is not None:
            facts.append(("state", "archived" if seen.archived else "active"))
            if seen.series is not None:
                facts.append(("series", f"{seen.series:,}"))
            spans = (("first", seen.first), ("last", seen.last))
            facts += [(name, pd.Timestamp(moment, unit="s", tz="UTC")) for name, moment in spans if moment is not None]
        if self._dry_run:
            facts.append(("dry run", "everything is checked, and nothing is written"))
        return facts

    def upsert(  # noqa: PLR0913  the options of a frame show in an editor
        self,
        data: Frame | FrameStream,
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
        series: Sequence[Series] = (),
        progress: bool | Progress | None = None,
        spool: bool = False,
    ) -> UpsertReport:
        """Store observations: insert new keys, overwrite the values of existing keys, and never delete anything.

        A key is a (timestamp, name). Sending the same frame again is always safe. A row that has vanished from the
        frame stays stored. A frame without rows sends nothing; with ``create_missing``, it still creates a data source
        that does not exist.

        Args:
            data: *Long*: columns ``timestamp``, ``name``, ``value``. *Wide*: a DatetimeIndex (or the timestamp column)
                and one numeric column per series; NaN cells are left out. A *Series* with a DatetimeIndex and a name.
                Never modified. A frame of pandas, polars or Arrow; or a *stream* of frames, which is checked and sent
                slice by slice: a ``RecordBatchReader``, a relation of DuckDB, a LazyFrame of polars, anything else
                with ``__arrow_c_stream__``, or an iterator of frames.
            layout: ``"long"``, ``"wide"``, or ``"auto"``: long if the name and value columns exist, else wide.
            timestamp: The column of timestamps; if there is none, the DatetimeIndex is used. None forces the index.
            name: The column of series names (long).
            value: The column of values (long), which must be finite numbers.
            timezone: The zone of naive timestamps and dates, such as ``"Europe/Berlin"``.
            ambiguous: For a local time that occurs twice: ``"raise"``; ``"infer"``, from rows that run forward or
                backward in time, series by series; ``"NaT"``; or, where only one of the two is present, True (DST, the
                first) or False. One setting for all rows, not an array.
            nonexistent: For a local time that the clock skipped: ``"raise"``, ``"shift_forward"``,
                ``"shift_backward"``, ``"NaT"`` or a timedelta.
            sub_second: ``"floor"`` cuts off fractions of a second; ``"raise"`` refuses them.
            on_invalid: ``"drop"`` sends the valid rows and lists the dropped ones; ``"raise"`` sends nothing. Mistakes
                in the call raise in either case: timestamps without a zone and no ``timezone``, numbers that read as
                calendar dates, timestamps too far ahead.
            unit: What number timestamps count since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``. None means seconds,
                and refuses numbers that all read as calendar dates, such as 20240620 or Excel's 45463.
            allow_future: How far ahead of the clock a timestamp may lie: a timedelta, text such as ``"730 days"``, or
                True for any distance. None means a year (366 days).
            on_conflict: For rows with one (timestamp, name) and different values: ``"last"`` stores the last one, lists
                the others as ``superseded_rows`` and logs a warning; ``"raise"`` sends nothing.
            decimals: For a Decimal that float64 does not hold exactly: ``"nearest"`` takes the nearest float,
                ``"exact"`` refuses it.
            series: Contracts of series: rows that break one are invalid. Other series may be in the frame as well.
            progress: True shows a progress bar; a function is called with the number of observations settled since
                the last call.
            spool: For a stream: True checks all of it, in a temporary file, before anything is sent, as for a frame.

        Returns:
            What happened to every observation.

        Raises:
            InvalidObservationsError: Some rows cannot be observations. Nothing was sent; of a stream, the error's
                ``.report`` counts what was sent before.
            StreamError: The source of a stream raised an error. The report counts what was sent before.
            ConfigurationError: An argument cannot be used. Nothing was sent.
            DataSourceNotFoundError: The data source does not exist.
            DataSourceArchivedError: The data source is archived. The report counts what was stored before.
            RejectedObservationsError: The service rejected some observations and stored the others.
            AuthenticationError: The service does not know the token.
            UnavailableError: The service could not be reached for too long. Run the upsert again later.
            DeliveryError: The service gave an answer that the API does not document.
            StoreError: The database of the store or mirror failed. The report counts what was stored before.
            MirrorError: The mirror belongs to another target, or is full. Nothing was written.
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
        return self._upserting.upsert(data, options, series, spool=spool, progress=progress)

    def check(
        self,
        data: Frame | FrameStream,
        *,
        series: Sequence[Series] = (),
        spool: bool = False,
        **options: Unpack[ObservationArguments],
    ) -> UpsertReport:
        """Make the checks of ``upsert`` and send nothing: every valid observation is reported as unsent.

        Args:
            data: As in ``upsert``. A stream is read, so another one is needed to upsert it.
            series: As in ``upsert``.
            spool: As in ``upsert``.
            **options: The arguments of ``upsert`` that say how to read ``data``, from ``layout`` to ``decimals``.

        Returns:
            The report of a dry run.

        Raises:
            InvalidObservationsError: Some rows cannot be observations.
            ConfigurationError: An argument cannot be used.
        """
        return self._upserting.check(data, ObservationOptions(**options), series, spool=spool)

    @overload
    def read(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        as_: Literal["pandas"] = "pandas",
    ) -> pd.DataFrame: ...

    @overload
    def read(
        self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None, *, as_: Literal["arrow"]
    ) -> ArrowTable: ...

    @overload
    def read(
        self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None, *, as_: Literal["polars"]
    ) -> pl.DataFrame: ...

    def read(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        as_: Form = "pandas",
    ) -> pd.DataFrame | ArrowTable | pl.DataFrame:
        """Read the stored observations of [start, end) at one moment, sorted by (timestamp, name).

        Args:
            start: The first moment: an aware datetime or a Unix second; None for no bound.
            end: The moment after the last: an aware datetime or a Unix second; None for no bound.
            names: Exact names of series; None for all.
            as_: Whose frame to return: ``"pandas"``, ``"arrow"`` (of pyarrow) or ``"polars"``.

        Returns:
            Columns ``timestamp``, ``name`` and ``value``. A pandas DataFrame has the types datetime64[s, UTC], str and
            float64; a pyarrow Table timestamp[s, UTC], string and double; a polars DataFrame Datetime("us", "UTC"),
            String and Float64, because polars has no unit of seconds, and microseconds are its default.

        Raises:
            ConfigurationError: A bound has no time zone, a name is not a string, or the library is not installed.
            DataSourceNotFoundError: The data source does not exist.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database failed.
        """
        ensure_available(as_)
        return cast("pd.DataFrame | ArrowTable | pl.DataFrame", formed(self.rows(start, end, names), as_))

    @overload
    def read_batches(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        rows: int = ROWS_PER_BATCH,
        as_: Literal["pandas"] = "pandas",
    ) -> Iterator[pd.DataFrame]: ...

    @overload
    def read_batches(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        rows: int = ROWS_PER_BATCH,
        as_: Literal["arrow"],
    ) -> Iterator[ArrowBatch]: ...

    @overload
    def read_batches(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        rows: int = ROWS_PER_BATCH,
        as_: Literal["polars"],
    ) -> Iterator[pl.DataFrame]: ...

    def read_batches(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        rows: int = ROWS_PER_BATCH,
        as_: Form = "pandas",
    ) -> Iterator[pd.DataFrame] | Iterator[ArrowBatch] | Iterator[pl.DataFrame]:
        """Read like ``read``, however much there is, in batches of a bounded size: one after the other, sorted as one.

        The rows are read piece by piece, each piece in a transaction of its own, and nothing is kept open between
        them: the caller may be slow, stop early, write to the same data source, close the connection, or go on after
        a fork. So the whole is not of one moment. Each row that is stored during the whole iteration comes exactly
        once, with a value that it had at some moment of it. A row that is inserted or deleted meanwhile comes or does
        not; what is inserted after the last second of the moment of this call does not. A piece holds at least
        250,000 rows, if there are as many, so what is written just ahead of the batches may not be seen.

        Args:
            start: The first moment: an aware datetime or a Unix second; None for no bound.
            end: The moment after the last: an aware datetime or a Unix second; None for no bound.
            names: Exact names of series; None for all.
            rows: How many observations each batch has; the last one may have fewer.
            as_: What the batches are: ``"pandas"`` for DataFrames, ``"arrow"`` for RecordBatches of pyarrow,
                ``"polars"`` for DataFrames of polars.

        Returns:
            An iterator of batches with the columns and types of ``read``. Without any observation there is no batch.

        Raises:
            ConfigurationError: A bound has no time zone, a name is not a string, ``rows`` is not a positive integer, or
                the library is not installed. These errors, and the next two, are raised by the call itself.
            DataSourceNotFoundError: The data source does not exist.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database failed, or was replaced by another one between two batches.
        """
        ensure_available(as_)
        batches = self.rows_in_batches(start, end, names, rows=rows)
        if as_ == "arrow":
            return (batch for piece in batches for batch in record_batches(piece))
        return (formed(batch, as_) for batch in batches)

    def rows(self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None) -> Rows:
        """Read like ``read``, as columns of NumPy. For the surfaces over the core."""
        target = readable(self._target)
        return target.rows(self.name, second_of("start", start), second_of("end", end), exact_names(names))

    def rows_in_batches(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        rows: int = ROWS_PER_BATCH,
    ) -> Iterator[Rows]:
        """Read like ``read_batches``, as columns of NumPy. For the surfaces over the core."""
        most, target, name = rows_per_batch(rows), readable(self._target), self.name
        bounds = second_of("start", start), second_of("end", end)
        reading = target.begin_reading(name, *bounds, exact_names(names), most)
        return in_batches(reading, lambda so_far: target.read_on(name, so_far))

    def plot(
        self,
        names: Iterable[str] | None = None,
        start: Moment = None,
        end: Moment = None,
        *,
        max_series: int = MOST_SERIES,
        gap: timedelta | str | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the stored observations of [start, end): one line per series, with times in UTC.

        Needs matplotlib, which ``pip install 'temporis-dagster[plots]'`` brings. However many observations there are,
        memory is bounded: they are read with ``read_batches``, and of more than 20,000 only those are drawn without
        which the lines would look different. Values of more than 1e100 are drawn at 1e100.

        Args:
            names: Exact names of series, in the order in which they are drawn; None for all, by name.
            start: The first moment: an aware datetime or a Unix second; None for the first observation.
            end: The moment after the last: an aware datetime or a Unix second; None for the last observation.
            max_series: The maximum number of lines. The plot says which series are left out.
            gap: The longest distance between neighbouring observations over which a line is drawn: a timedelta or text
                such as ``"1h"``. With None, the line of a series has a gap wherever the distance is more than one and a
                half times as long as nine in ten of its distances are at most.
            ax: Where to draw; None for a new figure.

        Returns:
            The Axes of matplotlib.

        Raises:
            ConfigurationError: matplotlib is not installed, a bound has no time zone, or another argument cannot be
                used.
            DataSourceNotFoundError: The data source does not exist.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database failed.

        Examples:
            >>> import tempfile, pandas as pd
            >>> from temporis_dagster import connect
            >>> hours = pd.date_range("2024-06-20", periods=24, freq="h", tz="UTC")
            >>> with connect(f"sqlite:///{tempfile.mkdtemp()}/temporis.db") as temporis:
            ...     source = temporis.create_data_source("store_metrics")
            ...     report = source.upsert(pd.DataFrame({"orders": range(24), "revenue": 9.5}, index=hours))
            ...     ax = source.plot(["orders"], start=hours[12])
            >>> [line.get_label() for line in ax.lines], len(ax.lines[0].get_xdata())
            (['orders'], 12)
            >>> ax.figure.savefig(f"{tempfile.mkdtemp()}/orders.png")
        """
        target = readable(self._target)
        (first, last), chosen = bounds_of(start, end), exact_names(names)
        most, gap_s = positive("max_series", max_series), gap_s_of(gap)
        ensure_matplotlib()
        latest = target.latest(self.name, chosen)
        ends = dict(zip(latest["name"], latest["timestamp"].astype("int64").tolist(), strict=True))
        if chosen is None:
            chosen = [name for name, moment in ends.items() if first is None or moment >= first]
        wanted = list(dict.fromkeys(chosen))
        shown = [name for name in wanted[:most] if name in ends]
        after = max((ends[name] + 1 for name in shown), default=0) if last is None else last
        kept = thinned(self.rows_in_batches(start, end, shown) if shown else (), shown, first, after)
        lines = [line for line in kept.lines(gap_s) if len(line.timestamps)] if kept else []
        drawn = {line.name for line in lines}
        remarks = remarks_on(wanted[most:], [name for name in wanted[:most] if name not in drawn])
        ax = ax or new_axes()
        draw(ax, lines, self.name, kept.span if kept else None, remarks)
        return ax

    def content_digest(self, start: Moment = None, end: Moment = None, names: Iterable[str] | None = None) -> str:
        """Make a text that is equal exactly when the content of [start, end) is equal, bit for bit, in any order.

        Takes the arguments of ``read`` and raises its errors.
        """
        target = readable(self._target)
        return target.content_digest(self.name, second_of("start", start), second_of("end", end), exact_names(names))

    def plan(
        self,
        data: Frame | FrameStream,
        *,
        start: Moment = None,
        end: Moment = None,
        within: Within | None = None,
        series: Sequence[Series] = (),
        **options: Unpack[ObservationArguments],
    ) -> Plan:
        """Say what ``upsert`` would do with a frame, compared with what is stored at one moment. Write nothing.

        What another process writes after that moment is not in the plan, so a later upsert may do something else.

        Args:
            data: As in ``upsert``. A stream is read completely, into temporary files.
            start: The first moment that the frame should cover: an aware datetime or a Unix second. A row of its series
                that is stored there, and that the frame does not have, is a *ghost*, which an upsert does not touch.
                With None for both bounds, a series is covered from its first to its last timestamp in the frame.
            end: The moment after the last that the frame should cover.
            within: Instead of the bounds, for code over the core: which stored rows the frame is about.
            series: As in ``upsert``.
            **options: The arguments of ``upsert`` that say how to read ``data``, from ``layout`` to ``decimals``.

        Returns:
            What is new, changed and unchanged, series by series, and the ghosts.

        Raises:
            InvalidObservationsError: Some rows cannot be observations.
            ConfigurationError: An argument cannot be used.
            DataSourceNotFoundError: The data source does not exist, and an upsert would not create it.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database of the store or mirror failed.
        """
        observations = self._upserting.observed(data, ObservationOptions(**options), series)
        if within is not None and not (start is None and end is None):
            raise ConfigurationError("start= and end= say what within= says as well. Pass one or the other.")
        return readable(self._target).plan(self.name, observations, within or window_of(start, end))

    def ghosts(self, observations: Observations, within: Within | None = None, *, stored: bool = False) -> Ghosts:
        """Count the stored rows that a frame is about and does not have. For the surfaces over the core.

        Args:
            observations: What the frame became.
            within: Which stored rows it is about, as in ``plan``.
            stored: Whether an upsert has just stored all of the observations: then only what is stored is counted, and
                no key is looked up.

        Raises:
            DataSourceNotFoundError: The data source does not exist.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database of the store or mirror failed.
        """
        return readable(self._target).ghosts(self.name, observations, within or Within(), stored=stored)

    def latest(self, names: Iterable[str] | None = None) -> pd.DataFrame:
        """Read the last stored observation of each series, such as to continue an extraction from there.

        Args:
            names: Exact names of series; None for all. A series without observations is left out.

        Returns:
            Columns ``name`` (str), ``timestamp`` (datetime64[s, UTC]) and ``value`` (float64), sorted by name.

        Raises:
            ConfigurationError: A name is not a string.
            DataSourceNotFoundError: The data source does not exist.
            ReadNotSupportedError: This connection cannot read observations back.
            StoreError: The database of the store or mirror failed.
        """
        return readable(self._target).latest(self.name, exact_names(names))

    def delete(
        self,
        start: Moment = None,
        end: Moment = None,
        names: Iterable[str] | None = None,
        *,
        everything: bool = False,
    ) -> int:
        """Delete the stored observations of [start, end). In a dry run, only count them.

        They are deleted in chunks of up to 50,000, each in a transaction of its own, so that other writers wait for one
        chunk at most. An interruption leaves the rest: delete again to finish. What is deleted cannot be brought back.

        Args:
            start: The first moment: an aware datetime or a Unix second; None for no bound.
            end: The moment after the last: an aware datetime or a Unix second; None for no bound.
            names: Exact names of series; None for all.
            everything: Must be True to delete all observations of the data source, and without any bound.

        Returns:
            How many observations were deleted; in a dry run, how many would be.

        Raises:
            ConfigurationError: There is neither a bound nor a name, or one of them cannot be used; or ``end`` is before
                ``start``.
            NotSupportedError: This connection cannot delete. The message says what to do instead.
            DataSourceNotFoundError: The data source does not exist.
            DataSourceArchivedError: The data source is archived. The message says how many were deleted before.
            StoreError: The database failed. The message says how many were deleted before.
        """
        (first, last), exact = bounds_of(start, end), exact_names(names)
        bounded = not (first is None and last is None and exact is None)
        if bool(everything) is bounded:
            raise ConfigurationError(
                "everything=True deletes all observations of the data source, so it takes no bounds and no names."
                " Leave it out to delete only some."
                if bounded
                else "Without a bound and without names, delete() would delete all observations of the data source."
                " Pass start=, end= or names=, or everything=True if that is what you want."
            )
        return deleting(self._target, self.name).delete(self.name, first, last, exact, dry_run=self._dry_run)

    def delete_ghosts(self, observations: Observations, within: Within) -> int:
        """Delete the stored rows that a frame is about and does not have. For the surfaces over the core.

        A frame without observations deletes nothing. Series of which a row was dropped whose timestamp could not be
        read are left alone, and if the name of a dropped row could not be read, all series are.

        Args:
            observations: What the frame became.
            within: Which stored rows it is about, as in ``plan``.

        Returns:
            How many observations were deleted; in a dry run, how many would be.

        Raises:
            NotSupportedError: This connection cannot delete. The message says what to do instead.
            DataSourceNotFoundError: The data source does not exist.
            DataSourceArchivedError: The data source is archived. The message says how many were deleted before.
            StoreError: The database failed. The message says how many were deleted before.
        """
        target = deleting(self._target, self.name)
        if not len(observations):
            return 0
        return target.delete_ghosts(self.name, observations, within, dry_run=self._dry_run)

    @property
    def can_delete(self) -> bool:
        """Whether observations can be deleted: from a store, but not over HTTP."""
        return is_manageable(self._target)

    def archive_state(self) -> ArchiveState:
        """Ask whether the data source takes observations. Over HTTP, this sends an empty ingest, also in a dry run.

        Raises:
            DataSourceNotFoundError: The data source does not exist.
            AuthenticationError: The service does not know the token.
            UnavailableError: The service could not be reached for too long.
            StoreError: The database failed.
        """
        return self._target.archive_state(self.name)

    def ensure_writable(self) -> None:
        """Return if the data source takes observations, or if that cannot be known; otherwise raise.

        Raises:
            DataSourceArchivedError: The data source is archived.
            DataSourceNotFoundError: The data source does not exist.
            StoreError: The database failed.
        """
        if self.archive_state() is ArchiveState.ARCHIVED:
            raise DataSourceArchivedError(
                f"Data source {self.name!r} at {self.url} is archived and takes no observations. Unarchive it first.",
                data_source=self.name,
                report=UpsertReport(self.name),
            )

    def archive(self) -> None:
        """Stop ingestion and keep the data. Does nothing in a dry run.

        No observation is stored after this has returned.

        Raises:
            NotSupportedError: This connection cannot archive data sources. The message names the place that can.
            DataSourceNotFoundError: The data source does not exist.
            StoreError: The database failed.
        """
        self._set_archived(archived=True)

    def unarchive(self) -> None:
        """Take observations again. Does nothing in a dry run. Raises what ``archive`` raises."""
        self._set_archived(archived=False)

    def _set_archived(self, *, archived: bool) -> None:
        command = "sources archive" if archived else "sources unarchive"
        target = manageable(self._target, "archive or unarchive a data source", f"{command} {self.name}")
        if not self._dry_run:
            target.set_archived(self.name, archived=archived)

    def flush(self, *, wait: bool = True, progress: bool | Progress | None = None) -> UpsertReport:
        """Deliver what is pending in the mirror, oldest first. Does nothing in a dry run.

        Args:
            wait: Whether to wait for observations that may not be sent yet, because another process is sending them or
                an older value may still arrive, until nothing is pending.
            progress: True shows a progress bar; a function is called with the number of observations delivered since
                the last call.

        Returns:
            How many observations were stored and rejected, and how many are still pending.

        Raises:
            NotSupportedError: The connection has no mirror.
            DeliveryError: As in ``upsert``. What is left stays pending.
            MirrorError: The mirror belongs to another target.
            StoreError: The mirror's database failed.
        """
        mirror = mirror_of(self._target)
        if self._dry_run:
            return UpsertReport(self.name, dry_run=True)
        with shown(progress, self.name, mirror.pending(self.name).rows) as settled:
            return mirror.flush(self.name, wait=wait, progress=settled)

    def pending(self) -> PendingInfo:
        """Look up what the mirror keeps because the service is not known to have it.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: The mirror belongs to another target.
            StoreError: The mirror's database failed.
        """
        return mirror_of(self._target).pending(self.name)

    def discard_pending(self) -> int:
        """Forget what is pending, so that it is never sent and ``read`` no longer shows it. Does nothing in a dry run.

        For observations that are no longer wanted, such as the backlog of a data source that stays archived. What
        another process is sending at this very moment is left alone and stays pending until that is over. What was
        sent without an answer is forgotten too, and may be stored nevertheless. The value that the service had before
        stays there; ``read`` does not show it.

        Returns:
            The number of observations that were forgotten.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: The mirror belongs to another target.
            StoreError: The mirror's database failed. What was discarded before that stays discarded.
        """
        mirror = mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_pending(self.name)

    def rejected_rows(self) -> pd.DataFrame:
        """Read the observations that the service rejected and the mirror keeps.

        Returns:
            Columns ``timestamp`` (datetime64[s, UTC]), ``name`` (str), ``value`` (float64), ``reason`` (the service's
            words) and ``rejected_at`` (datetime64[s, UTC]).

        Raises:
            NotSupportedError: The connection has no mirror.
            StoreError: The mirror's database failed.
        """
        return mirror_of(self._target).rejected_rows(self.name)

    def retry_rejected(self) -> int:
        """Make the rejected observations pending again, for the next flush. Does nothing in a dry run.

        Returns:
            The number of observations that became pending.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: The mirror belongs to another target.
            StoreError: The mirror's database failed.
        """
        mirror = mirror_of(self._target)
        return 0 if self._dry_run else mirror.retry_rejected(self.name)

    def discard_rejected(self) -> int:
        """Forget the rejected observations. Does nothing in a dry run.

        Returns:
            The number of observations that were forgotten.

        Raises:
            NotSupportedError: The connection has no mirror.
            MirrorError: The mirror belongs to another target.
            StoreError: The mirror's database failed.
        """
        mirror = mirror_of(self._target)
        return 0 if self._dry_run else mirror.discard_rejected(self.name)
