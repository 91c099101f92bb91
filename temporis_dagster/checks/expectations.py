"""What is expected of an asset's series: checked when the code is loaded, then asked one by one.

Comes in: the arguments of ``build_series_checks`` and the assets. Goes out: expectations and writers, or a
ConfigurationError.
Never: reads anything.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from temporis_dagster.asset_options import NAMESPACE, OwnSeries, options_said, own_series
from temporis_dagster.assets import data_source_key
from temporis_dagster.contract import series_name_fault
from temporis_dagster.errors import ConfigurationError

FRESHNESS = "observation_freshness_check"
GAPS = "observation_gaps_check"
PRESENCE = "expected_series_check"
BOUNDS = "observation_bounds_check"
PENDING = "pending_age_check"

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Expectations:
    """What is expected of the series of an asset; None and empty are not checked.

    Attributes:
        max_age: How old the newest observation may be.
        expected_interval: How far apart neighbouring observations of one series may be.
        expected_series: Which series must have observations.
        bounds: The lowest and highest value of each series, both included; None is no bound.
        horizon: How far back to look.
        max_pending_age: For how long an observation may wait in the mirror.
    """

    max_age: timedelta | None
    expected_interval: timedelta | None
    expected_series: tuple[str, ...]
    bounds: Mapping[str, Bounds]
    horizon: timedelta
    max_pending_age: timedelta | None = None

    def __post_init__(self) -> None:
        for argument in ("max_age", "expected_interval", "horizon", "max_pending_age"):
            _ensure_positive(argument, getattr(self, argument))
        if self.expected_interval is not None and self.expected_interval >= self.horizon:
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

    @property
    def named(self) -> tuple[str, ...]:
        """The series that are expected by name."""
        return tuple(dict.fromkeys((*self.expected_series, *self.bounds)))

    @property
    def descriptions(self) -> dict[str, str]:
        """The checks there are, by name, and what each asks."""
        asked = {
            FRESHNESS: self.max_age and f"The newest observation is at most {in_words(self.max_age)} old.",
            GAPS: self.expected_interval
            and f"No two neighbours are further apart than {in_words(self.expected_interval)}.",
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
    """

    key: dg.AssetKey
    data_source: str
    series: OwnSeries


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
    data_source_key(data_source)
    own = own_series(spec.metadata.get(f"{NAMESPACE}series"))
    if strange := [name for name in expectations.named if name not in own]:
        raise ConfigurationError(
            f"Asset {spec.key.to_user_string()!r} never writes {listed(strange)}: its 'temporis/series' are {own}. "
            "Expect those, or check each asset by itself."
        )
    return Writer(spec.key, data_source, own)


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


def in_words(length: timedelta) -> str:
    """A length of time as people write it, to the second.

    Examples:
        >>> in_words(timedelta(days=7)), in_words(timedelta(hours=25, seconds=2))
        ('7 days', '1 day 1 hour 2 seconds')
    """
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = {"day": days, "hour": hours, "minute": minutes, "second": seconds}
    said = [f"{count:,} {unit}{'' if count == 1 else 's'}" for unit, count in counts.items() if count]
    return " ".join(said) or "0 seconds"


def listed(names: Collection[str]) -> str:
    """The names, or the first of them, as words."""
    shown = ", ".join(map(repr, list(names)[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"  # noqa: PLR2004  enough to recognise
