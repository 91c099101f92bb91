"""The error tree: everything that this library raises on purpose.

::

    TemporisError
    ├── ConfigurationError            a URL, an argument or the name of a data source: before any I/O
    ├── InvalidObservationsError      .rows lists the cells and why: before anything is sent
    ├── DeliveryError                 .report counts what happened to every observation
    │   ├── AuthenticationError       401
    │   ├── DataSourceNotFoundError   404, and SQL
    │   ├── DataSourceArchivedError   409, and SQL
    │   ├── RejectedObservationsError 400, 413, 422: some observations, after the others were stored
    │   └── UnavailableError          a transient failure that lasted too long
    ├── StreamError                   the source of a stream failed, or the temporary file of a spool; .report
    ├── NotSupportedError             this connection cannot do that
    │   └── ReadNotSupportedError     this connection cannot read observations back
    ├── MirrorError                   the mirror belongs to another target, or is full; .report
    └── StoreError                    the database of a store or a mirror failed; .report

Comes in: the parts of an error, by keyword. Goes out: an exception that keeps them as attributes, survives
pickling (Dagster moves errors between processes) and ends its message with what to do.
Never: does I/O, formats a table, or derives from a Dagster class (those bypass retry policies).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from temporis_dagster.data_source.report import UpsertReport


class TemporisError(Exception):
    """Base of every error that this library raises on purpose.

    Attributes:
        retryable: Whether the same call may succeed later without any change.
    """

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, so that keyword-only arguments survive."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def _repr_html_(self) -> str:
        """Show a notebook the message, the first rows that the error lists, and its report."""
        from temporis_dagster import markup

        rows, report = getattr(self, "rows", None), getattr(self, "report", None)
        shown = markup.paragraph(type(self).__name__, str(self))
        if rows is not None and len(rows):
            shown += markup.first_rows(rows, ".rows")
        if report is not None and report.observations_in:
            shown += report._repr_html_()
        return shown


def _rebuild(cls: type[TemporisError], args: tuple[Any, ...], state: dict[str, Any]) -> TemporisError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(TemporisError):
    """A URL, an argument or a name cannot be used. Nothing was opened, read or written."""


class InvalidObservationsError(TemporisError):
    """The data cannot become observations. Nothing was sent, except what came before in a stream.

    Attributes:
        rows: One row per invalid cell, columns ``position``, ``label``, ``column``, ``value``, ``reason``.
            Empty if the frame's shape is invalid rather than its rows. Labels may repeat, positions do not.
        invalid: The number of invalid observations; 0 if the shape is invalid.
        observations_in: The number of observations in the frame; 0 if the shape is invalid.
        conflicts: How many of the invalid observations are valid by themselves, but are followed by a row with the
            same timestamp and name and another value (``on_conflict="raise"``): all of them or none.
        report: For a stream that was upserted slice by slice, what happened to the slices before, which were sent; else
            None. The other attributes are about the slice that was refused.
    """

    def __init__(
        self,
        message: str,
        *,
        rows: pd.DataFrame,
        invalid: int = 0,
        observations_in: int = 0,
        conflicts: int = 0,
        report: UpsertReport | None = None,
    ) -> None:
        super().__init__(message)
        self.rows = rows
        self.invalid = invalid
        self.observations_in = observations_in
        self.conflicts = conflicts
        self.report = report


class DeliveryError(TemporisError):
    """An upsert did not store everything.

    Attributes:
        data_source: The name of the data source.
        report: What happened to every observation of the call. All counts are 0 if the call was not an upsert.
    """

    def __init__(self, message: str, *, data_source: str, report: UpsertReport) -> None:
        super().__init__(message)
        self.data_source = data_source
        self.report = report


class AuthenticationError(DeliveryError):
    """The service does not know the access token, or did not get one."""


class DataSourceNotFoundError(DeliveryError):
    """There is no data source of this name in the account."""


class DataSourceArchivedError(DeliveryError):
    """The data source is archived and takes no observations until it is unarchived."""


class RejectedObservationsError(DeliveryError):
    """The service rejected some observations and stored the others: ``report.rejected_rows`` quotes its reasons."""


class UnavailableError(DeliveryError):
    """The service or the database could not be reached, or kept failing in a way that is usually temporary.

    Attributes:
        attempts: The number of attempts to send the last request body, or to connect to the database.
        retry_after_s: How many seconds the service asked to wait; None if it did not ask.
    """

    retryable = True

    def __init__(
        self, message: str, *, data_source: str, report: UpsertReport, attempts: int, retry_after_s: float | None
    ) -> None:
        super().__init__(message, data_source=data_source, report=report)
        self.attempts = attempts
        self.retry_after_s = retry_after_s


class StreamError(TemporisError):
    """A stream could not be read completely.

    Its source raised an error, which is the ``__cause__``, or the temporary file in which it was spooled could not be
    written. Either may pass. For another attempt, the stream must be made anew.

    Attributes:
        report: What happened to the slices before, which were sent, if the call was an upsert or a check; else None,
            also with ``spool=True``: nothing was sent.
    """

    retryable = True

    def __init__(self, message: str, *, report: UpsertReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class NotSupportedError(TemporisError):
    """This connection cannot do what was asked."""


class ReadNotSupportedError(NotSupportedError):
    """This connection cannot read observations back: the Temporis API takes observations in and never returns them."""


class MirrorError(TemporisError):
    """The mirror belongs to another target, or is full. This call wrote nothing into it.

    Attributes:
        url: The URL of the mirror.
        report: What happened to every observation, if the call was an upsert; else None.
    """

    def __init__(self, message: str, *, url: str, report: UpsertReport | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.report = report


class StoreError(TemporisError):
    """The database of a store or a mirror failed.

    Attributes:
        url: The URL of the database, without secrets.
        report: What happened to every observation, if the call was an upsert; else None.
        retryable: Whether waiting may help, because another process held the lock for too long.
    """

    def __init__(self, message: str, *, url: str, report: UpsertReport | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.url = url
        self.report = report
        self.retryable = retryable
