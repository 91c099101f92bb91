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
from temporis_dagster.data_source.observations.model import Codes, Floats, Int64s, Mask
from temporis_dagster.data_source.observations.series import Series
from temporis_dagster.errors import ConfigurationError

CACHED_ROWS = 32_768
"""Values are looked at in blocks of at most this many rows, which fit into a processor's cache."""

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
        low = [-np.inf if one is None or one.minimum is None else one.minimum for one in contracts]
        high = [np.inf if one is None or one.maximum is None else one.maximum for one in contracts]
        whole = [one is not None and one.integer for one in contracts]
        return Rules(names, np.array(low, dtype=np.float64), np.array(high, dtype=np.float64), np.array(whole))


@dataclass(frozen=True, eq=False)
class _RulesOfRows:
    codes: Codes
    low: Floats
    high: Floats
    whole: Mask


@dataclass(frozen=True, eq=False)
class Rules:
    """What contracts require of the values of some series, as one entry per series.

    Attributes:
        names: The series.
        low: The lowest allowed value.
        high: The highest allowed value.
        whole: Whether the values are whole numbers.
    """

    names: Sequence[str]
    low: Floats
    high: Floats
    whole: Mask

    def broken_by(self, floats: Floats, codes: Codes) -> Int64s:
        """Return the rows whose value breaks a rule.

        Args:
            floats: The values.
            codes: The series of each; -1 for none that is known.
        """
        found, of_block, hopeful, step = list[Int64s](), self._of_each(codes[:0]), True, _block_rows(codes)
        for start in range(0, len(floats), step):
            block, block_codes = floats[start : start + step], codes[start : start + step]
            # That values keep to the rules of every series is faster to see than that they keep to their own.
            if hopeful := hopeful and self._all_kept_by(block):
                continue
            if not np.array_equal(block_codes, of_block.codes):
                of_block = self._of_each(block_codes)
            broken = (block < of_block.low) | (block > of_block.high)
            if self.whole.any() and (fractions := np.rint(block) != block).any():
                broken |= fractions & of_block.whole
            if broken.any():
                found.append(start + np.flatnonzero(broken))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _all_kept_by(self, floats: Floats) -> bool:
        within = floats.min() >= self.low.max() and floats.max() <= self.high.min()  # not if one of them is NaN
        return bool(within and not (self.whole.any() and (np.rint(floats) != floats).any()))

    def _of_each(self, codes: Codes) -> _RulesOfRows:
        low, high = self.low.take(codes, mode="clip"), self.high.take(codes, mode="clip")
        return _RulesOfRows(codes, low, high, self.whole.take(codes, mode="clip"))

    def faults(self, rows: Int64s, floats: Floats, codes: Codes) -> list[Fault]:
        """Return, for rows that break a rule, every rule that they break.

        Args:
            rows: The rows.
            floats: The value of each of these rows.
            codes: The series of each.
        """
        kinds = (
            (floats < self.low[codes], lambda code: BELOW.format(self.names[code], _said(self.low, code))),
            (floats > self.high[codes], lambda code: ABOVE.format(self.names[code], _said(self.high, code))),
            (self.whole[codes] & (np.rint(floats) != floats), lambda code: BROKEN.format(self.names[code])),
        )
        return [
            Fault(rows[broken], list(map(reason, codes[broken].tolist()))) for broken, reason in kinds if broken.any()
        ]


def _block_rows(codes: Codes) -> int:
    """Return how many rows to look at at once: whole rounds of the series, so that blocks often have the same codes."""
    again = np.flatnonzero(codes[1:CACHED_ROWS] == codes[:1])[:1]
    return CACHED_ROWS if not len(again) else CACHED_ROWS // (int(again[0]) + 1) * (int(again[0]) + 1)


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
