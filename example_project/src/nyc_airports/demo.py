"""The whole example in one command: a year of real data, backfilled twice, read back, and checked.

In: the committed CSV files. Out: the operational database, a data source full of observations, a frozen one, Dagster
runs to look at in the UI, and a summary on the terminal. Fails if the second backfill writes anything or changes the
content, or if a check does not pass.
Never: needs a network or a clean start; run it as often as you like.

    python -m nyc_airports.demo
"""

import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
from rich import box
from rich.console import Console
from rich.table import Column, Table

from nyc_airports import operational_db, settings
from nyc_airports.dataset import DATA_SOURCE, FIRST_QUARTER, NYC_DAYS
from nyc_airports.definitions import defs
from temporis_dagster import ArchiveState, Temporis, connect

HOURLY_ASSETS = ("departures", "weather")
OF_DEMO = {"nyc_airports/made_by": "demo"}
OUTCOMES = ("stored", "unchanged", "superseded")
ERRORS_ONLY = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

Metadata = dict[str, Any]

console = Console()


def main() -> None:
    """Run the demo, and say where to look at what it did."""
    run()
    console.print(
        "See the runs, their metadata and plots, and the checks: [bold]make ui[/], then http://127.0.0.1:3000/assets\n"
        "Schedules and sensors are off until you switch them on there, under Automation.",
        soft_wrap=True,
    )


def run() -> str:
    """Run two backfills, a report and the checks, verify that the second changed nothing, and return the digest."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")
    prepare(settings.dagster_home())
    with dg.DagsterInstance.get() as instance, connect(settings.temporis_url()) as temporis:
        end_leftovers(instance)
        source = temporis.create_data_source(DATA_SOURCE)
        first = backfill("backfill", instance)
        digest = source.content_digest()
        again = backfill_again()
        console.print(overview(first, again))
        verify_nothing_changed(again, digest, source.content_digest())
        with step("report: weather_impact, the year read back"):
            materialize("weather_impact", instance)
        with step(f"first quarter: kept as {FIRST_QUARTER}, archived"):
            freeze_first_quarter(temporis)
        with step("checks: archive state and series"):
            run_checks(instance)
    return digest


def prepare(dagster_home: Path) -> None:
    """Set up Dagster's home, where the UI finds the runs, and the operational database that the assets query."""
    os.environ["DAGSTER_HOME"] = str(dagster_home)
    dagster_home.mkdir(parents=True, exist_ok=True)
    if not (dagster_home / "dagster.yaml").exists():
        shutil.copy(settings.PROJECT / "instance.yaml", dagster_home / "dagster.yaml")
    with step("operational database: built from the CSV files"):
        operational_db.build(settings.operational_db())


def end_leftovers(instance: dg.DagsterInstance) -> None:
    """End the runs of a demo that was killed: they would seem to go on forever, and schedules would wait for them."""
    unfinished = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(tags=OF_DEMO, statuses=unfinished)):
        instance.report_run_failed(run, "The demo that launched this run was killed.")


def backfill(title: str, instance: dg.DagsterInstance) -> dict[str, Metadata]:
    """Run each asset once for the whole year, like a single-run backfill from the UI; return the metadata by asset."""
    days = NYC_DAYS.get_partition_keys()
    the_year = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    metadata = {}
    for asset in HOURLY_ASSETS:
        with step(f"{title}: {asset}, {len(days)} daily partitions in one run"):
            metadata[asset] = materialize(asset, instance, the_year)
    return metadata


def backfill_again() -> dict[str, Metadata]:
    """Repeat the runs in a throwaway Dagster instance, so that the UI still shows what the first backfill stored."""
    with dg.DagsterInstance.ephemeral() as throwaway:
        return backfill("the same again", throwaway)


def materialize(asset: str, instance: dg.DagsterInstance, tags: dict[str, str] | None = None) -> Metadata:
    """Run one asset in this process and return the metadata of its materialization; errors are raised."""
    job = defs().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        ERRORS_ONLY, instance, asset_selection=[dg.AssetKey(asset)], tags={**OF_DEMO, **(tags or {})}
    )
    event = next(event for event in result.all_events if event.is_step_materialization)
    return {name: entry.value for name, entry in event.step_materialization_data.materialization.metadata.items()}


def overview(first: dict[str, Metadata], again: dict[str, Metadata]) -> Table:
    """Make a table with one column per asset: what it has, and what became of it in both backfills."""
    table = Table("", *(Column(asset, justify="right") for asset in first), box=box.SIMPLE_HEAD)
    table.add_row("series", *(f"{metadata['temporis/series_count']}" for metadata in first.values()))
    table.add_row("observations", *(f"{sum(outcomes(metadata)):,}" for metadata in first.values()))
    for end in ("first", "last"):
        table.add_row(f"{end} (UTC)", *(hour(metadata[f"temporis/{end}_observation"]) for metadata in first.values()))
    for title, backfilled in (("backfill", first), ("the same again", again)):
        table.add_section()
        for outcome, *counts in zip(OUTCOMES, *map(outcomes, backfilled.values()), strict=True):
            table.add_row(f"{title}: {outcome}", *(f"{count:,}" for count in counts))
    return table


def outcomes(metadata: Metadata) -> list[int]:
    """Return the number of observations with each outcome."""
    return [metadata.get(f"temporis/{outcome}", 0) for outcome in OUTCOMES]


def hour(unix_seconds: float) -> str:
    """Format a moment, for example as 2013-01-01 06:00."""
    return f"{datetime.fromtimestamp(unix_seconds, timezone.utc):%Y-%m-%d %H:%M}"


def verify_nothing_changed(again: dict[str, Metadata], before: str, after: str) -> None:
    """Exit with an error unless the second backfill was idempotent, as upserts promise."""
    written = sum(metadata["temporis/stored"] for metadata in again.values())
    if written or before != after:
        sys.exit(f"The second backfill wrote {written:,} observations; content digest {before} became {after}.")
    console.print(f"[green]✓[/] nothing was written again; the content digest is still {after}", soft_wrap=True)


def freeze_first_quarter(temporis: Temporis) -> None:
    """Copy the quarter and archive the copy, unless that was done before: it no longer accepts observations."""
    frozen = temporis.create_data_source(FIRST_QUARTER)
    if frozen.archive_state() is not ArchiveState.ARCHIVED:
        april = NYC_DAYS.time_window_for_partition_key("2013-04-01").start
        frozen.upsert(temporis.data_source(DATA_SOURCE).read(end=april))
        frozen.archive()


def run_checks(instance: dg.DagsterInstance) -> None:
    """Evaluate every check of the project once; if any fails, exit with an error that names those that did."""
    result = (
        defs()
        .resolve_job_def("checks_job")
        .execute_in_process(ERRORS_ONLY, instance, tags=OF_DEMO, raise_on_error=False)
    )
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    if failed or not result.success:
        sys.exit(
            "\n".join(
                f"{check.check_name} of {check.asset_key.to_user_string()}: {check.description}" for check in failed
            )
        )


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show a spinner on a terminal, and print one line at the end."""
    start = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[green]✓[/] {what} [dim]({time.perf_counter() - start:.1f} s)[/]")


if __name__ == "__main__":
    main()
