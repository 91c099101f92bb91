"""The options of ``@temporis_asset`` as attributes of a component, under the same names.

Comes in: attributes from YAML. Goes out: keyword arguments of ``@temporis_asset``.
Never: has an option that the decorator lacks.
"""

from typing import Annotated, Any, Literal, cast

import dagster as dg
from dagster.components.resolved.core_models import (
    MultiRunBackfillPolicyModel,
    SingleRunBackfillPolicyModel,
    resolve_backfill_policy,
)
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, StrictFloat, StrictInt, model_validator

from temporis_dagster.components.resolvers import count, described, number, optional_number, share
from temporis_dagster.components.series_options import SeriesOptions, resolve_series
from temporis_dagster.data_source.observations import Decimals, Layout, OnConflict, OnInvalid, Series, SubSecond, Unit
from temporis_dagster.write_options import GhostRows, OutsidePartition

CONFIGURED = "Defaults to the IO manager's configuration."
CONFIGURED_AS = "Defaults to the IO manager's configuration, which is {} unless it is set there."


class RetryOptions(dg.Resolvable, dg.Model):
    """When a step that failed runs again: Dagster's `RetryPolicy`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    max_retries: Annotated[int, count("Maximum number of retries.")] = 1
    delay: Annotated[float | None, number("Seconds to wait before a retry.")] = None
    backoff: Annotated[
        Literal["linear", "exponential"] | None,
        described("How the delay grows from retry to retry: 'linear' or 'exponential'. Defaults to not at all."),
    ] = None
    jitter: Annotated[
        Literal["full", "plus_minus"] | None,
        described(
            "Whether the delay varies at random: 'full' (from 0 to the delay) or 'plus_minus' (by up to the delay). "
            "Defaults to no variation."
        ),
    ] = None

    @model_validator(mode="after")
    def _possible(self) -> "RetryOptions":
        if self.max_retries < 1:
            raise ValueError(f"max_retries must be at least 1, got {self.max_retries}.")
        if self.delay is not None and self.delay < 0:
            raise ValueError(f"delay must be a number of seconds, 0 or more, got {self.delay}.")
        if self.delay is None and (self.backoff or self.jitter):
            raise ValueError("backoff and jitter change the delay between retries, but there is none. Add delay.")
        return self

    def policy(self) -> dg.RetryPolicy:
        """Return Dagster's retry policy."""
        return dg.RetryPolicy(
            max_retries=self.max_retries,
            delay=self.delay,
            backoff=dg.Backoff[self.backoff.upper()] if self.backoff else None,
            jitter=dg.Jitter[self.jitter.upper()] if self.jitter else None,
        )


def resolve_retry_policy(context: dg.ResolutionContext, given: object) -> dg.RetryPolicy | None:
    """Accept Dagster's own policy, from a template variable, or its attributes."""
    if not isinstance(given, BaseModel):
        return cast("dg.RetryPolicy | None", given)
    return cast("RetryOptions", RetryOptions.resolve_from_model(context, given)).policy()


class IngestOptions(dg.Model):
    """Where observations go, and how to read a frame."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    data_source: str = Field(description="Name of the data source to write to.", examples=["store_metrics"])
    series: Annotated[
        str | list[str | InstanceOf[Series]] | None,
        dg.Resolver(
            resolve_series,
            model_field_type=str | list[str | SeriesOptions.model()] | None,
            description="The asset's own series: a list of exact names and of contracts, or one prefix as text. No "
            "others can be written, and only these are read back. Defaults to every series of the data source.",
            examples=[["orders", {"name": "revenue", "unit": "EUR", "minimum": 0}], "load_"],
        ),
    ] = None
    uri: Annotated[
        str | None,
        described(
            "URL of the store or service, if it is the same wherever this file is loaded. The catalog then shows it "
            "before the first run, without user, password and options. Nothing connects to it.",
            examples=["https://api.temporis.co"],
        ),
    ] = None
    outside_partition: Annotated[
        OutsidePartition | None,
        described(
            f"What happens to rows outside the run's partitions: 'raise', 'drop' or 'allow'. {CONFIGURED}",
            examples=["raise"],
        ),
    ] = None
    layout: Annotated[
        Layout | None,
        described(
            "'long' (a column of names and one of values), 'wide' (one column per series) or 'auto'. " + CONFIGURED,
            examples=["wide"],
        ),
    ] = None
    timestamp: Annotated[
        str | None,
        described("Name of the timestamp column. " + CONFIGURED_AS.format("'timestamp'"), examples=["measured_at"]),
    ] = None
    name_column: Annotated[
        str | None,
        described("Name of the column of series names. " + CONFIGURED_AS.format("'name'"), examples=["sensor"]),
    ] = None
    value: Annotated[
        str | None, described("Name of the value column. " + CONFIGURED_AS.format("'value'"), examples=["reading"])
    ] = None
    timezone: Annotated[
        str | None,
        described(
            f"Time zone of naive timestamps. With 'sql', defaults to that of 'time_column', if any. {CONFIGURED}",
            examples=["Europe/Berlin"],
        ),
    ] = None
    ambiguous: Annotated[
        bool | Literal["raise", "infer", "NaT"] | None,
        described(
            "How to read a local time that occurs twice because the clock goes back: 'raise' refuses it, 'infer' tells "
            "the two passes apart by the order of the rows, oldest or newest first, 'true' means the first pass and "
            "'false' the second. " + CONFIGURED,
            examples=["infer"],
        ),
    ] = None
    nonexistent: Annotated[
        Literal["raise", "shift_forward", "shift_backward", "NaT"] | None,
        described("How to read a local time that the clock skipped. " + CONFIGURED, examples=["shift_forward"]),
    ] = None
    sub_second: Annotated[
        SubSecond | None,
        described(
            "What happens to timestamps with fractions of a second: 'raise' refuses them, 'floor' cuts the fraction "
            "off. " + CONFIGURED,
            examples=["floor"],
        ),
    ] = None
    on_invalid: Annotated[
        OnInvalid | None,
        described(
            "What happens to invalid rows: 'raise' sends nothing and fails the step, 'drop' stores the other rows and "
            "counts the invalid ones. " + CONFIGURED,
            examples=["drop"],
        ),
    ] = None
    unit: Annotated[
        Unit | None,
        described(
            "What numeric timestamps count since 1970: 's', 'ms', 'us' or 'ns'. With 'sql', 'time_column' decides "
            "instead. " + CONFIGURED_AS.format("seconds"),
            examples=["ms"],
        ),
    ] = None
    allow_future: Annotated[
        bool | str | None,
        described(
            "How far ahead of the clock a timestamp may be: a length of time, or 'true' for any. "
            + CONFIGURED_AS.format("366 days"),
            examples=["730 days"],
        ),
    ] = None
    on_conflict: Annotated[
        OnConflict | None,
        described(
            "What happens to rows with the same timestamp and name but different values: 'last' stores the last one, "
            "counts the others and warns; 'raise' sends nothing. " + CONFIGURED,
            examples=["raise"],
        ),
    ] = None
    decimals: Annotated[
        Decimals | None,
        described(
            "What happens to decimal numbers ('NUMERIC') that float64 does not hold exactly: 'nearest' stores the "
            "nearest float, 'exact' refuses them. " + CONFIGURED,
            examples=["exact"],
        ),
    ] = None
    plot: Annotated[
        bool | None,
        described(
            "Whether each materialization shows a small plot of what was written (extra '[plots]'). "
            + CONFIGURED_AS.format("'false'"),
            examples=[True],
        ),
    ] = None
    backfill_policy: Annotated[
        dg.BackfillPolicy | None,
        dg.Resolver(
            resolve_backfill_policy,
            model_field_type=SingleRunBackfillPolicyModel | MultiRunBackfillPolicyModel | None,
            description="How a backfill is divided into runs. Defaults to a single run for a partitioned asset, and to "
            "a run per partition for one that depends on itself.",
            examples=[{"type": "multi_run", "max_partitions_per_run": 31}],
        ),
    ] = None
    retry_policy: Annotated[
        dg.RetryPolicy | None,
        dg.Resolver(
            resolve_retry_policy,
            model_field_type=RetryOptions.model() | None,
            description="How often, and after which delays, the step runs again when it fails in a way that may pass. "
            "Each retry fetches again. Defaults to no retries.",
            examples=[{"max_retries": 3, "delay": 60, "backoff": "exponential"}],
        ),
    ] = None
    max_changed: Annotated[
        StrictInt | StrictFloat | None,
        share(
            "Limit on the stored rows that a run may change: a number with a decimal point, up to 1.0, is a share of "
            "the rows stored in the windows of its partitions; a whole number is a number of rows. A run that exceeds "
            "a limit fails before anything is sent. " + CONFIGURED_AS.format("no limit"),
            examples=[0.1, 100],
        ),
    ] = None
    max_shift: Annotated[
        float | None,
        optional_number(
            "Limit on how far a run may move the mean of a series: '0.5' is half of the mean size of the stored values "
            "that it changes. " + CONFIGURED_AS.format("no limit"),
            examples=[0.5],
        ),
    ] = None
    max_ghosts: Annotated[
        StrictInt | StrictFloat | None,
        share(
            "Limit on how many stored rows may be missing from what a run fetched, in the form of 'max_changed'. "
            + CONFIGURED_AS.format("no limit, or 0.25 if ghost rows are deleted"),
            examples=[0.25, 10],
        ),
    ] = None
    ghost_rows: Annotated[
        GhostRows | None,
        described(
            "What happens to stored rows of the asset's own series that are missing from what a run fetched for their "
            "window: 'keep' counts them, 'delete' deletes them (SQLite and PostgreSQL only). " + CONFIGURED,
            examples=["delete"],
        ),
    ] = None
    io_manager_key: Annotated[
        str, described("Resource key of the project's 'TemporisIOManager'.", examples=["temporis_io_manager"])
    ] = "temporis_io_manager"
    pool: Annotated[
        str | None,
        described(
            "Concurrency pool of the asset's step. Defaults to 'temporis_<data source>'.",
            examples=["temporis_store_metrics"],
        ),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``@temporis_asset``."""
        return {option: getattr(self, option) for option in IngestOptions.model_fields}
