"""What keeps a component's asset filled and watched: schedule, gap sensor, archive and series checks.

Comes in: attributes from YAML, and the asset. Goes out: definitions made by the same factories as from Python.
Never: runs anything by itself; a schedule or a sensor is off until it is switched on, here or in the UI.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, TypeAlias, cast

import dagster as dg
import pandas as pd
from pydantic import ConfigDict, Field, StrictFloat, StrictInt, model_validator

from temporis_dagster.assets import data_source_spec
from temporis_dagster.checks.archive import build_archive_state_checks
from temporis_dagster.checks.gate import gated_selection
from temporis_dagster.checks.series import build_series_checks
from temporis_dagster.checks.spacing import Interval, spacing
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.schedules.gap_fill import build_gap_fill_sensor
from temporis_dagster.schedules.trailing_window import build_trailing_window_schedule


def resolve_length(context: dg.ResolutionContext, said: object) -> timedelta:
    """A length of time from text such as ``3h``, ``15min`` or ``7D``.

    Raises:
        ConfigurationError: The text has no unit, or is no length of time.
    """
    value = context.resolve_value(said, as_type=object)
    if isinstance(value, timedelta):
        return value
    length = None if str(value).strip().isdigit() else _length(str(value))
    if length is None:
        raise ConfigurationError(f"{value!r} is no length of time. Write it with its unit, as 90s, 15min, 3h or 7D.")
    return length


def _length(text: str) -> timedelta | None:
    try:
        return pd.Timedelta(text).to_pytimedelta()
    except ValueError:
        return None


Length: TypeAlias = Annotated[timedelta, dg.Resolver(resolve_length, model_field_type=str, inject_before_resolve=False)]


def resolve_interval(context: dg.ResolutionContext, said: object) -> object:
    """An interval from text: a length such as ``15min``, or a step of the calendar such as ``B`` or ``W-MON``.

    Raises:
        ConfigurationError: It is neither.
    """
    value = context.resolve_value(said, as_type=object)
    spacing(cast("Interval", value), None)
    return value


Step: TypeAlias = Annotated[Interval, dg.Resolver(resolve_interval, model_field_type=str, inject_before_resolve=False)]


def _resolve(context: dg.ResolutionContext, said: object) -> Any:
    """What YAML says, with templates filled in."""
    return context.resolve_value(said, as_type=object)


# Fields of their own type, as in one of Python's a YAML file's true would be 1.
Count: TypeAlias = Annotated[int, dg.Resolver(_resolve, model_field_type=StrictInt | str)]
Number: TypeAlias = Annotated[float, dg.Resolver(_resolve, model_field_type=StrictFloat | StrictInt | str)]
Pair: TypeAlias = list[StrictFloat | StrictInt | str | None]
Pairs: TypeAlias = Annotated[
    Mapping[str, list[float | None]], dg.Resolver(_resolve, model_field_type=Mapping[str, Pair] | str)
]


class _Options(dg.Resolvable, dg.Model):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class ScheduleOptions(_Options):
    """A schedule that fills the trailing partitions at every tick: ``build_trailing_window_schedule``."""

    lookback: Count = Field(description="How many partitions a tick fills, counted back from the newest complete one.")
    cron_schedule: str | None = Field(
        default=None,
        description="When to tick; by default at once when a partition is complete.",
        examples=["5 * * * *"],
    )
    execution_timezone: str | None = Field(
        default=None, description="The zone of cron_schedule; by default that of the partitions."
    )
    max_reach_back: Count | None = Field(
        default=None, description="The most partitions a tick fills when it makes up for others."
    )
    running: bool = Field(default=False, description="Whether it runs as soon as it is deployed.")


class GapFillOptions(_Options):
    """A sensor that fills missing and failed partitions: ``build_gap_fill_sensor``."""

    horizon: Count = Field(description="How many partitions to look at, counted back from the newest complete one.")
    exclude_latest: Count = Field(default=1, description="How many of the newest are left to the schedule.")
    max_partitions_per_run: Count = Field(default=100, description="The longest range of a run.")
    max_runs_per_tick: Count = Field(default=4, description="How many runs a tick launches.")
    max_attempts: Count = Field(default=3, description="How many attempts a partition has.")
    retry_delay_s: Number = Field(default=300.0, description="Seconds before the second attempt; doubles with each.")
    running: bool = Field(default=False, description="Whether it runs as soon as it is deployed.")

    @model_validator(mode="after")
    def _sees_any(self) -> "GapFillOptions":
        if self.horizon <= self.exclude_latest:
            raise ValueError(
                f"horizon must be greater than exclude_latest, got horizon: {self.horizon} and exclude_latest: "
                f"{self.exclude_latest}: with these, no partition is ever looked at."
            )
        return self


class SeriesCheckOptions(_Options):
    """What is expected of the asset's series: ``build_series_checks``."""

    max_age: Length | None = Field(default=None, description="How old the newest observation may be, such as 3h.")
    expected_interval: Step | None = Field(
        default=None,
        description="How far apart neighbours of one series may be: a length such as 15min, or a step of the calendar "
        "such as D, B (business days) or W-MON.",
    )
    timezone: str | None = Field(
        default=None,
        description="The time zone whose clock and calendar count for expected_interval. Defaults to that of the "
        "asset's partitions.",
        examples=["Europe/Berlin"],
    )
    expected_series: list[str] = Field(default_factory=list, description="Series that must have observations.")
    bounds: Pairs = Field(
        default_factory=dict,
        description="The lowest and highest value of series, by name; null is no bound.",
        examples=[{"orders": [0, None]}],
    )
    max_pending_age: Length | None = Field(
        default=None, description="How long observations may wait in the mirror, such as 1h."
    )
    horizon: Length = Field(default=timedelta(days=7), description="How far back to look, such as 7D.")
    severity: dg.AssetCheckSeverity = Field(
        default=dg.AssetCheckSeverity.WARN, description="Of checks that fail: WARN or ERROR."
    )


class Automation(dg.Model):
    """The attributes of a component beside its asset."""

    resource_key: str = Field(default="temporis", description="The project's TemporisResource, by its resource key.")
    define_data_source: bool = Field(
        default=True,
        description="Whether to define the data source's external asset and its archive check, too: false where the "
        "project does. Components may share a data source as they are.",
    )
    archive_check: bool = Field(
        default=True,
        description="Whether runs of the schedule and the sensor first check that the data source is not archived.",
    )
    schedule: ScheduleOptions | None = Field(default=None, description="Refill the trailing partitions by the clock.")
    gap_fill: GapFillOptions | None = Field(default=None, description="Find and fill what is missing.")
    series_checks: SeriesCheckOptions | None = Field(default=None, description="Check what the series hold.")

    def data_source_defs(self, data_source: str, *, archive_check: bool) -> dg.Definitions:
        """The data source's external asset, and the check that it is not archived.

        Args:
            data_source: Its name.
            archive_check: Whether any of the components that share it waits for the check.
        """
        expected = {data_source: ArchiveState.ACTIVE}
        checks = build_archive_state_checks(data_sources=expected, resource_key=self.resource_key)
        return dg.Definitions(assets=[data_source_spec(data_source)], asset_checks=checks if archive_check else [])

    def automate(self, asset: dg.AssetsDefinition, data_source: str) -> dg.Definitions:
        """Everything around the asset, which is not among it.

        Raises:
            ConfigurationError: An attribute cannot be used with this asset.
        """
        checks = _series_checks(self.series_checks, asset, self.resource_key) if self.series_checks is not None else []
        if self.schedule is None and self.gap_fill is None:
            return dg.Definitions(asset_checks=checks)
        partitions = asset.partitions_def
        if not isinstance(partitions, dg.TimeWindowPartitionsDefinition):
            raise ConfigurationError(
                "A schedule and a gap_fill fill partitions, and there are none. Add partitions_def."
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
    bounds = {name: (pair[0], pair[-1]) for name, pair in options.bounds.items() if len(pair) == 2}  # noqa: PLR2004
    if len(bounds) < len(options.bounds):
        raise ConfigurationError("Each of the bounds is a pair, as in 'orders: [0, null]'.")
    return build_series_checks(
        assets=[asset],
        max_age=options.max_age,
        expected_interval=options.expected_interval,
        expected_series=options.expected_series,
        bounds=bounds,
        max_pending_age=options.max_pending_age,
        horizon=options.horizon,
        timezone=options.timezone,
        severity=options.severity,
        resource_key=resource_key,
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
        **options.model_dump(exclude={"running"}),
        default_status=status.RUNNING if options.running else status.STOPPED,
    )
