"""What is expected of an asset's series, validated when the code is loaded.

Comes in: the arguments of ``build_series_checks`` and the assets. Goes out: expectations and writers, or a
ConfigurationError.
Never: reads observations.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import dagster as dg

from temporis_dagster.asset_options import contracts_for_partitions, contracts_of, options_said, own_series
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.spacing import Spacing, in_words, spacing
from temporis_dagster.contract import series_name_fault
from temporis_dagster.data_source.observations import Contracts, Interval, Series
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.metadata_keys import SERIES
from temporis_dagster.wording import counted, listed, shortened
from temporis_dagster.write_options import OwnSeries

FRESHNESS = "observation_freshness_check"
GAPS = "observation_gaps_check"
PRESENCE = "expected_series_check"
BOUNDS = "observation_bounds_check"
PENDING = "pending_age_check"
COUNT = "observation_count_check"
GHOSTS = "ghost_rows_check"

LATE_S = 86_400
"""A day: how late observations may be before they count as missing."""

Bounds = tuple[float | None, float | None]
GhostSeverity: TypeAlias = Literal["warn", "error"]


@dataclass(frozen=True)
class Expectations:
    """What is expected of the series of an asset. None or empty means that it is not checked.

    Attributes:
        max_age: How old the newest observation may be.
        expected_interval: How far apart neighbouring observations of one series may be: a length of time, or a calendar
            step. None means what the contracts state.
        expected_series: The series that must have observations; None means those with an exact contract.
        bounds: The lowest and highest allowed value per series, both inclusive; None means unbounded on that side. None
            instead of a mapping means what the contracts state.
        horizon: How far back to look.
        max_pending_age: How long an observation may wait in the mirror.
        timezone: The time zone of ``expected_interval``; None means that of the asset.
        contracts: What an asset states about its series.
        min_observations: How many observations each materialization must have.
        ghosts: How severe ghost rows are.
    """

    max_age: timedelta | None
    expected_interval: Interval | None
    expected_series: tuple[str, ...] | None
    bounds: Mapping[str, Bounds] | None
    horizon: timedelta
    max_pending_age: timedelta | None = None
    timezone: str | None = None
    contracts: tuple[Series, ...] = ()
    min_observations: int | None = None
    ghosts: GhostSeverity | None = None

    def __post_init__(self) -> None:
        _ensure_count(self.min_observations)
        for argument in ("max_age", "horizon", "max_pending_age"):
            _ensure_positive(argument, getattr(self, argument))
        for expected in (self.spacing(), *(self._parsed(one.every) for one in self._regular)):
            if expected is not None and expected.longest >= self.horizon:
                raise ConfigurationError(
                    f"horizon must be longer than the expected interval of {expected}, got {in_words(self.horizon)}: no"
                    " gap could be seen in it. Pass a longer horizon."
                )
        for name, bounds in (self.bounds or {}).items():
            _ensure_bounds(name, bounds)
        for name in self.named:
            if fault := series_name_fault(name):
                raise ConfigurationError(f"{name!r} cannot name a series: {fault}. Use the exact names of series.")
        if self.ghosts is not None and self.ghosts not in get_args(GhostSeverity):
            raise ConfigurationError(f"ghosts must be 'warn' or 'error', got {self.ghosts!r}.")

    def spacing(self, own_zone: str | None = None) -> Spacing | None:
        """Return how far apart neighbouring observations may be, in a time zone.

        Args:
            own_zone: The time zone of the asset. A length of time needs none: the clocks of all zones are considered.
        """
        return self._parsed(self.expected_interval, own_zone)

    def spacings(self, names: Iterable[str], own_zone: str | None) -> list[Spacing | None]:
        """Return how far apart neighbouring observations of each series may be: an argument, or its contract."""
        if self.expected_interval is not None:
            return [self.spacing(own_zone) for _ in names]
        contracts = map(self._contracts.of, names)
        return [self._parsed(contract.every if contract else None, own_zone) for contract in contracts]

    @cached_property
    def _contracts(self) -> Contracts:
        return Contracts(self.contracts)

    def _parsed(self, interval: Interval | None, own_zone: str | None = None) -> Spacing | None:
        expected = spacing(interval, self.timezone)
        if expected is None or expected.step is None or self.timezone is not None:
            return expected
        return replace(expected, zone=own_zone or "UTC")

    @property
    def named(self) -> tuple[str, ...]:
        """The series that an argument names."""
        return tuple(dict.fromkeys((*(self.expected_series or ()), *(self.bounds or ()))))

    @property
    def must_exist(self) -> tuple[str, ...]:
        """The series that must have observations: those of the argument, or those with an exact contract."""
        if self.expected_series is not None:
            return self.expected_series
        return tuple(contract.name for contract in self.contracts if contract.name is not None)

    def bounds_of(self, name: str) -> Bounds:
        """Return the bounds of a series: those of the argument, or those of its contract."""
        if self.bounds is not None:
            return self.bounds.get(name, (None, None))
        contract = self._contracts.of(name)
        return (None, None) if contract is None else (contract.minimum, contract.maximum)

    @property
    def bounded(self) -> tuple[str, ...]:
        """The exact names of series that have bounds."""
        return tuple(self.bounds if self.bounds is not None else filter(None, (one.name for one in self._limited)))

    @property
    def _limited(self) -> list[Series]:
        return [one for one in self.contracts if one.minimum is not None or one.maximum is not None]

    @property
    def _regular(self) -> list[Series]:
        return [one for one in self.contracts if one.every is not None and self.expected_interval is None]

    def names_for(self, check: str, own: OwnSeries) -> tuple[str, ...] | None:
        """Return the series that a check needs, of those that an asset may write; None for all."""
        if check == PRESENCE:
            return self.must_exist
        families = self.bounds is None and any(one.prefix is not None for one in self._limited)
        return self.bounded if check == BOUNDS and not families else own.names

    @property
    def descriptions(self) -> dict[str, str]:
        """The description of each check that there is, by the name of the check."""
        return self.descriptions_for(None)

    def descriptions_for(self, own_zone: str | None) -> dict[str, str]:
        """Return the descriptions for an asset in a time zone."""
        asked = {
            FRESHNESS: self.max_age and f"The newest observation is at most {in_words(self.max_age)} old.",
            GAPS: self._gaps_described(own_zone),
            PRESENCE: self.must_exist and f"There are observations of {listed(self.must_exist)}.",
            PENDING: self.max_pending_age
            and f"No observation waits in the mirror for longer than {in_words(self.max_pending_age)}.",
            GHOSTS: self.ghosts
            and "No stored row is missing from the frame with which its partition was last written.",
            BOUNDS: self._bounds_described(),
            COUNT: self.min_observations
            and f"Each materialization has at least {counted(self.min_observations, 'observation')}.",
        }
        return {name: text for name, text in asked.items() if text}

    def _gaps_described(self, own_zone: str | None) -> str:
        if self.expected_interval is not None:
            return f"Neighbouring observations of a series are at most {self.spacing(own_zone)} apart."
        lengths = list(dict.fromkeys(str(self._parsed(one.every, own_zone)) for one in self._regular))
        if len(lengths) > 1:
            return f"Neighbouring observations are at most as far apart as in the contracts: {', '.join(lengths)}."
        return f"Neighbouring observations of a series are at most {lengths[0]} apart." if lengths else ""

    def _bounds_described(self) -> str:
        if self.bounds is not None:
            return f"The values of {listed(self.bounds)} are within bounds." if self.bounds else ""
        of = [repr(one.name) if one.prefix is None else f"series like {one.prefix + '...'!r}" for one in self._limited]
        return f"The values of {shortened(of)} are within the bounds of their contracts." if of else ""


@dataclass(frozen=True)
class Writer:
    """An asset that writes series.

    Attributes:
        key: The key of the asset.
        data_source: The name of its data source.
        series: Its own series.
        partitions_def: Its partitions, if they are time windows; they decide what is due.
        timezone: The time zone that its metadata names.
        contracts: What it states about its series.
        external: Whether it is the external asset of the data source itself, which is never materialized.
    """

    key: dg.AssetKey
    data_source: str
    series: OwnSeries
    partitions_def: dg.TimeWindowPartitionsDefinition | None = None
    timezone: str | None = None
    contracts: tuple[Series, ...] = ()
    external: bool = False

    @property
    def zone(self) -> str | None:
        """The time zone of the asset: that of its metadata, else that of its partitions."""
        return self.timezone or (self.partitions_def.timezone if self.partitions_def else None)

    def due(self, now: float) -> int | None:
        """Return the Unix second until which there should be observations; None if the asset has no time windows.

        A run may still be filling the newest complete partition, and data may be a day late. So the partitions before
        the newest complete one are due, as far as they are older than a day.

        Args:
            now: The time, in Unix seconds.
        """
        if self.partitions_def is None:
            return None
        with dg.partition_loading_context(effective_dt=datetime.fromtimestamp(now, timezone.utc)):
            newest = self.partitions_def.get_last_partition_window()
        return None if newest is None else min(int(newest.start.timestamp()), int(now) - LATE_S)


def writers_of(assets: Collection[object], expectations: Expectations) -> Iterator[Writer]:
    """Yield the assets, with what their metadata and partitions state about them.

    Raises:
        ConfigurationError: There is no asset, or one is not an asset definition, does not name its data source, or
            could never write a series that is expected of it.
    """
    if not assets:
        raise ConfigurationError("There is no asset to check. Pass the assets that write the series.")
    for asset in assets:
        if not isinstance(asset, dg.AssetsDefinition | dg.AssetSpec):
            raise ConfigurationError(
                f"assets must be asset definitions, got {asset!r}. Pass what @temporis_asset or @dg.asset returned."
            )
        for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,):
            yield _writer(spec, expectations)


def _writer(spec: dg.AssetSpec, expectations: Expectations) -> Writer:
    data_source = options_said(spec.metadata).get("data_source")
    if not isinstance(data_source, str):
        raise ConfigurationError(
            f"Asset {spec.key.to_user_string()!r} does not name its data source. Use @temporis_asset, or give it "
            "metadata {'temporis/data_source': ...}."
        )
    own = own_series(spec.metadata.get(SERIES)).for_all_partitions(spec.partitions_def)
    if strange := [name for name in expectations.named if name not in own]:
        raise ConfigurationError(
            f"Asset {spec.key.to_user_string()!r} never writes {listed(strange)}: its 'temporis/series' are {own}. "
            "Expect only these, or call build_series_checks for each asset separately."
        )
    contracts = contracts_for_partitions(contracts_of(spec.metadata), spec.partitions_def, None)
    if not replace(expectations, contracts=contracts).descriptions:
        raise ConfigurationError(
            f"There is no expectation to check of asset {spec.key.to_user_string()!r}. Pass max_age, expected_interval,"
            " expected_series, bounds, max_pending_age, min_observations or ghosts, or give the asset contracts:"
            " series=[Series(...)]."
        )
    external = spec.key == data_source_key(data_source)
    if external and expectations.min_observations is not None:
        raise ConfigurationError(
            f"min_observations is about materializations, and the data source {data_source!r} itself has none. Pass the"
            " assets that write to it."
        )
    partitions = spec.partitions_def if isinstance(spec.partitions_def, dg.TimeWindowPartitionsDefinition) else None
    zone = options_said(spec.metadata).get("timezone")
    return Writer(
        spec.key,
        data_source,
        own,
        partitions,
        timezone=str(zone) if zone else None,
        contracts=contracts,
        external=external,
    )


def _ensure_count(count: object) -> None:
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigurationError(f"min_observations must be an integer of at least 1, got {count!r}.")


def _ensure_positive(argument: str, length: object) -> None:
    if length is None and argument != "horizon":
        return
    if not isinstance(length, timedelta) or length < timedelta(seconds=1):
        raise ConfigurationError(f"{argument} must be a timedelta of at least one second, got {length!r}.")


def _ensure_bounds(name: str, bounds: object) -> None:
    pair = bounds if isinstance(bounds, tuple | list) and len(bounds) == 2 else ()  # noqa: PLR2004  low and high
    given = [bound for bound in pair if bound is not None]
    numbers = all(isinstance(bound, int | float) and math.isfinite(bound) for bound in given)
    if not given or not numbers or sorted(given) != given:
        raise ConfigurationError(
            f"bounds[{name!r}] must be the lowest and the highest allowed value, such as (0, 100), or (0, None) for a "
            f"lower bound only; got {bounds!r}."
        )
