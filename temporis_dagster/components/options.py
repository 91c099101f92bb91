"""The options that ``@temporis_asset`` takes, under the same names, as attributes of a component.

Comes in: attributes from YAML. Goes out: keyword arguments of ``@temporis_asset``.
Never: has an option that the decorator has not.
"""

from typing import Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from temporis_dagster.asset_options import OutsidePartition
from temporis_dagster.data_source.observations import Decimals, Layout, OnConflict, OnInvalid, SubSecond, Unit


class IngestOptions(dg.Model):
    """Where observations go, and how a frame is read. What is left out is as the IO manager is configured."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    data_source: str = Field(description="The data source that is written.", examples=["store_metrics"])
    series: str | list[str] | None = Field(
        default=None, description="The asset's own series: a list of exact names, or one prefix."
    )
    outside_partition: OutsidePartition | None = Field(
        default=None, description="What becomes of rows outside the run's partitions: 'raise', 'drop' or 'allow'."
    )
    layout: Layout | None = Field(default=None, description="'long', 'wide' or 'auto'.")
    timestamp: str | None = Field(default=None, description="The column of timestamps; by default 'timestamp'.")
    name_column: str | None = Field(default=None, description="The column of series names; by default 'name'.")
    value: str | None = Field(default=None, description="The column of values; by default 'value'.")
    timezone: str | None = Field(
        default=None, description="The zone that naive timestamps are in; with sql, its time_column says."
    )
    ambiguous: bool | Literal["raise", "infer", "NaT"] | None = Field(
        default=None,
        description="What a local time that occurs twice means: true is the first pass of the clock, false the second, "
        "'infer' by the order of the rows.",
    )
    nonexistent: Literal["raise", "shift_forward", "shift_backward", "NaT"] | None = Field(
        default=None, description="What a local time that the clock skipped means."
    )
    sub_second: SubSecond | None = Field(default=None, description="'floor' cuts fractions of a second off.")
    on_invalid: OnInvalid | None = Field(default=None, description="'drop' stores the rest and counts invalid rows.")
    unit: Unit | None = Field(
        default=None,
        description="What number timestamps count since 1970: 's', 'ms', 'us' or 'ns'; with sql, its time_column says.",
    )
    allow_future: bool | str | None = Field(
        default=None,
        description="How far ahead of the clock a timestamp may lie, by default a year: a distance, or true for any.",
        examples=["730 days"],
    )
    on_conflict: OnConflict | None = Field(
        default=None,
        description="What becomes of rows with the same timestamp and name but different values: 'last' stores the "
        "last one, counts the others and warns; 'raise' sends nothing.",
    )
    decimals: Decimals | None = Field(
        default=None,
        description="What becomes of decimal numbers (NUMERIC) that float64 does not hold exactly: 'nearest' stores "
        "the nearest float; 'exact' refuses them.",
    )
    io_manager_key: str = Field(
        default="temporis_io_manager", description="The project's TemporisIOManager, by its resource key."
    )
    pool: str | None = Field(default=None, description="By default temporis_<data source>.")

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``@temporis_asset``."""
        return {option: getattr(self, option) for option in IngestOptions.model_fields}
