"""Local time: wall-clock seconds in a named zone become UTC. Times that the clock skipped or repeated become faults.

Comes in: seconds as a wall clock showed them. Goes out: UTC seconds, and faults that show both readings.
Never: takes a local time for UTC.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.faults import Fault, where
from temporis_dagster.data_source.observations.model import Int64s, Mask, SeriesOfRows
from temporis_dagster.data_source.observations.options import ObservationOptions
from temporis_dagster.data_source.observations.repeated_hour import Passes, Unclear, infer_passes

INTERVALS = "If the timestamps name the ends of intervals, subtract an interval from each first"
UNCLEAR = "the clock showed this time twice in {}, and which one is meant cannot be inferred, because {}: {}"
NO_ZONE = "the timestamp has no time zone: attach one, or pass the zone that it is in, such as {} or {}"
UNREADABLE = "{}: pass {}"
HOUR_S = 3_600


def to_utc(wall: Int64s, options: ObservationOptions, series: SeriesOfRows | None = None) -> tuple[Int64s, list[Fault]]:
    """Read wall-clock seconds in the options' zone.

    Args:
        wall: Seconds since 1970-01-01 00:00 on the wall clock, none missing.
        options: Their ``timezone``, ``ambiguous`` and ``nonexistent`` are used.
        series: The series of each row; None for one series. Repeated hours are inferred for each series separately.
    """
    if options.timezone is None:
        reason = NO_ZONE.format(options.spelled("timezone", "UTC"), options.spelled("timezone", "Europe/Berlin"))
        return wall, where(np.ones(len(wall), dtype=np.bool_), reason, of_call=True)
    if not len(wall):
        return wall, []
    clock = pd.DatetimeIndex(wall.view("datetime64[s]"))
    # pandas 2 would look a name up in pytz: offsets rounded to minutes before 1900, no summer time after 2037.
    return _Reading(clock, ZoneInfo(options.timezone), series).resolve(options)


class _Reading:
    """The readings of a wall clock in a zone, with the rows that have two readings or none."""

    def __init__(self, clock: pd.DatetimeIndex, zone: ZoneInfo, series: SeriesOfRows | None) -> None:
        self.clock, self.zone, self.series = clock, zone, series
        self.summer, self.winter = (self._localized(dst=dst, skipped="NaT") for dst in (True, False))
        self.skipped: Mask = np.asarray(self.summer.isna())
        self.repeated: Mask = np.asarray(self.summer != self.winter) & ~self.skipped

    def _localized(self, *, dst: bool, skipped: Literal["NaT", "shift_forward", "shift_backward"]) -> pd.DatetimeIndex:
        return self.clock.tz_localize(self.zone, ambiguous=np.full(len(self.clock), dst), nonexistent=skipped)

    def resolve(self, options: ObservationOptions) -> tuple[Int64s, list[Fault]]:
        """Return UTC seconds according to the options, and faults for the rows that remain without a reading."""
        seconds = _seconds(self.summer)
        faults: list[Fault] = []
        for rows, resolve in ((self.repeated, self._resolve_repeated), (self.skipped, self._resolve_skipped)):
            if rows.any():
                faults += resolve(seconds, options)
        return seconds, faults

    @cached_property
    def passes(self) -> Passes:
        """What the order of the rows tells of the repeated hours."""
        first, second = _seconds(self.summer), _seconds(self.winter)
        return infer_passes(first, second, self.clock.to_numpy().view(np.int64), ~self.skipped, self.series)

    def _standard_time(self, options: ObservationOptions) -> str:
        """Return the advice for clocks that are never changed, as a clause that others follow.

        Only such a clock shows an hour that the zone's clock skipped, and each repeated hour only once.
        """
        if not (self.skipped.any() and self.repeated.any() and self.passes.unclear):
            return ""
        first = int(np.flatnonzero(self.repeated)[0])
        offset_s = int(self.clock.to_numpy().view(np.int64)[first] - _seconds(self.winter)[first])
        if offset_s % HOUR_S:
            return ""
        hours = -offset_s // HOUR_S
        zone = options.spelled("timezone", f"Etc/GMT{hours:+d}" if hours else "Etc/GMT")
        way = f"pass {zone}, which is UTC{-hours:+d}: these names reverse the sign" if hours else f"pass {zone}"
        if self.passes.merging or any(why is not Unclear.ONLY_ONCE for _, why in self.passes.unclear):
            return f"if the times are in standard time all year, so that no clock was changed, {way}. Otherwise, "
        spring, autumn = self.clock[self.skipped][0], self.clock[first]
        return (
            f"the times seem to be in standard time all year, because {spring:%H:%M} of {spring:%Y-%m-%d} is there, and"
            f" {autumn:%H:%M} of {autumn:%Y-%m-%d} only once: {way}. Otherwise, "
        )

    def _resolve_repeated(self, seconds: Int64s, options: ObservationOptions) -> list[Fault]:
        rows = np.flatnonzero(self.repeated)
        if isinstance(options.ambiguous, bool):
            seconds[rows] = _seconds(self.summer if options.ambiguous else self.winter)[rows]
            return []
        if options.ambiguous == "infer":
            return self._infer(seconds, rows, options)
        pairs, advice = zip(self.summer[rows], self.winter[rows], strict=True), _advice("ambiguous", options)
        if not self.passes.unclear:
            advice = f"if both are there in order, pass {options.spelled('ambiguous', 'infer')}; otherwise {advice}"
        advice = _sentence(f"{self._standard_time(options)}{advice}")
        text = "the clock showed this time twice in {}: {} and {}. {}"
        reasons = [text.format(self.zone, first, second, advice) for first, second in pairs]
        return [Fault(rows, reasons, wanted=True)]

    def _infer(self, seconds: Int64s, rows: Int64s, options: ObservationOptions) -> list[Fault]:
        found = self.passes
        seconds[rows] = np.where(found.second, _seconds(self.winter), _seconds(self.summer))[rows]
        return [
            Fault(unclear, self._unclear(why, options, merging=found.merging), wanted=True)
            for unclear, why in found.unclear
        ]

    def _unclear(self, why: Unclear, options: ObservationOptions, *, merging: bool) -> str:
        if why is Unclear.ONLY_ONCE and not merging:
            second = options.spelled("ambiguous", value=False)
            way = f"pass {options.spelled('ambiguous', value=True)} for the first, {second} for the second"
        else:
            way = f"{options.ADVICE.passes.format(zone=str(self.zone))}. {INTERVALS}"
        return UNCLEAR.format(self.zone, why.value, f"{self._standard_time(options)}{way}")

    def _resolve_skipped(self, seconds: Int64s, options: ObservationOptions) -> list[Fault]:
        rows = np.flatnonzero(self.skipped)
        if options.nonexistent in ("raise", "NaT"):
            before, after = (self._localized(dst=True, skipped=way) for way in ("shift_backward", "shift_forward"))
            pairs, advice = zip(before[rows], after[rows], strict=True), _advice("nonexistent", options)
            advice = _sentence(
                f"{self._standard_time(options)}{INTERVALS[0].lower()}{INTERVALS[1:]}; otherwise {advice}"
            )
            text = "the clock skipped this time in {}: it went from {} to {}. {}"
            reasons = [text.format(self.zone, a, b, advice) for a, b in pairs]
            return [Fault(rows, reasons, wanted=True)]
        try:
            shifted = self.clock[rows].tz_localize(
                self.zone, ambiguous=np.ones(len(rows), dtype=bool), nonexistent=options.nonexistent
            )
        except Exception as error:  # noqa: BLE001  # pandas 2 raises pytz errors here, pandas 3 ValueError
            return [Fault(rows, UNREADABLE.format(error, options.spelled("nonexistent", "shift_forward")))]
        seconds[rows] = _seconds(shifted)
        return []


def _advice(argument: Literal["ambiguous", "nonexistent"], options: ObservationOptions) -> str:
    if getattr(options, argument) == "NaT":
        return f"correct it: {options.spelled(argument, 'NaT')} does not choose one"
    return f"pass {options.spelled(argument)} to choose what it means"


def _sentence(clauses: str) -> str:
    return f"{clauses[0].upper()}{clauses[1:]}"


def _seconds(localized: pd.DatetimeIndex) -> Int64s:
    return localized.tz_convert(None).to_numpy().astype("datetime64[s]").view(np.int64)
