"""What is expected of an asset's series: checked when the code is loaded, then asked one by one.

Comes in: the arguments of ``build_series_checks`` and the assets. Goes out: expectations and writers, or a
ConfigurationError.
Never: reads anything.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import dagster as dg

from temporis_dagster.asset_options import OwnSeries, options_said, own_series
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.spacing import Interval, Spacing, in_words, spacing
from temporis_dagster.contract import series_name_fault
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import SERIES

FRESHNESS = "observation_freshness_check"
GAPS = "observation_gaps_check"
PRESENCE = "expected_series_check"
BOUNDS = "observation_bounds_check"
PENDING = "pending_age_check"

LATE_S = 86_400

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Expectations:
    """What is expected of the series of an asset; None and empty are not checked.

    Attributes:
        max_age: How old the newest observation may be.
        expected_interval: How far apart neighbouring observations of one series may be: a length of time, or a step
            of the calendar.
        expected_series: Which series must have observations.
        bounds: The lowest and highest value of each series, both included; None is no bound.
        horizon: How far back to look.
        max_pending_age: For how long an observation may wait in the mirror.
        timezone: The zone whose clock and calendar count for ``expected_interval``; None for the asset's own.
    """

    max_age: timedelta | None
    expected_interval: Interval | None
    expected_series: tuple[str, ...]
    bounds: Mapping[str, Bounds]
    horizon: timedelta
    max_pending_age: timedelta | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        for argument in ("max_age", "horizon", "max_pending_age"):
            _ensure_positive(argument, getattr(self, argument))
        expected = self.spacing()
        if expected is not None and expected.longest >= self.horizon:
            raise ConfigurationError(
                f"Within horizon={self.horizon} no gap longer than expected_interval={self.expected_interval} would "
                "show. Pass a longer horizon."
            )
        for name, bounds in self.bounds.items():
            _ensure_bounds(name, bounds)
        for name in self.named:
            if fault := series_name_fault(name):
                raise ConfigurationError(f"{name!r} cannot be a series: {fault}. Name series as they are written.")
        if not self.descriptions:
            raise ConfigurationError(
                "Nothing is expected. Pass max_age, expected_interval, expected_series, bounds or max_pending_age."
            )

    def spacing(self, own_zone: str | None = None) -> Spacing | None:
        """How far apart neighbouring observations may be, by the clock of a zone.

        Args:
            own_zone: The zone of the asset's own calendar. A length of time needs none: any clock may go back.
        """
        expected = spacing(self.expected_interval, self.timezone)
        if expected is None or expected.step is None or self.timezone is not None:
            return expected
        return replace(expected, zone=own_zone or "UTC")

    @property
    def named(self) -> tuple[str, ...]:
        """The series that are expected by name."""
        return tuple(dict.fromkeys((*self.expected_series, *self.bounds)))

    @property
    def descriptions(self) -> dict[str, str]:
        """The checks there are, by name, and what each asks."""
        return self.descriptions_for(None)

    def descriptions_for(self, own_zone: str | None) -> dict[str, str]:
        """The same, of an asset whose calendar is that of the zone."""
        asked = {
            FRESHNESS: self.max_age and f"The newest observation is at most {in_words(self.max_age)} old.",
            GAPS: self.expected_interval is not None
            and f"No two neighbours are further apart than {self.spacing(own_zone)}.",
            PRESENCE: self.expected_series and f"There are observations of {listed(self.expected_series)}.",
            PENDING: self.max_pending_age
            and f"Nothing waits in the mirror for longer than {in_words(self.max_pending_age)}.",
            BOUNDS: self.bounds and f"The values of {listed(self.bounds)} are within bounds.",
        }
        return {name: text for name, text in asked.items() if text}


@dataclass(frozen=True)
class Writer:
    """An asset that writes series.

    Attributes:
        key: Its key.
        data_source: The name of its data source.
        series: Its own series.
        partitions_def: Its partitions, where they are windows of time: they say what is due.
        timezone: The zone that its metadata name.
        external: Whether it is the data source itself, which no materialization tells anything of.
    """

    key: dg.AssetKey
    data_source: str
    series: OwnSeries
    partitions_def: dg.TimeWindowPartitionsDefinition | None = None
    timezone: str | None = None
    external: bool = False

    @property
    def zone(self) -> str | None:
        """The zone of its calendar."""
        return self.timezone or (self.partitions_def.timezone if self.partitions_def else None)

    def due(self, now: float) -> int | None:
        """The Unix second until which it should have observations; None where nothing says so.

        The newest complete partition may still be at work, or late by a day, so those before it are due.

        Args:
            now: Unix seconds.
        """
        if self.partitions_def is None:
            return None
        with dg.partition_loading_context(effective_dt=datetime.fromtimestamp(now, timezone.utc)):
            newest = self.partitions_def.get_last_partition_window()
        return None if newest is None else min(int(newest.start.timestamp()), int(now) - LATE_S)


def writers_of(assets: Collection[object], expectations: Expectations) -> Iterator[Writer]:
    """The assets with what they say of themselves.

    Raises:
        ConfigurationError: Something is no asset, names no data source, or could never write a series expected of it.
    """
    if not assets:
        raise ConfigurationError("There is no asset to check. Pass those that write the series.")
    for asset in assets:
        if not isinstance(asset, dg.AssetsDefinition | dg.AssetSpec):
            raise ConfigurationError(f"{asset!r} is no asset. Pass what @temporis_asset or @dg.asset made.")
        for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,):
            yield _writer(spec, expectations)


def _writer(spec: dg.AssetSpec, expectations: Expectations) -> Writer:
    data_source = options_said(spec.metadata).get("data_source")
    if not isinstance(data_source, str):
        raise ConfigurationError(
            f"Asset {spec.key.to_user_string()!r} names no data source. Use @temporis_asset, or give it metadata "
            "{'temporis/data_source': ...}."
        )
    own = own_series(spec.metadata.get(SERIES))
    if strange := [name for name in expectations.named if name not in own]:
        raise ConfigurationError(
            f"Asset {spec.key.to_user_string()!r} never writes {listed(strange)}: its 'temporis/series' are {own}. "
            "Expect those, or check each asset by itself."
        )
    partitions = spec.partitions_def if isinstance(spec.partitions_def, dg.TimeWindowPartitionsDefinition) else None
    zone = options_said(spec.metadata).get("timezone")
    return Writer(
        spec.key,
        data_source,
        own,
        partitions,
        timezone=str(zone) if zone else None,
        external=spec.key == data_source_key(data_source),
    )


def _ensure_positive(argument: str, said: object) -> None:
    if said is None and argument != "horizon":
        return
    if not isinstance(said, timedelta) or said < timedelta(seconds=1):
        raise ConfigurationError(f"{argument}={said!r} is no length of time. Pass a timedelta of at least a second.")


def _ensure_bounds(name: str, bounds: object) -> None:
    pair = bounds if isinstance(bounds, tuple | list) and len(bounds) == 2 else ()  # noqa: PLR2004  low and high
    given = [bound for bound in pair if bound is not None]
    numbers = all(isinstance(bound, int | float) and math.isfinite(bound) for bound in given)
    if not given or not numbers or sorted(given) != given:
        raise ConfigurationError(
            f"bounds[{name!r}]={bounds!r} bounds nothing. Pass the lowest and the highest value, such as (0, 100); "
            "None for no bound on that side."
        )


def listed(names: Collection[str]) -> str:
    """The names, or the first of them, as words."""
    shown = ", ".join(map(repr, list(names)[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"  # noqa: PLR2004  enough to recognise
