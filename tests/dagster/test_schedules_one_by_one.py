"""Schedule and gap sensor of an asset that depends on itself: one partition per run, the oldest first, and right."""

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, build_gap_fill_sensor, build_trailing_window_schedule, temporis_asset
from temporis_dagster import connect as connected
from tests.support.dagster_harness import key_range
from tests.support.schedule_tools import World, asked, utc

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-06")
ITSELF = {"total": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1))}


def total_of(**arguments):
    @temporis_asset(data_source="grid", series=["total"], partitions_def=DAYS, ins=ITSELF, **arguments)
    def total(context, total: pd.DataFrame) -> pd.DataFrame:
        last = total["value"].max() if len(total) else 0.0
        return pd.DataFrame({"total": [last + 1.0]}, index=pd.DatetimeIndex([context.partition_key], tz="UTC"))

    return total


@pytest.fixture
def world(tmp_path):
    url = f"sqlite:///{tmp_path}/temporis.db"
    with connected(url) as temporis:
        temporis.create_data_source("grid")
    with dg.instance_for_test() as instance:
        yield World(instance, url, total_of())


def test_the_trailing_window_is_a_run_per_partition(world):
    """Run in the order of the requests, they give the same as day by day, filled for the first time or again."""
    schedule = build_trailing_window_schedule(target=world.asset, lookback=3)
    for day in ("2024-06-01", "2024-06-02"):
        assert world.launch(key_range(day, day))
    requests = world.ticks(schedule, utc("2024-06-05"))
    assert [asked(request) for request in requests] == [
        ("2024-06-02", "2024-06-02"),
        ("2024-06-03", "2024-06-03"),
        ("2024-06-04", "2024-06-04"),
    ]
    assert len({request.run_key for request in requests}) == 3
    assert all(world.run(request, schedule) for request in requests)
    assert world.stored()["value"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_the_gap_sensor_asks_for_one_run_at_a_time(world):
    """Gaps of a chain are filled from its beginning: each needs the one before."""
    sensor = build_gap_fill_sensor(
        target=world.asset, horizon=4, exclude_latest=0, retry_delay_s=0, clock=utc("2024-06-05").timestamp
    )
    for day in ("2024-06-01", "2024-06-02", "2024-06-03", "2024-06-04"):
        requests = world.sense(sensor)
        assert [asked(request) for request in requests] == [(day, day)]
        assert world.run(requests[0], sensor)
    assert "No gaps" in world.sense(sensor)
    assert world.stored()["value"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_other_policies_are_refused(world):
    """multi_run(7) is neither a single run nor one partition per run; the error says what to use."""
    with pytest.raises(ConfigurationError, match=r"single_run\(\), as @temporis_asset does, or multi_run\(1\)"):
        build_trailing_window_schedule(target=total_of(backfill_policy=dg.BackfillPolicy.multi_run(7)), lookback=3)
