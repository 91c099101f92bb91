"""The automation of a component's asset: schedule, gap sensor, archive and series checks.

Comes in: attributes from YAML, and the asset. Goes out: definitions, made by the same factories that Python code uses.
Never: runs anything by itself; a schedule or a sensor is off until it is switched on, here or in the UI.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import dagster as dg
from pydantic import ConfigDict, model_validator

from temporis_dagster.assets import data_source_spec
from temporis_dagster.checks.archive_state import build_archive_state_checks
from temporis_dagster.checks.expectations import GhostSeverity
from temporis_dagster.checks.gate import gated_selection
from temporis_dagster.checks.series_checks import build_series_checks
from temporis_dagster.components.python_function import resolve_clock
from temporis_dagster.components.resolvers import count, described, interval, length, number, optional_count, pairs
from temporis_dagster.data_source.observations import Interval
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.schedules.gap_fill import build_gap_fill_sensor
from temporis_dagster.schedules.trailing_window import build_trailing_window_schedule

CLOCK = (
    "Import path of a function that returns the current time in Unix seconds, for data of the past and for tests: "
    "'my_module.clock', or '.my_module.clock' for a module next to the YAML file. Defaults to the clock of the machine."
)


class _Options(dg.Resolvable, dg.Model):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class ScheduleOptions(_Options):
    """A schedule that refills the trailing partitions at every tick: `build_trailing_window_schedule`."""

    lookback: Annotated[
        int, count("Number of partitions to fill at each tick, counted back from the newest complete one.")
    ]
    cron_schedule: Annotated[
        str | None,
        described("When to tick. Defaults to the moment at which a partition is complete.", examples=["5 * * * *"]),
    ] = None
    execution_timezone: Annotated[
        str | None, described("Time zone of 'cron_schedule'. Defaults to that of the partitions.")
    ] = None
    max_reach_back: Annotated[
        int | None,
        optional_count(
            "Maximum number of partitions to fill at a tick that makes up for missed ones. Defaults to as many as it "
            "takes."
        ),
    ] = None
    running: Annotated[bool, described("Whether the schedule is on as soon as it is deployed.")] = False


class GapFillOptions(_Options):
    """A sensor that fills missing and failed partitions: `build_gap_fill_sensor`."""

    horizon: Annotated[
        int,
        count(
            "Number of partitions to look at, counted back from the newest complete one. Must be greater than "
            "'exclude_latest'."
        ),
    ]
    exclude_latest: Annotated[int, count("Number of the newest partitions to leave to the schedule.")] = 1
    max_partitions_per_run: Annotated[int, count("Maximum number of partitions in one run.")] = 100
    max_runs_per_tick: Annotated[int, count("Maximum number of runs to launch at each tick.")] = 4
    max_attempts: Annotated[int, count("Maximum number of attempts to fill a partition.")] = 6
    retry_delay_s: Annotated[
        float, number("Seconds to wait before the second attempt. The delay doubles with each further one.")
    ] = 300.0
    clock: Annotated[
        Callable[[], float] | None,
        dg.Resolver(resolve_clock, model_field_type=str | None, description=CLOCK, examples=[".clock.end_of_2013"]),
    ] = None
    running: Annotated[bool, described("Whether the sensor is on as soon as it is deployed.")] = False

    @model_validator(mode="after")
    def _sees_any(self) -> "GapFillOptions":
        if self.horizon <= self.exclude_latest:
            raise ValueError(
                f"horizon must be greater than exclude_latest, got horizon: {self.horizon} and exclude_latest: "
                f"{self.exclude_latest}. With these, the sensor would never look at any partition."
            )
        return self


class SeriesCheckOptions(_Options):
    """What is expected of the asset's series, beyond its contracts: `build_series_checks`."""

    max_age: Annotated[timedelta | None, length("Maximum age of the newest observation, such as '3h'.")] = None
    expected_interval: Annotated[
        Interval | None,
        interval(
            "Maximum time between neighbouring observations of one series: a length such as '15min', or a step of the "
            "calendar such as 'D', 'B' (business days) or 'W-MON'. Defaults to 'every' of each contract."
        ),
    ] = None
    timezone: Annotated[
        str | None,
        described(
            "Time zone whose clock and calendar apply to 'expected_interval'. Defaults to that of the partitions.",
            examples=["Europe/Berlin"],
        ),
    ] = None
    expected_series: Annotated[
        list[str] | None,
        described(
            "Names of series that must have observations. Defaults to those with a contract of their own.",
            examples=[["orders", "revenue"]],
        ),
    ] = None
    bounds: Annotated[
        Mapping[str, list[float | None]] | None,
        pairs(
            "Lowest and highest value of each series, by name; 'null' for no bound on that side. Defaults to those of "
            "the contracts.",
            examples=[{"orders": [0, None]}],
        ),
    ] = None
    max_pending_age: Annotated[
        timedelta | None, length("Maximum time that observations may wait in the mirror, such as '1h'.")
    ] = None
    min_observations: Annotated[
        int | None,
        optional_count("Minimum number of observations of the latest materialization of each partition."),
    ] = None
    horizon: Annotated[timedelta, length("How far back to look, such as '7D'.")] = timedelta(days=7)
    clock: Annotated[
        Callable[[], float] | None,
        dg.Resolver(resolve_clock, model_field_type=str | None, description=CLOCK, examples=[".clock.end_of_2013"]),
    ] = None
    severity: Annotated[
        dg.AssetCheckSeverity, described("Severity of checks that fail: 'WARN' or 'ERROR'.", examples=["ERROR"])
    ] = dg.AssetCheckSeverity.WARN
    ghosts: Annotated[
        GhostSeverity | None,
        described(
            "Severity if stored rows were missing from what was last fetched for their partition: 'warn' or 'error'.",
            examples=["warn"],
        ),
    ] = None


class Automation(dg.Model):
    """The attributes of a component that are not those of its asset."""

    resource_key: Annotated[
        str, described("Resource key of the project's 'TemporisResource'.", examples=["temporis"])
    ] = "temporis"
    define_data_source: Annotated[
        bool,
        described(
            "Whether to define the data source's external asset and its archive check. Set it to 'false' if the "
            "project defines them elsewhere. Components that share a data source define it once."
        ),
    ] = True
    archive_check: Annotated[
        bool,
        described("Whether runs of the schedule and the sensor first check that the data source is not archived."),
    ] = True
    schedule: Annotated[
        ScheduleOptions | None,
        described("Schedule that refills the trailing partitions.", examples=[{"lookback": 3}]),
    ] = None
    gap_fill: Annotated[
        GapFillOptions | None,
        described("Sensor that finds and fills missing and failed partitions.", examples=[{"horizon": 720}]),
    ] = None
    series_checks: Annotated[
        SeriesCheckOptions | None,
        described("Checks of the asset's series.", examples=[{"max_age": "3h"}]),
    ] = None

    def data_source_defs(self, data_source: str, *, uri: str | None = None, archive_check: bool) -> dg.Definitions:
        """Return the data source's external asset, and the check that it is not archived.

        Args:
            data_source: The name of the data source.
            uri: The URL that its page shows, if one is known.
            archive_check: Whether any of the components that share the data source needs the check.
        """
        expected = {data_source: ArchiveState.ACTIVE}
        checks = build_archive_state_checks(data_sources=expected, resource_key=self.resource_key)
        return dg.Definitions(
            assets=[data_source_spec(data_source, uri=uri)], asset_checks=checks if archive_check else []
        )

    def automate(self, asset: dg.AssetsDefinition, data_source: str) -> dg.Definitions:
        """Return the checks, the job, the schedule and the sensor of the asset, without the asset itself.

        Raises:
            ConfigurationError: An attribute cannot be used with this asset.
        """
        checks = _series_checks(self.series_checks, asset, self.resource_key) if self.series_checks is not None else []
        if self.schedule is None and self.gap_fill is None:
            return dg.Definitions(asset_checks=checks)
        partitions = asset.partitions_def
        if not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
            raise ConfigurationError(
                "A schedule and a gap_fill need time partitions to fill, but the asset has none. Add partitions_def."
            )
        job = dg.define_asset_job(
            f"{asset.op.name}_job",
            selection=gated_selection(asset) if self.archive_check else dg.AssetSelection.assets(asset),
        )
        arguments: dict[str, Any] = {"target": job, "data_sources": [data_source], "resource_key": self.resource_key}
        schedules = [_schedule(self.schedule, partitions, arguments)] if self.schedule is not None else []
        sensors = [_gap_fill(self.gap_fill, arguments)] if self.gap_fill is not None else []
        return dg.Definitions(asset_checks=checks, jobs=[job], schedules=schedules, sensors=sensors)


def _series_checks(
    options: SeriesCheckOptions, asset: dg.AssetsDefinition, resource_key: str
) -> Sequence[dg.AssetChecksDefinition]:
    given = options.bounds or {}
    bounds = {name: (pair[0], pair[-1]) for name, pair in given.items() if len(pair) == 2}  # noqa: PLR2004
    if len(bounds) < len(given):
        raise ConfigurationError("Each of the bounds must be a pair, as in 'orders: [0, null]'.")
    return build_series_checks(
        assets=[asset],
        max_age=options.max_age,
        expected_interval=options.expected_interval,
        expected_series=options.expected_series,
        bounds=None if options.bounds is None else bounds,
        max_pending_age=options.max_pending_age,
        min_observations=options.min_observations,
        horizon=options.horizon,
        timezone=options.timezone,
        severity=options.severity,
        ghosts=options.ghosts,
        resource_key=resource_key,
        clock=options.clock or time.time,
    )


def _schedule(
    options: ScheduleOptions, partitions_def: dg.TimeWindowPartitionsDefinition, arguments: dict[str, Any]
) -> dg.ScheduleDefinition:
    status = dg.DefaultScheduleStatus
    return build_trailing_window_schedule(
        **arguments,
        **options.model_dump(exclude={"running"}),
        partitions_def=partitions_def,
        default_status=status.RUNNING if options.running else status.STOPPED,
    )


def _gap_fill(options: GapFillOptions, arguments: dict[str, Any]) -> dg.SensorDefinition:
    status = dg.DefaultSensorStatus
    return build_gap_fill_sensor(
        **arguments,
        **options.model_dump(exclude={"running", "clock"}),
        clock=options.clock or time.time,
        default_status=status.RUNNING if options.running else status.STOPPED,
    )
