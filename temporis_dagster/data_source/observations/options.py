"""Options: how to read a frame. The keyword arguments of ``upsert`` and ``check`` as one checked value.

Comes in: the caller's arguments. Goes out: frozen options, or a ConfigurationError.
Never: looks at data.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias, TypedDict, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from temporis_dagster.data_source.observations.advice import PYTHON
from temporis_dagster.data_source.observations.future import AllowFuture, allowed_future
from temporis_dagster.errors import ConfigurationError

Layout: TypeAlias = Literal["auto", "long", "wide"]
SubSecond: TypeAlias = Literal["raise", "floor"]
OnInvalid: TypeAlias = Literal["raise", "drop"]
OnConflict: TypeAlias = Literal["last", "raise"]
Decimals: TypeAlias = Literal["nearest", "exact"]
Ambiguous: TypeAlias = "bool | Literal['raise', 'infer', 'NaT']"
Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
Nonexistent: TypeAlias = "timedelta | Literal['raise', 'shift_forward', 'shift_backward', 'NaT']"


class ObservationArguments(TypedDict, total=False):
    """The fields of ``ObservationOptions`` as keyword arguments."""

    layout: Layout
    timestamp: Hashable
    name: Hashable
    value: Hashable
    timezone: str | None
    ambiguous: Ambiguous
    nonexistent: Nonexistent
    sub_second: SubSecond
    on_invalid: OnInvalid
    unit: Unit | None
    allow_future: AllowFuture
    on_conflict: OnConflict
    decimals: Decimals


@dataclass(frozen=True)
class ObservationOptions:
    """How to read a frame. Every field has the default of ``upsert``.

    Attributes:
        layout: ``"long"``: a row is an observation. ``"wide"``: a column is a series. ``"auto"``: by the columns.
        timestamp: The column of timestamps; a frame without it may have a DatetimeIndex instead. None takes the index.
        name: The column of series names (long).
        value: The column of values (long).
        timezone: The time zone of naive timestamps and dates, by name, such as ``"Europe/Berlin"``.
        ambiguous: How to read a local time that occurs twice, as in pandas, but one value for all rows, not an array.
            ``"infer"`` infers it from rows that go forward, or backward, in time, series by series.
        nonexistent: How to read a local time that the clock skipped, as in pandas.
        sub_second: ``"floor"`` cuts off fractions of a second; ``"raise"`` refuses them.
        on_invalid: ``"drop"`` leaves invalid rows out and reports them; ``"raise"`` sends nothing.
        unit: The unit of numbers, counted since 1970. None reads them as seconds, unless all of them read as calendar
            dates.
        allow_future: How far ahead of the clock a timestamp may lie: a timedelta, text such as ``"730 days"``, True for
            any distance, None for a year.
        on_conflict: For rows with the same (timestamp, name) and different values, ``"last"`` keeps the last, counts
            the others and warns; ``"raise"`` sends nothing.
        decimals: For a decimal number that float64 does not hold exactly, ``"nearest"`` takes the nearest float;
            ``"exact"`` refuses it.

    Raises:
        ConfigurationError: A field has a value that it does not take, or the time zone is unknown.
    """

    layout: Layout = "auto"
    timestamp: Hashable = "timestamp"
    name: Hashable = "name"
    value: Hashable = "value"
    timezone: str | None = None
    ambiguous: Ambiguous = "raise"
    nonexistent: Nonexistent = "raise"
    sub_second: SubSecond = "raise"
    on_invalid: OnInvalid = "raise"
    unit: Unit | None = None
    allow_future: AllowFuture = None
    on_conflict: OnConflict = "last"
    decimals: Decimals = "nearest"

    # Wording of advice, not fields. A surface other than Python, such as the command line, overrides it in a subclass.
    LIST_OF_INVALID = "The error's .rows lists them all."
    LIST_OF_REJECTED = "The error's .report.rejected_rows lists them all."
    LIST_OF_SUPERSEDED = "The report's .superseded_rows lists them all."
    TEXT_AS_TIMESTAMP = (
        "for text with pd.to_datetime(...), and with utc=True only where the text is UTC or has an offset"
    )

    ADVICE = PYTHON
    MAY_MERGE = True
    """Whether rows of different things may become one series, with a warning, without an explicit ``on_conflict``."""

    def spelled(self, argument: str, value: object = ...) -> str:
        """Return an argument as advice spells it.

        >>> ObservationOptions().spelled("on_invalid", "drop")
        "on_invalid='drop'"
        """
        return f"{argument}={'' if value is ... else repr(value)}"

    def text_as_timestamp(self) -> str:
        """Return what advice says of texts that cannot be read as timestamps, after "convert it, "."""
        return self.TEXT_AS_TIMESTAMP

    def told_apart(self, column: Hashable) -> str:
        """Return what advice says of an unused column that tells conflicting rows apart."""
        return self.ADVICE.told_apart.format(column=column)

    def untold(self) -> str:
        """Return what advice says of conflicting rows that no such column tells apart, as a sentence or nothing."""
        return self.ADVICE.untold

    @property
    def allowed_future(self) -> timedelta | None:
        """How far ahead of the clock a timestamp may lie; None for any distance."""
        return allowed_future(self.allow_future, self.spelled("allow_future", self.allow_future))

    def __post_init__(self) -> None:
        _one_of("layout", self.layout, get_args(Layout))
        _one_of("sub_second", self.sub_second, get_args(SubSecond))
        _one_of("on_invalid", self.on_invalid, get_args(OnInvalid))
        if self.unit is not None:
            _one_of("unit", self.unit, get_args(Unit))
        _ = self.allowed_future
        _one_of("on_conflict", self.on_conflict, get_args(OnConflict))
        _one_of("decimals", self.decimals, get_args(Decimals))
        for argument in ("timestamp", "name", "value"):
            if not isinstance(getattr(self, argument), Hashable):
                raise ConfigurationError(
                    f"{argument} must be the label of one column, got {getattr(self, argument)!r}."
                )
        if not isinstance(self.ambiguous, bool):
            _one_of("ambiguous", self.ambiguous, ("raise", "infer", "NaT", True, False))
        if isinstance(self.nonexistent, timedelta):
            _ensure_within_a_day(self.nonexistent)
        else:
            _one_of("nonexistent", self.nonexistent, ("raise", "shift_forward", "shift_backward", "NaT", "a timedelta"))
        if self.timezone is not None:
            _ensure_zone(self.timezone, self.spelled("timezone", self.timezone))


def _one_of(argument: str, given: object, allowed: tuple[object, ...]) -> None:
    if not isinstance(given, str) or given not in allowed or given == "a timedelta":
        raise ConfigurationError(f"{argument} must be one of {', '.join(map(repr, allowed))}, got {given!r}.")


def _ensure_within_a_day(shift: timedelta) -> None:
    if not timedelta(days=-1) <= shift <= timedelta(days=1):
        raise ConfigurationError(
            f"nonexistent must be at most a day in either direction, got {shift!r}. Pass how far to move times out of"
            " the gap."
        )


def _ensure_zone(name: str, spelled: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"{spelled} is not a known time zone. Use a name from the IANA database, such as 'UTC' or 'Europe/Berlin'."
        ) from error
