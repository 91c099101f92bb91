"""The error tree: everything this library raises on purpose.

::

    TemporisError
    ├── ConfigurationError            a URL, an argument or the name of a data source: before any I/O
    ├── InvalidObservationsError      .rows says which cells, and why: before anything is sent
    ├── DeliveryError                 .report says what happened to every observation
    │   ├── AuthenticationError       401
    │   ├── DataSourceNotFoundError   404, and SQL
    │   ├── DataSourceArchivedError   409, and SQL
    │   ├── RejectedObservationsError 400, 413, 422: some rows, after the others were stored
    │   └── UnavailableError          transient, given up
    ├── NotSupportedError             this target cannot do that
    │   └── ReadNotSupportedError     this target has no read-back
    ├── MirrorError                   the mirror cannot be used like this: another target's, or full; .report
    └── StoreError                    the database under an embedded data source or a mirror failed; .report

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
    """Base of every error this library raises on purpose.

    Attributes:
        retryable: Whether the same call may succeed later with nothing changed by a person.
    """

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, so that keyword-only arguments survive."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[TemporisError], args: tuple[Any, ...], state: dict[str, Any]) -> TemporisError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(TemporisError):
    """A URL, an argument or a name is wrong. Nothing was opened, read or written."""


class InvalidObservationsError(TemporisError):
    """The data cannot become observations. Nothing was sent.

    Attributes:
        rows: One line per offending cell, columns ``position``, ``label``, ``column``, ``value``, ``reason``.
            Empty where the frame's shape is at fault rather than its rows. Labels may repeat, positions do not.
        invalid: How many observations are invalid; 0 where the shape is at fault.
        observations_in: How many there are; 0 where the shape is at fault.
        conflicts: How many of the invalid ones are good by themselves, but a later row has the same timestamp and name
            and another value (``on_conflict="raise"``): all of them or none.
    """

    def __init__(
        self, message: str, *, rows: pd.DataFrame, invalid: int = 0, observations_in: int = 0, conflicts: int = 0
    ) -> None:
        super().__init__(message)
        self.rows = rows
        self.invalid = invalid
        self.observations_in = observations_in
        self.conflicts = conflicts


class DeliveryError(TemporisError):
    """An upsert did not store everything.

    Attributes:
        data_source: The name of the data source.
        report: What happened to every observation of the call. All zero where the call was not an upsert.
    """

    def __init__(self, message: str, *, data_source: str, report: UpsertReport) -> None:
        super().__init__(message)
        self.data_source = data_source
        self.report = report


class AuthenticationError(DeliveryError):
    """The service does not know the access token, or got none."""


class DataSourceNotFoundError(DeliveryError):
    """There is no data source of that name in this account."""


class DataSourceArchivedError(DeliveryError):
    """The data source is archived: it takes no observations until it is unarchived."""


class RejectedObservationsError(DeliveryError):
    """The service refused some observations, and stored the others: ``report.rejected_rows`` has its words."""


class UnavailableError(DeliveryError):
    """The service could not be reached, or kept failing in a way that passes.

    Attributes:
        attempts: How many attempts the last batch had.
        retry_after_s: How long the service asked to wait, if it did.
    """

    retryable = True

    def __init__(
        self, message: str, *, data_source: str, report: UpsertReport, attempts: int, retry_after_s: float | None
    ) -> None:
        super().__init__(message, data_source=data_source, report=report)
        self.attempts = attempts
        self.retry_after_s = retry_after_s


class NotSupportedError(TemporisError):
    """The target of this connection cannot do what was asked."""


class ReadNotSupportedError(NotSupportedError):
    """The target has no read-back: the Temporis API takes observations in and never gives them out."""


class MirrorError(TemporisError):
    """The mirror cannot be used like this. Nothing was written into it by this call.

    Attributes:
        url: The mirror, as a URL.
        report: What happened to every observation, where the call was an upsert; else None.
    """

    def __init__(self, message: str, *, url: str, report: UpsertReport | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.report = report


class StoreError(TemporisError):
    """The database under an embedded data source failed.

    Attributes:
        url: The store, as a URL without secrets.
        report: What happened to every observation, where the call was an upsert; else None.
        retryable: True where waiting may help (another process held the lock for too long).
    """

    def __init__(self, message: str, *, url: str, report: UpsertReport | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.url = url
        self.report = report
        self.retryable = retryable
