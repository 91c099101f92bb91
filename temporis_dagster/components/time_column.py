"""How a database column holds time: window bounds in the column's form, and its values as moments.

Comes in: windows in Unix seconds, columns of results. Goes out: values to bind to ``:start`` and ``:end``, datetimes,
and what is wrong with a column that is not as declared.
Never: binds bounds that could miss a row of the window. They may cover more than the window, and are then marked so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
from pydantic import ConfigDict, Field, model_validator

from temporis_dagster.components.resolvers import described
from temporis_dagster.components.value_forms import PER_SECOND, fits_epoch, fits_format, form_of, misfits, shown
from temporis_dagster.data_source.observations import ObservationOptions
from temporis_dagster.data_source.observations.aware_datetimes import impossible
from temporis_dagster.data_source.observations.calendar_numbers import calendar_numbers
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import counted

StoredAs: TypeAlias = Literal["timestamptz", "epoch", "naive", "text"]
Unit: TypeAlias = Literal["s", "ms", "us", "ns"]

DAY = timedelta(days=1)
ISO = "%Y-%m-%d %H:%M:%S"
FRACTION = re.compile(r"[.,]?%f")
SQLITE_NAIVE = re.compile(r"\d{4}-\d\d-\d\d($| \d\d:\d\d)")
LOSES_ZONES = ("sqlite", "mysql", "mariadb")
_SAMPLES = [
    datetime(1999, 12, 31, tzinfo=timezone.utc) + timedelta(days=days, hours=hours)
    for days in (0, 1, 2, 9, 10, 31, 60, 92, 130, 300, 366, 3700)
    for hours in (0, 9, 13)
]


@dataclass(frozen=True)
class Bounds:
    """The values of ``:start`` and ``:end``.

    Attributes:
        start: The first value that may belong to the window.
        end: The first value after it that may not.
        exact: Whether every row between them belongs to the window.
    """

    start: datetime | int | str
    end: datetime | int | str
    exact: bool = True


@dataclass(frozen=True)
class Misfit:
    """A column that is not what it was declared to be.

    Attributes:
        words: What it holds, what was declared, and how to declare it.
        certain: Whether none of the sampled values can be of the declared form.
    """

    words: str
    certain: bool


class TimeColumn(dg.Resolvable, dg.Model):
    """The form in which the column that a query compares with `:start` and `:end` holds time.

    A datetime with a zone, compared with a column of text or of local time, silently misses rows. So the form has to be
    declared, and the bounds are passed in it. The query's timestamp column must have the same form, or be a datetime
    with a zone.

    Examples:
        >>> TimeColumn(stored_as="epoch", unit="ms").bounds(0, 3_600, dialect="sqlite")
        Bounds(start=0, end=3600000, exact=True)
        >>> TimeColumn(stored_as="naive", timezone="Asia/Tokyo").bounds(0, 3_600, dialect="sqlite")
        Bounds(start='1970-01-01 09:00', end='1970-01-01 10:00', exact=True)
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    stored_as: StoredAs = Field(
        description="'timestamptz': moments with a zone. 'epoch': numbers since 1970. 'naive': a wall clock without a "
        "zone (SQLite: text like 2024-06-20 08:00:00). 'text': text in a 'format' of its own.",
        examples=["timestamptz"],
    )
    timezone: Annotated[
        str | None,
        described("Time zone of the wall clock of 'naive' and 'text'.", examples=["America/New_York"]),
    ] = None
    format: Annotated[
        str | None,
        described("How 'text' is written, in the codes of strftime.", examples=["%Y-%m-%dT%H:%M:%SZ"]),
    ] = None
    unit: Annotated[Unit, described("What the numbers of 'epoch' count: 's', 'ms', 'us' or 'ns'.")] = "s"

    @model_validator(mode="after")
    def _complete(self) -> "TimeColumn":
        local, text = self.stored_as in ("naive", "text"), self.stored_as == "text"
        if local != (self.timezone is not None):
            raise ValueError(
                f"stored_as: {self.stored_as} {'needs' if local else 'takes no'} timezone"
                f"{', the zone of its wall clock, such as America/New_York or UTC' if local else '; leave it out'}."
            )
        if text != (self.format is not None):
            raise ValueError(
                f"stored_as: {self.stored_as} {'needs' if text else 'takes no'} format"
                f"{', such as %Y-%m-%d %H:%M:%S' if text else '; leave it out'}."
            )
        ObservationOptions(timezone=self.timezone)
        if self.format is not None:
            _ensure_sorts(self.format)
        if self.unit != "s" and self.stored_as != "epoch":
            raise ValueError(f"stored_as: {self.stored_as} takes no unit; leave it out.")
        return self

    def bounds(self, start_s: int, end_s: int, *, dialect: str) -> Bounds:
        """Return the values to bind for the window [start, end) of Unix seconds.

        A wall clock goes back once a year; near such a change, the bounds cover up to an hour more.

        Args:
            start_s: The first second of the window.
            end_s: The second after its last one.
            dialect: SQLAlchemy's name of the database.

        Raises:
            ConfigurationError: The column is declared as timestamptz, but the database has no such type.
        """
        if self.stored_as == "epoch":
            per_second = PER_SECOND[self.unit]
            return Bounds(start_s * per_second, end_s * per_second)
        start, end = (datetime.fromtimestamp(second, timezone.utc) for second in (start_s, end_s))
        if self.stored_as == "timestamptz":
            _ensure_keeps_zones(dialect)
            return Bounds(start, end)
        first, last, exact = _wall(start, end, ZoneInfo(str(self.timezone)))
        if self.stored_as == "naive":
            if dialect != "sqlite":
                return Bounds(first, last, exact)
            return Bounds(_shortest(first), _shortest(last), exact)
        return _text_bounds(first, last, str(self.format), exact=exact)

    def read(self, column: pd.Series) -> pd.Series:
        """Return a column of a result as datetimes, naive in ``timezone`` or aware; whole Unix seconds stay numbers.

        Raises:
            ConfigurationError: The column is not as declared.
        """
        values = column.astype(object)
        known = values[values.notna()]
        if all(isinstance(value, datetime) for value in known):
            return self._datetimes(values, known)
        if self.stored_as == "epoch":
            return self._epoch(column, values, known)
        if self.stored_as == "timestamptz":
            raise _not(known.iloc[0], "a moment with a zone")
        if self.format is None and (odd := [value for value in known if isinstance(value, str) and not _spaced(value)]):
            raise _not(odd[0], f"text in the form {ISO}")
        form = self.format or ("ISO8601" if all(isinstance(value, str) for value in known) else ISO)
        return _parsed(values, known, what=f"text in the form {self.format or ISO}", format=form)

    def misfit(self, sample: Sequence[object], *, dialect: str) -> Misfit | None:
        """Return what is wrong with a column that has these values; None if nothing seems to be.

        Args:
            sample: Some of the column's values.
            dialect: SQLAlchemy's name of the database.

        Examples:
            >>> TimeColumn(stored_as="epoch").misfit([1_718_870_400_000], dialect="sqlite").certain
            True
        """
        wrong, certain = misfits(sample, lambda value: self._fits(value, dialect))
        if not wrong:
            return None
        form = form_of(wrong[0], dialect)
        share = "" if certain else f" in {len(wrong):,} of {counted(len(sample), 'row')}"
        return Misfit(
            f"it holds {shown(wrong[0])}{share}, {form.words}, but is declared with {self}. {form.advice[:1].upper()}"
            f"{form.advice[1:]}.",
            certain,
        )

    def _fits(self, value: object, dialect: str) -> bool:
        """Tell whether comparing bounds of the declared form with a value misses no row."""
        if self.stored_as == "epoch":
            return fits_epoch(value, self.unit, dialect)
        if self.stored_as == "text":
            return fits_format(value, str(self.format))
        kind = form_of(value, dialect).kind
        if self.stored_as == "timestamptz":
            return kind == "timestamptz"
        if dialect == "sqlite":
            return isinstance(value, str) and SQLITE_NAIVE.match(value) is not None
        return kind in ("naive", "date")

    def __str__(self) -> str:
        more = {"unit": self.unit if self.stored_as == "epoch" else None, "format": self.format}
        return ", ".join([f"stored_as: {self.stored_as}", *(f"{key}: {value}" for key, value in more.items() if value)])

    def _epoch(self, column: pd.Series, values: pd.Series, known: pd.Series) -> pd.Series:
        """Return numbers as moments. Some drivers return ``extract(epoch from ...)`` as a Decimal."""
        if self.unit == "s" and (
            not all(isinstance(value, int | Decimal) for value in known) or calendar_numbers(values) is not None
        ):
            return column  # the check of the frame refuses numbers that read as dates
        decimals = [value for value in known if isinstance(value, Decimal)]
        if all(value == value // 1 for value in decimals):
            whole, unit = values.map(lambda value: int(value) if isinstance(value, Decimal) else value), self.unit
        else:
            per_unit = PER_SECOND["ns"] // PER_SECOND[self.unit]
            whole, unit = values.map(lambda value: int(value * per_unit), na_action="ignore"), "ns"
        return _parsed(whole, known, what=f"a number of {self.unit}", unit=unit, utc=True)

    def _datetimes(self, values: pd.Series, known: pd.Series) -> pd.Series:
        naive = [value for value in known if value.utcoffset() is None]
        if naive and self.stored_as in ("timestamptz", "epoch"):
            raise ConfigurationError(
                f"{naive[0]} has no zone, so the query cannot have compared its column as {self.stored_as}. Declare "
                "stored_as: naive with its timezone, or add a zone in the query."
            )
        as_they_are = naive or any(impossible(value) for value in known)
        return values if as_they_are else pd.to_datetime(values, utc=True)


def _ensure_sorts(form: str) -> None:
    """Refuse formats in which later moments are not later text: bounds on such text would miss rows."""
    days = [moment.strftime(form) for moment in _SAMPLES if not moment.hour]
    every = [moment.strftime(form) for moment in _SAMPLES]
    if "%z" in form.lower() or sorted(set(days)) != days or sorted(every) != every:
        raise ValueError(
            f"Text in the form {form!r} does not sort as time does, so bounds on it would miss rows. It must go from "
            "the year down to the day or finer, in digits and on a 24-hour clock, without %z (write a fixed 'Z' "
            "literally, with timezone: UTC). Otherwise compare and convert the column in the query."
        )


def _ensure_keeps_zones(dialect: str) -> None:
    if dialect in LOSES_ZONES:
        raise ConfigurationError(
            f"{dialect} has no timestamptz: it would drop the zone and miss rows. Declare the column as stored_as: "
            "epoch, naive or text."
        )


def _wall(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[datetime, datetime, bool]:
    """Return the wall clock readings that cover a window, and whether they cover nothing else.

    The clock may go back shortly after the start or before the end, but never by more than a day. So the smaller offset
    applies to the start, and the larger one to the end.
    """

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta()

    around = [offset(moment) for moment in (start, start + DAY, end - DAY, end)]
    first, last = (start.replace(tzinfo=None) + min(around[:2])), (end.replace(tzinfo=None) + max(around[2:]))
    return first, last, around[0] == around[1] and around[2] == around[3]


def _text_bounds(first: datetime, last: datetime, form: str, *, exact: bool) -> Bounds:
    """Return bounds as text. If the form is too coarse for the end, add a day, so that the end's period is covered."""
    form = FRACTION.split(form)[0]  # bounds are whole seconds, which sort before the same second with a fraction
    fits = all(datetime.strptime(moment.strftime(form), form) == moment for moment in (first, last))  # noqa: DTZ007
    return Bounds(first.strftime(form), (last if fits else last + DAY).strftime(form), exact and fits)


def _shortest(moment: datetime) -> str:
    """Return the shortest text of a moment: it sorts before the same moment with a clock, seconds or a fraction."""
    return moment.strftime(ISO if moment.second else "%Y-%m-%d %H:%M" if moment.hour or moment.minute else "%Y-%m-%d")


def _spaced(text: str) -> bool:
    return text[10:11] in ("", " ")


def _parsed(values: pd.Series, known: pd.Series, *, what: str, **how: Any) -> pd.Series:
    try:
        return pd.to_datetime(values, **how)
    except Exception:  # noqa: BLE001  # pandas raises whatever its parsers raise
        wrong = next((value for value in known if not _reads(value, how)), known.iloc[0])
        raise _not(wrong, what) from None


def _not(value: object, what: str) -> ConfigurationError:
    advice = form_of(value, "").advice
    return ConfigurationError(
        f"The timestamp column holds {shown(value)}, which is not {what}. {advice[:1].upper()}{advice[1:]}."
    )


def _reads(value: object, how: dict[str, Any]) -> bool:
    try:
        pd.to_datetime(pd.Series([value], dtype=object), **how)
    except Exception:  # noqa: BLE001  # as above
        return False
    return True
