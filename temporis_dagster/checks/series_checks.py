"""``build_series_checks``: checks for gaps, freshness, expected series, bounds, pending observations and ghost rows.

Comes in: assets, and what is expected of their series. Goes out: asset check definitions, one per data source.
Never: loads an asset, or reads a data source twice in a step.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from temporis_dagster.checks.expectations import (
    COUNT,
    FRESHNESS,
    GHOSTS,
    PENDING,
    Bounds,
    Expectations,
    GhostSeverity,
    Writer,
    writers_of,
)
from temporis_dagster.checks.freshness import find_age
from temporis_dagster.checks.gaps_and_bounds import FINDERS, find_in
from temporis_dagster.checks.ghosts import find_ghosts
from temporis_dagster.checks.pending import find_pending
from temporis_dagster.checks.row_counts import find_count
from temporis_dagster.checks.series_data import SelectedCheck, read_for
from temporis_dagster.data_source.observations import Interval
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.resource import temporis_of


def build_series_checks(
    *,
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    max_age: timedelta | None = None,
    expected_interval: Interval | None = None,
    expected_series: Iterable[str] | None = None,
    bounds: Mapping[str, Bounds] | None = None,
    max_pending_age: timedelta | None = None,
    min_observations: int | None = None,
    horizon: timedelta = timedelta(days=7),
    timezone: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    ghosts: GhostSeverity | None = None,
    resource_key: str = "temporis",
    clock: Callable[[], float] = time.time,
) -> Sequence[dg.AssetChecksDefinition]:
    """Build checks of the observations that assets write. They do not block, load an asset or write observations.

    Each asset gets one check per argument that is passed or that its contracts state: ``observation_freshness_check``
    (``max_age``), ``observation_gaps_check`` (``expected_interval``), ``expected_series_check`` (``expected_series``),
    ``observation_bounds_check`` (``bounds``), ``pending_age_check`` (``max_pending_age``),
    ``observation_count_check`` (``min_observations``) and ``ghost_rows_check`` (``ghosts``). Those of gaps, expected
    series and bounds read the data source, once for all its assets, and only observation times within the last
    ``horizon``. They pass with a warning if the data source has no read-back (HTTP without a mirror), and fail if it
    cannot be asked.

    There is one definition, and so one step and one read, per data source. In a shared step, one failed writer would
    leave the assets of all data sources unchecked.

    What the contracts of an asset state (``series=[Series(...)]``) need not be said again: that series with an exact
    contract exist, that neighbours are at most ``every`` apart, and that values are within the bounds. An argument that
    is passed is used instead of all contracts; an empty one means that nothing of its kind is checked.

    Freshness is the age of the newest *observation time* that the asset's materializations report as stored, so a
    backfill of old data does not make the asset stale. If the time of the last *materialization* is what counts, use
    Dagster's own ``dagster.FreshnessPolicy`` on the asset.

    Args:
        assets: Assets with a data source, as ``@temporis_asset`` makes them. Only their own series are checked. The
            external asset of a data source (``data_source_spec``) may be one of them: then all series of the data
            source are checked.
        max_age: How old the newest observation may be.
        expected_interval: How far apart two neighbouring observations of one series may be: a timedelta, or a calendar
            step as pandas names it, such as ``"D"``, ``"B"`` (business days), ``"W-MON"`` or an offset. When clocks are
            set back, a timedelta that is longer than that change may be exceeded by the change. A series has a gap at
            its end if it ends before the newest observation of the asset, or before the partitions that are due: those
            before the newest complete one, as far as they are older than a day. Defaults to ``every`` of each series'
            contract.
        expected_series: The exact names of series that must have observations. Defaults to those with an exact
            contract.
        bounds: The lowest and the highest allowed value by series name, both inclusive; None means unbounded on that
            side. Defaults to those of the contracts.
        max_pending_age: How long an observation of the data source may wait in the mirror before it is delivered, no
            matter which asset wrote it. Rows always wait for a moment, so allow for several ticks of a scheduled flush.
            Without a mirror, the check passes with a warning.
        min_observations: How many observations the latest materialization of each partition must have, as it states
            itself: what was stored before counts as well. Only partitions within ``horizon``.
        horizon: How far back to look, and so how much is read.
        timezone: The time zone of ``expected_interval``. Defaults to that of the asset's metadata or partitions. If
            these have none, a calendar step is in UTC, and for a timedelta the clocks of all zones are considered.
        severity: The severity of checks that fail, except that of ghost rows.
        ghosts: ``"warn"`` or ``"error"``: the severity if stored rows were missing from the frame with which their
            partition was last written. Only time partitions within ``horizon`` count.
        resource_key: The key of the ``TemporisResource``.
        clock: Returns the current time in Unix seconds; for tests, and for data of the past.

    Raises:
        ConfigurationError: Nothing is expected, an expectation is invalid or can never be met, or an asset does not
            name its data source.

    Examples:
        .. code-block:: python

            from datetime import timedelta

            import dagster as dg
            import pandas as pd

            from temporis_dagster import TemporisResource, build_series_checks, temporis_asset


            @temporis_asset(data_source="store_metrics", series=["orders", "revenue"])
            def sales() -> pd.DataFrame:
                return pd.DataFrame()


            defs = dg.Definitions(
                assets=[sales],
                asset_checks=build_series_checks(
                    assets=[sales],
                    max_age=timedelta(hours=3),
                    expected_interval=timedelta(hours=1),
                    expected_series=["orders", "revenue"],
                    bounds={"orders": (0, None)},
                ),
                resources={"temporis": TemporisResource(url="sqlite:////var/lib/temporis.db")},
            )
    """
    if isinstance(expected_series, str):
        raise ConfigurationError(f"expected_series must be a list of exact names, got the text {expected_series!r}.")
    expectations = Expectations(
        max_age,
        expected_interval,
        None if expected_series is None else tuple(expected_series),
        None if bounds is None else dict(bounds),
        horizon,
        max_pending_age,
        timezone,
        min_observations=min_observations,
        ghosts=ghosts,
    )
    by_source: dict[str, list[Writer]] = {}
    for writer in writers_of(assets, expectations):
        by_source.setdefault(writer.data_source, []).append(writer)
    return [
        _checks_of(source, writers, expectations, severity, resource_key, clock)
        for source, writers in by_source.items()
    ]


def _checks_of(
    data_source: str,
    of_source: Sequence[Writer],
    expectations: Expectations,
    severity: dg.AssetCheckSeverity,
    resource_key: str,
    clock: Callable[[], float],
) -> dg.AssetChecksDefinition:
    writers = {writer.key: writer for writer in of_source}
    expected = {key: replace(expectations, contracts=writer.contracts) for key, writer in writers.items()}
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=description)
        for key, writer in writers.items()
        for name, description in expected[key].descriptions_for(writer.zone).items()
    ]

    @dg.multi_asset_check(
        name=f"series_checks_{data_source}_{_short_hash(specs)}",
        specs=specs,
        required_resource_keys={resource_key},
        can_subset=True,
    )
    def series_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected, now = sorted(context.selected_asset_check_keys), clock()
        reading_checks = [SelectedCheck(key.name, writers[key.asset_key]) for key in selected if key.name in FINDERS]
        temporis = temporis_of(context, resource_key)
        reading = read_for(reading_checks, temporis, data_source, expected, now) if reading_checks else None
        for key in selected:
            if key.name == GHOSTS:
                finding = find_ghosts(context.instance, writers[key.asset_key], expectations, now)
            elif key.name == PENDING:
                finding = find_pending(temporis, data_source, expectations, now)
            elif key.name == COUNT:
                finding = find_count(context.instance, writers[key.asset_key], expectations, now)
            elif reading is None or key.name == FRESHNESS:
                finding = find_age(context.instance, writers[key.asset_key], expectations, temporis, now)
            else:
                finding = find_in(reading, key.name, writers[key.asset_key], expected[key.asset_key])
            yield finding.result(key, _severity(key.name, expectations, severity))

    return series_checks


def _severity(check: str, expectations: Expectations, of_others: dg.AssetCheckSeverity) -> dg.AssetCheckSeverity:
    if check != GHOSTS:
        return of_others
    return dg.AssetCheckSeverity.ERROR if expectations.ghosts == "error" else dg.AssetCheckSeverity.WARN


def _short_hash(specs: Iterable[dg.AssetCheckSpec]) -> str:
    """Return a hash that makes the name of the step unique among all calls of the factory."""
    keys = ";".join(sorted(f"{spec.asset_key.to_string()}:{spec.name}" for spec in specs))
    return hashlib.sha256(keys.encode()).hexdigest()[:8]
