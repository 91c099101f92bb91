"""How a database holds time: window bounds in the form of a column, and the column's values as moments.

Comes in: windows in Unix seconds, columns of results. Goes out: values to bind to ``:start`` and ``:end``, datetimes.
Never: binds bounds that could miss a row of the window. They may cover more, and then say so.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
from pydantic import ConfigDict, Field, model_validator

from temporis_dagster.data_source.observations import ObservationOptions
from temporis_dagster.errors import ConfigurationError

StoredAs: TypeAlias = Literal["timestamptz", "epoch", "naive", "text"]
Unit: TypeAlias = Literal["s", "ms", "us", "ns"]

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = timedelta(days=1)
ISO = "%Y-%m-%d %H:%M:%S"
LOSES_ZONES = ("sqlite", "mysql", "mariadb")
_SAMPLES = [
    datetime(1999, 12, 31, tzinfo=timezone.utc) + timedelta(days=days, hours=hours)
    for days in (0, 1, 2, 9, 10, 31, 60, 92, 130, 300, 366, 3700)
    for hours in (0, 9, 13)
]


@dataclass(frozen=True)
class Bounds:
    """What ``:start`` and ``:end`` are bound to.

    Attributes:
        start: The first value that may belong to the window.
        end: The first value that no longer may.
        exact: Whether every row between them belongs to the window.
    """

    start: datetime | int | str
    end: datetime | int | str
    exact: bool = True


class TimeColumn(dg.Resolvable, dg.Model):
    """The form in which the column that a query compares with ``:start`` and ``:end`` holds time.

    An aware datetime, compared with a column of text or of local time, misses rows without a word; so the form is
    declared, and the bounds are given in it. The query's column of timestamps has the same form, or is aware.

    Examples:
        >>> TimeColumn(stored_as="epoch", unit="ms").bounds(0, 3_600, dialect="sqlite")
        Bounds(start=0, end=3600000, exact=True)
        >>> TimeColumn(stored_as="naive", timezone="Asia/Tokyo").bounds(0, 3_600, dialect="sqlite")
        Bounds(start='1970-01-01 09:00:00', end='1970-01-01 10:00:00', exact=True)
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    stored_as: StoredAs = Field(
        description="'timestamptz': moments with a zone; 'epoch': a number since 1970; 'naive': a wall clock without a "
        "zone (SQLite: text like 2024-06-20 08:00:00); 'text': text in a format of its own."
    )
    timezone: str | None = Field(
        default=None,
        description="The zone of the wall clock of 'naive' and 'text'.",
        examples=["America/New_York"],
    )
    format: str | None = Field(
        default=None, description="'text': how it is written, in strftime's words.", examples=["%Y-%m-%dT%H:%M:%SZ"]
    )
    unit: Annotated[Unit, dg.Resolver.default(description="'epoch': what the numbers count.")] = "s"

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
        """What to bind for the window [start, end) of Unix seconds.

        A wall clock goes back once a year, so near such a change the bounds cover up to an hour more.

        Args:
            start_s: The first second of the window.
            end_s: The second after its last.
            dialect: SQLAlchemy's name of the database.

        Raises:
            ConfigurationError: This database has no moments with a zone.
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
            # SQLite holds text. Without a fraction it sorts before the same second with one, so it covers both.
            as_text = dialect == "sqlite"
            return Bounds(first.strftime(ISO), last.strftime(ISO), exact) if as_text else Bounds(first, last, exact)
        return _text_bounds(first, last, str(self.format), exact=exact)

    def read(self, column: pd.Series) -> pd.Series:
        """A column of a result as datetimes, naive in ``timezone`` or aware; whole Unix seconds stay numbers.

        Raises:
            ConfigurationError: It holds something else than was declared.
        """
        values = column.astype(object)
        known = values[values.notna()]
        if all(isinstance(value, datetime) for value in known):
            return self._datetimes(values, known)
        if self.stored_as == "epoch" and self.unit == "s":
            return column
        if self.stored_as == "epoch":
            return _parsed(values, known, what=f"a number of {self.unit}", unit=self.unit, utc=True)
        if self.stored_as == "timestamptz":
            raise ConfigurationError(f"{_shown(known)} is no timestamptz. Declare how the column is stored.")
        form = self.format or ("ISO8601" if _spaced(known) else ISO)
        return _parsed(values, known, what=f"text in the form {self.format or ISO}", format=form)

    def _datetimes(self, values: pd.Series, known: pd.Series) -> pd.Series:
        naive = [value for value in known if value.utcoffset() is None]
        if naive and self.stored_as in ("timestamptz", "epoch"):
            raise ConfigurationError(
                f"{naive[0]} has no zone, so the column cannot have been compared as {self.stored_as}. Declare "
                "stored_as: naive with its timezone, or give it a zone in the query."
            )
        return values if naive else pd.to_datetime(values, utc=True)


def _ensure_sorts(form: str) -> None:
    """Bounds on text find rows only where later moments are later text."""
    days = [moment.strftime(form) for moment in _SAMPLES if not moment.hour]
    every = [moment.strftime(form) for moment in _SAMPLES]
    if "%z" in form.lower() or sorted(set(days)) != days or sorted(every) != every:
        raise ValueError(
            f"Text in the form {form!r} does not sort as time does, so bounds on it would miss rows. It must go from "
            "the year down to the day or finer, in digits and a clock of 24 hours, without %z (write a fixed 'Z' as it "
            "is, with timezone: UTC). Otherwise compare and convert the column in the query."
        )


def _ensure_keeps_zones(dialect: str) -> None:
    if dialect in LOSES_ZONES:
        raise ConfigurationError(
            f"{dialect} has no timestamptz: it would drop the zone and miss rows. Declare stored_as: epoch, naive or "
            "text."
        )


def _wall(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[datetime, datetime, bool]:
    """The wall clock's readings that cover a window, and whether they cover nothing else.

    The clock may go back shortly after the start or before the end, never by more than a day: so the smaller offset
    counts for the start, and the larger for the end.
    """

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta()

    around = [offset(moment) for moment in (start, start + DAY, end - DAY, end)]
    first, last = (start.replace(tzinfo=None) + min(around[:2])), (end.replace(tzinfo=None) + max(around[2:]))
    return first, last, around[0] == around[1] and around[2] == around[3]


def _text_bounds(first: datetime, last: datetime, form: str, *, exact: bool) -> Bounds:
    """Bounds as text. Where the form is too coarse for the end, a day more, so that its own period is covered."""
    fits = all(datetime.strptime(moment.strftime(form), form) == moment for moment in (first, last))  # noqa: DTZ007
    return Bounds(first.strftime(form), (last if fits else last + DAY).strftime(form), exact and fits)


def _spaced(known: pd.Series) -> bool:
    return all(isinstance(value, str) and value[10:11] in ("", " ") for value in known)


def _parsed(values: pd.Series, known: pd.Series, *, what: str, **how: Any) -> pd.Series:
    try:
        return pd.to_datetime(values, **how)
    except Exception as error:  # noqa: BLE001  # pandas raises what its parsers do
        raise ConfigurationError(f"{_shown(known)} and what is beside it are not all {what}. {error}") from None


def _shown(known: pd.Series) -> str:
    return repr(known.iloc[0]) if len(known) else "The column"
