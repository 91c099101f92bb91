"""Carried: the last observation of each series so far, to compare the next slice of a stream with.

Comes in: the observations of one slice after the other. Goes out: nothing; or the error for a value that falls in a
monotone series, or for a key that has another value in an earlier slice (``on_conflict="raise"``).
Never: accepts in silence what it cannot check: series that go back in time from slice to slice are refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.contracts import Contracts
from temporis_dagster.data_source.observations.faults import FAULT_COLUMNS, faults_in_words, objects
from temporis_dagster.data_source.observations.model import Int64s, Mask, Observations
from temporis_dagster.data_source.observations.monotone import fallen_error, fallen_rows
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.errors import InvalidObservationsError
from temporis_dagster.wording import agreeing, counted

NEVER = np.iinfo(np.int64).min


class Carried:
    """What is kept of the slices before: for each series, its last observation and the value before that.

    Args:
        options: How the stream is read.
        contracts: Which series are monotone.
        data_source: The data source that the stream is for, named in messages.
    """

    def __init__(self, options: ObservationOptions, contracts: Contracts, data_source: str | None) -> None:
        self._options, self._contracts, self._data_source = options, contracts, data_source
        self._refuses_conflicts = options.on_conflict == "raise"
        self._numbers: dict[str, int] = {}
        self._last: Int64s = np.empty(0, dtype=np.int64)
        self._value, self._before = np.empty(0), np.empty(0)
        self._time_before: Int64s = np.empty(0, dtype=np.int64)

    def check(self, observations: Observations, unsent: str) -> None:
        """Compare a slice with those before.

        Args:
            observations: At most one for each (timestamp, name).
            unsent: What is not sent if they are refused, as a clause.

        Raises:
            InvalidObservationsError: A value is lower than the one before, a key has another value than before, or the
                slice goes back in time.
        """
        monotone = self._contracts.monotone(observations.names)
        if not self._refuses_conflicts and not monotone.any():
            return
        series, stamps = self._series(observations), observations.timestamps.astype(np.int64)
        of_monotone = monotone[observations.codes]
        watched = np.ones(len(stamps), dtype=np.bool_) if self._refuses_conflicts else of_monotone
        earlier = np.flatnonzero(watched & (stamps < self._last[series]))
        if len(earlier):
            raise self._out_of_order(observations, earlier, series, unsent)
        if self._refuses_conflicts:
            self._check_conflicts(observations, series, stamps, unsent)
        self._check_monotone(observations, series, stamps, of_monotone, unsent)
        self._keep(observations, series, stamps, watched)

    def _series(self, observations: Observations) -> Int64s:
        """Return the number of each observation's series, which is the same in all slices."""
        used = np.unique(observations.codes)
        number_of = np.zeros(len(observations.names), dtype=np.int64)
        for code in used.tolist():
            number_of[code] = self._numbers.setdefault(observations.names[code], len(self._numbers))
        new = len(self._numbers) - len(self._last)
        if new:
            self._last = np.append(self._last, np.full(new, NEVER))
            self._time_before = np.append(self._time_before, np.full(new, NEVER))
            self._value, self._before = (
                np.append(self._value, np.full(new, -np.inf)),
                np.append(self._before, np.full(new, -np.inf)),
            )
        return number_of[observations.codes]

    def _check_conflicts(self, observations: Observations, series: Int64s, stamps: Int64s, unsent: str) -> None:
        same = stamps == self._last[series]
        differ = observations.values.view(np.int64) != self._value[series].view(np.int64)
        conflicts = np.flatnonzero(same & differ)
        if not len(conflicts):
            return
        options, count = self._options, len(conflicts)
        before = self._value[series[conflicts]].tolist()
        reasons = [
            f"an earlier slice of the stream has the same timestamp and name, and the value {v!r}" for v in before
        ]
        rows = _rows(observations.take(conflicts), reasons, options)
        words = faults_in_words(rows, observations.origin.labels_called)
        raise InvalidObservationsError(
            f"{count:,} of {counted(observations.observations_in, 'observation')}{self._whose} in this slice"
            f" {agreeing(count, 'has', 'have')} the timestamp and name of an earlier row of the stream but another"
            f" value, so {unsent}. {words[:1].upper()}{words[1:]}. {options.LIST_OF_INVALID} Pass"
            f" {options.spelled('on_conflict', 'last')} only if you want to keep just the last row of each key.",
            rows=rows,
            invalid=count,
            conflicts=count,
            observations_in=observations.observations_in,
        )

    def _check_monotone(
        self, observations: Observations, series: Int64s, stamps: Int64s, of_monotone: Mask, unsent: str
    ) -> None:
        chosen = np.flatnonzero(of_monotone)
        first = chosen[_ends(series[chosen], stamps[chosen])[0]]
        again = stamps[first] == self._last[series[first]]
        before = np.where(again, self._before[series[first]], self._value[series[first]])
        falls = observations.values[first] < before
        if not falls.any():
            return
        fallen = first[falls]
        order = np.argsort(fallen)
        times = np.where(again, self._time_before[series[first]], self._last[series[first]])[falls]
        rows = fallen_rows(observations.take(fallen[order]), before[falls][order], times[order], self._options)
        raise fallen_error(rows, observations, self._options, data_source=self._data_source, unsent=unsent)

    def _keep(self, observations: Observations, series: Int64s, stamps: Int64s, watched: Mask) -> None:
        chosen = np.flatnonzero(watched)
        first, last, second_last = _ends(series[chosen], stamps[chosen])
        rows, alone = chosen[last], first == last
        of, before = series[rows], chosen[second_last]
        again = alone & (stamps[rows] == self._last[of])
        inherited = np.where(again, self._before[of], self._value[of])
        inherited_time = np.where(again, self._time_before[of], self._last[of])
        self._before[of] = np.where(alone, inherited, observations.values[before])
        self._time_before[of] = np.where(alone, inherited_time, stamps[before])
        self._last[of], self._value[of] = stamps[rows], observations.values[rows]

    @property
    def _whose(self) -> str:
        return "" if self._data_source is None else f" for {self._data_source!r}"

    def _out_of_order(
        self, observations: Observations, earlier: Int64s, series: Int64s, unsent: str
    ) -> InvalidObservationsError:
        first = observations.take(earlier[:1]).frame().iloc[0]
        last = np.datetime_as_string(self._last[series[earlier[0]]].astype("datetime64[s]"), timezone="UTC")
        what = (
            self._options.spelled("on_conflict", "raise")
            if self._refuses_conflicts
            else f"the contract of {first['name']!r} (monotone)"
        )
        return InvalidObservationsError(
            f"Row {first.position:,} of the stream goes back in time: series {first['name']!r} is at"
            f" {first.timestamp.isoformat()}, but an earlier slice came as far as {last}. So {what} cannot be checked"
            f" slice by slice, and {unsent}. Pass spool=True, which checks the whole stream before anything is sent; or"
            " order each series by time.",
            rows=pd.DataFrame({name: [] for name in FAULT_COLUMNS}),
        )


def _ends(series: Int64s, stamps: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return, for each series, its first and its last observation in time, and the one before the last, or the last."""
    order = np.lexsort((stamps, series))
    ordered = series[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(order) else order
    stops = np.append(starts[1:], len(order)) - 1 if len(order) else order
    return order[starts], order[stops], order[np.maximum(stops - 1, starts)]


def _rows(observations: Observations, reasons: list[str], options: ObservationOptions) -> pd.DataFrame:
    cells, origin = observations.frame(), observations.origin
    columns = [options.value] * len(cells) if origin.columns is None else cells["name"].tolist()
    return pd.DataFrame(
        {
            "position": cells["position"],
            "label": objects(origin.labels_at(cells["position"].to_numpy())),
            "column": objects(columns),
            "value": objects(cells["value"].tolist()),
            "reason": objects(reasons),
        }
    )
