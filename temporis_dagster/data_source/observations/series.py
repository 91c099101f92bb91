"""Series: what a caller states about a series, or about a family of them: its contract.

Comes in: a name or a prefix, and what holds for the observations. Goes out: a checked contract, also as JSON and back.
Never: looks at observations (``contracts`` does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from datetime import timedelta
from decimal import Decimal
from numbers import Integral, Real

from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations.interval import Interval, interval_of
from temporis_dagster.errors import ConfigurationError

LONGEST_UNIT = 32


@dataclass(frozen=True)
class Series:
    """A series, or a family of series with one prefix, and what holds for its observations.

    ``minimum``, ``maximum``, ``integer`` and ``monotone`` are enforced before anything is sent. Rows that break one of
    the first three are invalid, so ``on_invalid`` decides about them; a monotone series that falls always raises an
    error. ``unit``, ``every`` and ``description`` are only shown; ``build_series_checks`` looks for gaps longer than
    ``every``.

    For a series with an exact contract and one of a family, the exact one holds; of two families, that of the longer
    prefix. Nothing is combined.

    Attributes:
        name: The exact name of the series. Either this or ``prefix`` must be given.
        prefix: How the names of the family begin.
        unit: The unit of the values, such as ``"MW"`` or ``"1"``: printable text of up to 32 characters.
        every: How far apart observations are: a timedelta, a pandas offset, or text such as ``"1h"`` or ``"B"``
            (business days). Kept as text.
        minimum: The lowest allowed value, inclusive.
        maximum: The highest allowed value, inclusive.
        integer: Whether every value is a whole number.
        monotone: Whether no value is lower than the one before it in time, within what is written at once.
        description: What the series is, for people.

    Raises:
        ConfigurationError: An argument cannot be used, or no value could ever be within the bounds.

    Examples:
        >>> Series("orders", unit="1", every="1h", minimum=0, integer=True)
        Series('orders', unit='1', every='1h', minimum=0, integer=True)
        >>> Series(prefix="load_", unit="MW", minimum=0)
        Series(prefix='load_', unit='MW', minimum=0)
    """

    name: str | None = None
    _: KW_ONLY
    prefix: str | None = None
    unit: str | None = None
    every: Interval | None = None
    minimum: float | None = None
    maximum: float | None = None
    integer: bool = False
    monotone: bool = False
    description: str | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.prefix is None):
            both = self.name is not None
            raise ConfigurationError(
                f"Series has {'both a name and a prefix' if both else 'neither a name nor a prefix'}. Pass"
                " Series('orders', ...) for one series, or Series(prefix='load_', ...) for all whose names begin so."
            )
        key = self.name if self.prefix is None else self.prefix
        if fault := series_name_fault(key):
            raise ConfigurationError(f"{self._place} cannot be used: {fault}. Pass an exact name, or a prefix.")
        for argument in ("integer", "monotone"):
            if not isinstance(getattr(self, argument), bool):
                raise self._refused(argument, "True or False")
        if self.description is not None and not isinstance(self.description, str):
            raise self._refused("description", "text")
        if self.unit is not None and not _is_unit(self.unit):
            raise self._refused("unit", f"printable text of up to {LONGEST_UNIT} characters with balanced parentheses")
        if self.every is not None:
            object.__setattr__(self, "every", self._every_as_text(self.every))
        for argument in ("minimum", "maximum"):
            object.__setattr__(self, argument, self._bound(argument))
        self._ensure_possible()

    def __repr__(self) -> str:
        arguments = [f"{argument}={value!r}" for argument, value in self.stated().items()]
        return f"Series({', '.join(arguments).removeprefix('name=')})"

    def stated(self) -> dict[str, object]:
        """Return what the contract states, by argument, without the defaults."""
        every = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {argument: value for argument, (value, default) in every.items() if value is not default}

    @property
    def _place(self) -> str:
        return f"Series({self.name!r})" if self.prefix is None else f"Series(prefix={self.prefix!r})"

    def _refused(self, argument: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"{self._place}: {argument} must be {wanted}, got {getattr(self, argument)!r}.")

    def _every_as_text(self, every: Interval) -> str:
        argument = f"{self._place}: every"
        interval = interval_of(every, argument)
        if isinstance(every, str):
            return every
        text = _in_units(interval) if isinstance(interval, timedelta) else str(interval.freqstr)
        if interval_of(text, argument) != interval:
            raise ConfigurationError(
                f"{argument}={every!r} cannot be written as text, which a contract is kept as. Pass it to"
                " build_series_checks as expected_interval instead."
            )
        return text

    def _bound(self, argument: str) -> float | None:
        bound: object = getattr(self, argument)
        if bound is None:
            return None
        number = isinstance(bound, Real | Decimal) and not isinstance(bound, bool)
        try:
            finite = number and math.isfinite(bound)  # type: ignore[arg-type]  # a number, by the line above
        except (OverflowError, ValueError):
            finite = False
        if not finite:
            raise self._refused(argument, "a finite number, or None for no bound")
        if isinstance(bound, Integral) and float(bound) != bound:
            raise self._refused(argument, "a number that float64 holds exactly")
        return int(bound) if isinstance(bound, Integral) else float(bound)  # type: ignore[arg-type]  # a number

    def _ensure_possible(self) -> None:
        if self.minimum is None or self.maximum is None:
            return
        if self.minimum > self.maximum:
            raise ConfigurationError(
                f"{self._place}: minimum={self.minimum!r} is greater than maximum={self.maximum!r}. Exchange them."
            )
        if self.integer and math.ceil(self.minimum) > math.floor(self.maximum):
            raise ConfigurationError(
                f"{self._place}: there is no whole number from minimum={self.minimum!r} to maximum={self.maximum!r}."
                " Widen the bounds, or leave integer out."
            )


def series_from(given: object) -> Series:
    """Return the contract that states this, from ``Series.stated`` or from a YAML file.

    Raises:
        ConfigurationError: It states something that no contract states, or a value that cannot be used.

    Examples:
        >>> series_from({"prefix": "load_", "unit": "MW"})
        Series(prefix='load_', unit='MW')
    """
    known = [field.name for field in fields(Series)]
    if not isinstance(given, Mapping) or (unknown := [key for key in given if key not in known]):
        what = f"{given!r}" if not isinstance(given, Mapping) else f"{unknown[0]!r} in {dict(given)!r}"
        raise ConfigurationError(f"A contract of a series states only {', '.join(known)}; got {what}.")
    return Series(**given)


def _is_unit(unit: object) -> bool:
    if not isinstance(unit, str) or not unit.strip() or len(unit) > LONGEST_UNIT or not unit.isprintable():
        return False
    depth = 0
    for character in unit:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _in_units(length: timedelta) -> str:
    """Write a length of time as text that pandas reads.

    >>> _in_units(timedelta(days=1)), _in_units(timedelta(seconds=90)), _in_units(timedelta(seconds=1.5))
    ('24h', '90s', '1.5s')
    """
    seconds = length.total_seconds()
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds % size == 0:
            return f"{int(seconds) // size}{unit}"
    return f"{seconds}s"
