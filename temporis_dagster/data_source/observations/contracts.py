"""Contracts: which one holds for a series, and which observations break it.

Comes in: contracts; the names, values and times of observations. Goes out: the rows that break one, and why.
Never: combines contracts, or decides what happens to such rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from temporis_dagster.data_source.observations.faults import Fault
from temporis_dagster.data_source.observations.model import CACHED_ROWS, Codes, Floats, Int64s, Mask
from temporis_dagster.data_source.observations.series import Series
from temporis_dagster.errors import ConfigurationError

LARGEST = float(np.finfo(np.float64).max)
"""The bound of a series that has none: every finite value keeps to it, and neither infinity nor NaN does."""

BELOW = "the value is below the minimum of {!r}, which is {}"
ABOVE = "the value is above the maximum of {!r}, which is {}"
BROKEN = "the value is not a whole number, but {!r} holds only whole numbers"


class Contracts:
    """Contracts by the names of series.

    Args:
        series: The contracts.

    Raises:
        ConfigurationError: An item of the list is something else, or two of them are for one name, or for one prefix.

    Examples:
        >>> contracts = Contracts([Series(prefix="load_", minimum=0), Series("load_de", minimum=10)])
        >>> contracts.of("load_de"), contracts.of("load_fr"), contracts.of("orders")
        (Series('load_de', minimum=10), Series(prefix='load_', minimum=0), None)
    """

    def __init__(self, series: Iterable[Series]) -> None:
        self._exact: dict[str, Series] = {}
        self._families: dict[str, Series] = {}
        for contract in _listed(series):
            place = self._exact if contract.prefix is None else self._families
            key = str(contract.prefix or contract.name)
            if key in place:
                raise ConfigurationError(
                    f"There are two contracts for {key!r}: {place[key]!r} and {contract!r}. Leave one out, or put all"
                    " that they state into one."
                )
            place[key] = contract
        self._longest_first = sorted(self._families, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._exact or self._families)

    def of(self, name: str) -> Series | None:
        """Return the contract of a series: an exact one, else that of the family with the longest prefix."""
        if name in self._exact:
            return self._exact[name]
        return next((self._families[prefix] for prefix in self._longest_first if name.startswith(prefix)), None)

    def monotone(self, names: Sequence[str]) -> Mask:
        """Return which of these series must not fall."""
        contracts = map(self.of, names)
        return np.array([contract is not None and contract.monotone for contract in contracts], dtype=np.bool_)

    def rules(self, names: Sequence[str]) -> Rules | None:
        """Return what is required of the values of these series; None if nothing is."""
        contracts = [self.of(name) for name in names] if self else []
        if not any(one and (one.minimum is not None or one.maximum is not None or one.integer) for one in contracts):
            return None
        low = [-LARGEST if one is None or one.minimum is None else one.minimum for one in contracts]
        high = [LARGEST if one is None or one.maximum is None else one.maximum for one in contracts]
        whole = [one is not None and one.integer for one in contracts]
        bounds = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
        return Rules(names, *bounds, np.array(whole), any(one is not None and one.monotone for one in contracts))


@dataclass(frozen=True, eq=False)
class Rules:
    """What contracts require of the values of some series, as one entry per series.

    Attributes:
        names: The series.
        low: The lowest allowed value.
        high: The highest allowed value.
        whole: Whether the values are whole numbers.
        monotone: Whether one of the series must not fall.
    """

    names: Sequence[str]
    low: Floats
    high: Floats
    whole: Mask
    monotone: bool

    def of_rows(self, codes: Codes, round_rows: int = 0) -> RulesOfRows:
        """Return what is required of the values of a column.

        Args:
            codes: The series of each row; -1 for none that is known.
            round_rows: After how many rows the series begin again, to the end; 0 if that is not known.
        """
        return RulesOfRows(self, codes, round_rows)

    def of_column(self, series: int, rows: int) -> RulesOfRows:
        """Return what is required of a column of this many rows that holds one series."""
        one = slice(series, series + 1)
        only = Rules(self.names[one], self.low[one], self.high[one], self.whole[one], self.monotone)
        return RulesOfRows(only, np.broadcast_to(np.int16(0), rows), 1)


@dataclass(frozen=True, eq=False)
class Kept:
    """How the values of a column keep to their rules.

    Attributes:
        broken: The rows whose value does not. One that is infinite or NaN keeps to no rule.
        rising: Whether no value is lower than that of its series in the round before; False if that was not looked at.
    """

    broken: Int64s
    rising: bool


@dataclass(frozen=True, eq=False)
class RulesOfRows:
    """What contracts require of the values of a column.

    Attributes:
        rules: The rules, by series.
        codes: The series of each row; -1 for none that is known.
        round_rows: After how many rows the series begin again, to the end; 0 if that is not known.
    """

    rules: Rules
    codes: Codes
    round_rows: int

    def kept_by(self, floats: Floats) -> Kept:
        """Look at every value once, and at all that is required of it while it is in the processor's cache."""
        found, hopeful, step = list[Int64s](), True, self._block_rows()
        rising = self.rules.monotone and bool(self.round_rows)
        bounds, rounded = _Bounds.of(self.rules, self.codes[:0]), np.empty(min(step, len(floats)))
        for start in range(0, len(floats), step):
            block, codes = floats[start : start + step], self.codes[start : start + step]
            fractions = self._fractions(block, rounded)
            rising = rising and not _falls(floats, start, start + step, self.round_rows)
            # That values keep to the bounds of every series is faster to see than that they keep to their own.
            hopeful = hopeful and bool(block.min() >= self.rules.low.max() and block.max() <= self.rules.high.min())
            if hopeful and fractions is None:
                continue
            if not self._alike(codes, bounds.codes):
                bounds = _Bounds.of(self.rules, codes)
            kept = (block >= bounds.low[: len(block)]) & (block <= bounds.high[: len(block)])
            if fractions is not None:
                kept &= ~(fractions & self.rules.whole.take(codes, mode="clip"))
            if not kept.all():
                found.append(start + np.flatnonzero(~kept))
        return Kept(np.concatenate(found) if found else np.empty(0, dtype=np.int64), rising)

    def _fractions(self, floats: Floats, rounded: Floats) -> Mask | None:
        """Return which values are fractions; None if none is, or if every series may hold them."""
        if not self.rules.whole.any():
            return None
        fractions = np.rint(floats, out=rounded[: len(floats)]) != floats
        return fractions if fractions.any() else None

    def _alike(self, codes: Codes, before: Codes) -> bool:
        """Return whether a block has the series of the one before, each in its place."""
        if self.round_rows:
            return len(before) >= len(codes)
        return np.array_equal(codes, before)

    def _block_rows(self) -> int:
        """Return how many rows to look at at once: whole rounds, so that blocks often have the same series."""
        round_rows = self.round_rows or first_return(self.codes[:CACHED_ROWS])
        return max(CACHED_ROWS // max(round_rows, 1), 1) * max(round_rows, 1)

    def faults(self, rows: Int64s, floats: Floats) -> list[Fault]:
        """Return, for rows whose value does not keep to its rules, every rule that it breaks.

        Args:
            rows: The rows, with finite values. Those of no known series break none.
            floats: The values of all rows of the column.
        """
        rows = rows[self.codes[rows] >= 0]
        rules, values, codes = self.rules, floats[rows], self.codes[rows]
        kinds = (
            (values < rules.low[codes], lambda code: BELOW.format(rules.names[code], _said(rules.low, code))),
            (values > rules.high[codes], lambda code: ABOVE.format(rules.names[code], _said(rules.high, code))),
            (rules.whole[codes] & (np.rint(values) != values), lambda code: BROKEN.format(rules.names[code])),
        )
        return [
            Fault(rows[broken], list(map(reason, codes[broken].tolist()))) for broken, reason in kinds if broken.any()
        ]


@dataclass(frozen=True, eq=False)
class _Bounds:
    codes: Codes
    low: Floats
    high: Floats

    @classmethod
    def of(cls, rules: Rules, codes: Codes) -> _Bounds:
        series = codes.astype(np.intp)  # converted once for both
        return cls(codes, rules.low.take(series, mode="clip"), rules.high.take(series, mode="clip"))


def _falls(floats: Floats, start: int, stop: int, distance: int) -> bool:
    """Return whether a value among these rows is lower than the one that comes this distance earlier."""
    block = floats[max(start - distance, 0) : stop]
    return bool((block[distance:] < block[:-distance]).any())


def first_return(codes: Codes) -> int:
    """Return the second row of the first row's series; 0 if there is none."""
    for start in range(1, len(codes), CACHED_ROWS):
        again = codes[start : start + CACHED_ROWS] == codes[0]
        if again.any():
            return start + int(again.argmax())
    return 0


def _said(bounds: Floats, code: int) -> str:
    return repr(float(bounds[code])).removesuffix(".0")


def _listed(series: object) -> list[Series]:
    """Return the contracts as a list; refuse anything else."""
    listed: list[Any] = list(series) if isinstance(series, Iterable) and not isinstance(series, str) else [series]
    if wrong := [one for one in listed if not isinstance(one, Series)] or ([series] if listed == [series] else []):
        raise ConfigurationError(
            f"series must be a list of contracts, got {wrong[0]!r}. Pass [Series('orders', minimum=0)], for example."
        )
    return listed
