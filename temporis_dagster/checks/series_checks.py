"""``build_series_checks``: gaps, freshness, expected series, bounds and what is pending, on the assets that write them.

Comes in: assets, and what is expected of their series. Goes out: asset checks definitions, one a data source.
Never: loads an asset, or reads a data source twice in a run.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg

from temporis_dagster.checks.expectations import FRESHNESS, PENDING, Bounds, Expectations, Writer, writers_of
from temporis_dagster.checks.freshness import find_age
from temporis_dagster.checks.gaps_and_bounds import FINDERS, find_in
from temporis_dagster.checks.pending import find_pending
from temporis_dagster.checks.readings import Question, read_for
from temporis_dagster.checks.spacing import Interval
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.resource import temporis_of


def build_series_checks(
    *,
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    max_age: timedelta | None = None,
    expected_interval: Interval | None = None,
    expected_series: Iterable[str] = (),
    bounds: Mapping[str, Bounds] | None = None,
    max_pending_age: timedelta | None = None,
    horizon: timedelta = timedelta(days=7),
    timezone: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    resource_key: str = "temporis",
    clock: Callable[[], float] = time.time,
) -> Sequence[dg.AssetChecksDefinition]:
    """Checks of the observations that assets write. They block nothing, load no asset and write nothing.

    There is one definition, and so one step and one read, a data source: in a step that all shared, one writer that
    fails would leave every asset unchecked.

    One check a question that is asked, on each asset: ``observation_freshness_check`` (``max_age``),
    ``observation_gaps_check`` (``expected_interval``), ``expected_series_check`` (``expected_series``),
    ``observation_bounds_check`` (``bounds``) and ``pending_age_check`` (``max_pending_age``). All but the first and the
    last read the data source, once for all its assets, and only observation times in the last ``horizon``. Where it has
    no read-back (HTTP) they pass with a warning that says what was not checked; where it cannot be asked, they fail.

    Freshness is that of the newest *observation time* the asset's materializations say they stored, so a backfill of
    old data makes nothing stale. Where the time of the last *materialization* is what counts, use Dagster's own
    ``dagster.FreshnessPolicy`` on the asset.

    Args:
        assets: Assets with a data source, as ``@temporis_asset`` makes them. Only their own series are looked at. The
            data source itself (``data_source_spec``) may be one of them: then all its series are, whoever wrote them.
        max_age: How old the newest observation may be.
        expected_interval: How far apart two neighbouring observations of one series may be: a timedelta, or a step of
            the calendar as pandas names it, such as ``"D"``, ``"B"`` (business days), ``"W-MON"`` or an offset. Where a
            clock goes back, a timedelta that is longer than that change may be longer by it. A series that ends
            earlier than the newest of the asset's has a gap at its end, and so has one that ends before the
            partitions that are due: those before the newest complete one, and older than a day.
        expected_series: Exact names of series that must have observations.
        bounds: The lowest and highest value of series, by name, both included; None is no bound on that side.
        max_pending_age: For how long an observation may wait in the mirror before it is delivered: of the whole data
            source, whoever wrote it. Rows wait for a moment in the best of times, so give a scheduled flush some ticks.
            Without a mirror it passes with a warning.
        horizon: How far back to look, and so how much is read.
        timezone: The zone whose clock and calendar count for ``expected_interval``. By default that of the asset's
            metadata or partitions, or UTC for a step of the calendar; for a timedelta, any clock may go back.
        severity: Of checks that fail.
        resource_key: The key of the ``TemporisResource``.
        clock: What time it is, in Unix seconds; of use in tests and for data of the past.

    Raises:
        ConfigurationError: Nothing is expected, an expectation cannot be met by anything, or an asset names no data
            source.

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
        raise ConfigurationError(f"expected_series={expected_series!r} is one text. Pass a list of exact names.")
    expectations = Expectations(
        max_age, expected_interval, tuple(expected_series), dict(bounds or {}), horizon, max_pending_age, timezone
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
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=description)
        for key, writer in writers.items()
        for name, description in expectations.descriptions_for(writer.zone).items()
    ]

    @dg.multi_asset_check(
        name=f"series_checks_{data_source}_{_short_hash(specs)}",
        specs=specs,
        required_resource_keys={resource_key},
        can_subset=True,
    )
    def series_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected, now = sorted(context.selected_asset_check_keys), clock()
        questions = [Question(key.name, writers[key.asset_key]) for key in selected if key.name in FINDERS]
        temporis = temporis_of(context, resource_key)
        reading = read_for(questions, temporis, data_source, expectations, now) if questions else None
        for key in selected:
            if key.name == PENDING:
                finding = find_pending(temporis, data_source, expectations, now)
            elif reading is None or key.name == FRESHNESS:
                finding = find_age(context.instance, writers[key.asset_key], expectations, temporis, now)
            else:
                finding = find_in(reading, key.name, writers[key.asset_key], expectations)
            yield finding.result(key, severity)

    return series_checks


def _short_hash(specs: Iterable[dg.AssetCheckSpec]) -> str:
    """Makes the name of the step one that no other call of the factory makes."""
    keys = ";".join(sorted(f"{spec.asset_key.to_string()}:{spec.name}" for spec in specs))
    return hashlib.sha256(keys.encode()).hexdigest()[:8]
