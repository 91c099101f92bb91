"""build_series_checks(min_observations=...): a materialization with too few observations is shown in red."""

from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import (
    ConfigurationError,
    TemporisResource,
    build_series_checks,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.writing import event_metadata as events
from tests.support.dagster_harness import key_range
from tests.support.io_manager_tools import SOURCE, Project

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-11")
ZONES = dg.StaticPartitionsDefinition(["N", "S"])
AT_THE_END = pd.Timestamp("2024-06-11T00:00Z").timestamp()


def hours(day, count=24, name="orders"):
    return pd.DataFrame({name: 1.0}, index=pd.date_range(day, periods=count, freq="h", tz="UTC"))


def writer(make, partitions_def=None, **arguments):
    @temporis_asset(data_source=SOURCE, name="orders", partitions_def=partitions_def, **arguments)
    def orders(context: dg.AssetExecutionContext):
        return make(context)

    return orders


def days_of(**counts):
    """A body that returns 24 rows for each day of the run, or as many as are given here, as d02=20."""
    return lambda context: pd.concat(
        [hours(key, counts.get(f"d{key[-2:]}", 24)) for key in map(str, context.partition_keys)]
    )


def check_of(project, asset, *, alone=True, run=None, **arguments):
    """The evaluation of the check: in a run of its own, or with its asset."""
    checks = build_series_checks(assets=[asset], min_observations=24, clock=lambda: AT_THE_END, **arguments)
    selection = dg.AssetSelection.checks(*checks)
    result = project.run(
        asset, *checks, selection=selection if alone else dg.AssetSelection.assets(asset.key) | selection, **(run or {})
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.check_name == "observation_count_check"
    return evaluation


def facts(evaluation):
    return {key.removeprefix("temporis/"): value.value for key, value in evaluation.metadata.items()}


@pytest.mark.parametrize(("rows", "passed"), [(24, True), (23, False), (0, False)])
def test_an_asset_without_partitions(project, rows, passed):
    """Its latest materialization; with its asset in one run, and alone."""
    asset = writer(lambda _: hours("2024-06-01", rows))
    for alone in (False, True):
        found = check_of(project, asset, alone=alone)
        assert found.passed == passed
        plural = "" if rows == 1 else "s"
        assert facts(found)["found"] == f"The latest materialization has {rows} observation{plural}"
        assert ("Find out upstream" in found.description) == (not passed)


def test_what_was_stored_before_counts(project):
    """A refill that changes nothing stores no row, and is no truncated extract."""
    asset = writer(lambda _: hours("2024-06-01"))
    for _ in range(2):
        assert project.run(asset).success
    assert check_of(project, asset).passed


def test_each_partition_of_a_range(project):
    """Those with fewer are listed, with their counts; the others do not matter."""
    asset = writer(days_of(d05=20, d07=0), DAYS)
    found = check_of(project, asset, alone=False, run={"tags": key_range("2024-06-04", "2024-06-10")})
    assert not found.passed
    assert facts(found)["found"] == (
        "2 of 7 partitions have fewer, such as '2024-06-05' with 20 observations within the last 7 days"
    )
    assert facts(found)["too_few_count"] == 2
    rows = [dict(record.data) for record in found.metadata["temporis/too_few_rows"].records]
    assert rows == [
        {"partition": "2024-06-05", "observations": 20},
        {"partition": "2024-06-07", "observations": 0},
    ]


def test_the_latest_materialization_of_a_partition_decides(project):
    """A refill turns the check green; a day before the horizon is not looked at."""
    assert project.run(writer(days_of(d01=1, d05=20), DAYS), tags=key_range("2024-06-01", "2024-06-10")).success
    asset = writer(days_of(), DAYS)
    assert not check_of(project, asset).passed
    assert project.run(asset, partition_key="2024-06-05").success
    assert check_of(project, asset).passed
    assert not check_of(project, asset, horizon=timedelta(days=30)).passed


def test_many_partitions_whose_counts_stand_in_one_list(project, monkeypatch):
    """Where one partition lists the counts of all of the run, the check reads that list."""
    monkeypatch.setattr(events, "MOST_COUNTED_APART", 1)
    asset = writer(days_of(d04=1, d05=2, d06=3, d07=4), DAYS)
    found = check_of(project, asset, alone=False, run={"tags": key_range("2024-06-04", "2024-06-10")})
    assert facts(found)["too_few_count"] == 4


def test_zones_with_a_template_are_counted_apart(project):
    """Without one, nothing tells whose rows they were: the check passes with a warning that says so."""
    frame = pd.concat([hours("2024-06-01", 24, "load_N"), hours("2024-06-01", 20, "load_S")], axis=1)
    counted = writer(lambda _: frame, ZONES, series=["load_{partition}"])
    found = check_of(project, counted, alone=False, run={"tags": key_range("N", "S")})
    assert "1 of 2 partitions has fewer, such as 'S' with 20 observations" in facts(found)["found"]
    both = writer(lambda _: frame, ZONES)
    assert project.run(both, tags=key_range("N", "S")).success
    found = check_of(project, both)
    assert found.passed
    assert "2 of 2 materializations without a count" in facts(found)["warning"]


def test_nothing_materialized_is_nothing_to_count(project):
    """Before the first run, and after dry runs only, the check passes with a warning."""
    asset = writer(lambda _: hours("2024-06-01"))
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    for _ in range(2):
        found = check_of(project, asset)
        assert found.passed
        assert facts(found)["warning"] == "Not checked: nothing was materialized."
        assert dry.run(asset).success


@pytest.mark.parametrize("least", [0, -1, 2.5, True, "24"])
def test_what_is_no_count_is_refused(least):
    """When the code is loaded."""
    asset = writer(lambda _: None)
    with pytest.raises(ConfigurationError, match="min_observations must be an integer of at least 1, got"):
        build_series_checks(assets=[asset], min_observations=least)


def test_a_data_source_itself_has_no_materializations():
    """The message says which assets to pass."""
    with pytest.raises(ConfigurationError, match=r"Pass the\s+assets that write to it"):
        build_series_checks(assets=[data_source_spec(SOURCE)], min_observations=1)
