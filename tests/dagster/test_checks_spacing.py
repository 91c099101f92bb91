"""Gaps by the calendar and over clock changes, what is due, and what a check reports if it could not look."""

import time
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    TemporisIOManager,
    TemporisResource,
    build_archive_state_checks,
    build_series_checks,
    connect,
    data_source_spec,
    gated_selection,
    temporis_asset,
)
from temporis_dagster.checks.spacing import spacing
from temporis_dagster.testing import FakeService

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")
GAPS, FRESHNESS = "observation_gaps_check", "observation_freshness_check"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def connected():
    """Resources, closed at the end."""
    opened = []

    def make(**arguments):
        opened.append(TemporisResource(**arguments))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def far(expected, zone, *moments):
    """The number of neighbours that are too far apart."""
    stamps = np.array([int(pd.Timestamp(moment).timestamp()) for moment in moments])
    return int(spacing(expected, zone).too_far(stamps[:-1], stamps[1:]).sum())


def dates(start, end, freq, zone, without=()):
    return [day for day in pd.date_range(start, end, freq=freq, tz=zone) if f"{day:%Y-%m-%d}" not in without]


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
REGULAR = {  # the interval, the zone that is named, what regular data look like over a change of the clock
    "days of a zone that is not known": (DAY, None, dates("2024-10-20", "2024-11-10", "D", BERLIN)),
    "days of Lord Howe": (DAY, None, dates("2024-04-01", "2024-04-10", "D", "Australia/Lord_Howe")),
    "days in spring": (DAY, BERLIN, dates("2024-03-28", "2024-04-03", "D", BERLIN)),
    "days of the zone": (DAY, BERLIN, dates("2024-10-20", "2024-10-30", "D", BERLIN)),
    "weeks of New York": (7 * DAY, None, dates("2024-10-20", "2024-11-17", "W-SUN", NEW_YORK)),
    "calendar days": ("D", BERLIN, dates("2024-10-20", "2024-10-30", "D", BERLIN)),
    "business days": ("B", NEW_YORK, dates("2024-10-20", "2024-11-20", "B", NEW_YORK)),
    "Mondays": ("W-MON", BERLIN, dates("2024-10-01", "2024-11-20", "W-MON", BERLIN)),
    "weeks from a Wednesday": ("W", BERLIN, dates("2024-10-01", "2024-11-20", "W-WED", BERLIN)),
    "months": ("MS", BERLIN, dates("2024-01-01", "2024-12-31", "MS", BERLIN)),
    "quarters": (pd.offsets.QuarterBegin(startingMonth=1), "UTC", dates("2023-01-01", "2024-12-31", "QS", "UTC")),
    "business days but Christmas": (
        pd.offsets.CustomBusinessDay(holidays=["2024-12-25"]),
        *(BERLIN, dates("2024-12-20", "2024-12-31", "B", BERLIN, without=["2024-12-25"])),
    ),
    "six hours of a local clock": (6 * HOUR, None, ["2024-10-27T00:00+02:00", "2024-10-27T06:00+01:00"]),
    "hours of UTC": (HOUR, None, dates("2024-10-26", "2024-10-28", "h", "UTC")),
    "hours of a local clock, all of them": ("1h", BERLIN, dates("2024-10-26", "2024-10-28", "h", BERLIN)),
}


@pytest.mark.parametrize("case", REGULAR)
def test_regular_data_have_no_gap_whatever_the_clock_does(case):
    """Days of 25 hours, weekends, holidays and months are not gaps; but a missing observation is one."""
    expected, zone, moments = REGULAR[case]
    assert far(expected, zone, *moments) == 0
    if len(moments) > 2:
        middle = len(moments) // 2
        assert far(expected, zone, *moments[:middle], *moments[middle + 1 :]) == 1


@pytest.mark.parametrize(
    ("expected", "zone", "moments"),
    [
        (HOUR, BERLIN, ["2024-10-27T02:00+02:00", "2024-10-27T03:00+01:00"]),  # the second pass of the hour is missing
        (HOUR, None, ["2024-10-27T02:00+02:00", "2024-10-27T03:00+01:00"]),
        (6 * HOUR, None, ["2024-06-20T00:00Z", "2024-06-20T06:30Z"]),  # no clock goes back in June
        (DAY, "UTC", dates("2024-10-27", "2024-10-28", "D", BERLIN)),  # the zone that is named has no change
        (DAY, NEW_YORK, dates("2024-10-27", "2024-10-28", "D", BERLIN)),
        ("D", "UTC", dates("2024-10-27", "2024-10-28", "D", BERLIN)),
        ("B", BERLIN, ["2024-06-21T00:00+02:00", "2024-06-25T00:00+02:00"]),  # Monday is missing
    ],
)
def test_a_gap_is_found_all_the_same(expected, zone, moments):
    """More than the clock change explains is a gap."""
    assert far(expected, zone, *moments) == 1


@given(
    zone=st.sampled_from([BERLIN, NEW_YORK, "Australia/Lord_Howe", "Europe/London", "UTC"]),
    start=st.integers(0, 364),
    hours=st.sampled_from([2, 3, 4, 6, 8, 12, 24]),
    named=st.booleans(),
)
def test_a_grid_of_any_wall_clock_has_no_gaps(zone, start, hours, named):
    """Observations at the same local hours every day have no gap, at any time of the year, in any zone."""
    days = [
        datetime(2024, 1, 1) + timedelta(days=start + day, hours=hour)
        for day in range(4)
        for hour in range(0, 24, hours)
    ]
    moments = sorted({moment.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc) for moment in days})
    assert far(timedelta(hours=hours), zone if named else None, *moments) == 0
    if named:  # else a clock somewhere may have gone back while this one went forward
        assert far(timedelta(hours=hours), zone, moments[0], moments[2]) == 1


@pytest.mark.parametrize("said", ["soon", "15", 5, True, timedelta(0), "-1D", "0h", pd.offsets.BDay(0), "", "nan", []])
def test_what_is_no_interval_is_refused(said):
    """Refused when the code is loaded; the error says what may be passed."""
    with pytest.raises(ConfigurationError, match="expected_interval"):
        build_series_checks(assets=[data_source_spec("a")], expected_interval=said)


def test_the_zone_and_the_horizon_have_to_fit(url):
    """An unknown zone, and a horizon that is shorter than a calendar step."""
    with pytest.raises(ConfigurationError, match="Unknown time zone 'Mars/Olympus'"):
        build_series_checks(assets=[data_source_spec("a")], expected_interval="B", timezone="Mars/Olympus")
    with pytest.raises(ConfigurationError, match="Pass a longer horizon"):
        build_series_checks(assets=[data_source_spec("a")], expected_interval="MS")


def asset(frame=None, **options):
    @temporis_asset(**{"data_source": "src", "name": "w", **options})
    def write():
        return frame

    return write


def evaluated(url, instance, *assets, checks_only=True, now=None, resource=None, **expected):
    clock = time.time if now is None else lambda: pd.Timestamp(now).timestamp()
    checks = build_series_checks(assets=assets, clock=clock, **expected)
    writers = [one for one in assets if isinstance(one, dg.AssetsDefinition)]
    temporis = resource or TemporisResource(url=url)
    defs = dg.Definitions(
        assets=[*writers, data_source_spec("src")],
        asset_checks=checks,
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
    )
    if not checks_only:
        keys = [one.key for one in writers]
        dg.materialize(writers, resources=dict(defs.resources), selection=keys, instance=instance)
    result = defs.resolve_job_def("checks").execute_in_process(instance=instance)
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def metadata(evaluation):
    return {key.removeprefix("temporis/"): entry.value for key, entry in evaluation.metadata.items()}


def test_the_zone_of_a_calendar_is_that_of_the_partitions(url, instance):
    """Nothing has to be configured twice; the description of the check names the zone."""
    with connect(url) as temporis:
        days = pd.DatetimeIndex(dates("2024-10-24", "2024-10-30", "D", BERLIN))
        temporis.create_data_source("src").upsert(pd.DataFrame({"x": 1.0}, index=days))
    for zone, passed in ((BERLIN, True), ("UTC", False)):
        partitioned = asset(partitions_def=dg.DailyPartitionsDefinition("2024-10-01", timezone=zone))
        said = evaluated(url, instance, partitioned, expected_interval="D", now="2024-10-30T12:00Z")[GAPS]
        assert (said.passed, f"one step of D in {zone}" in metadata(said)["expected"]) == (passed, True)
    named = evaluated(url, instance, asset(), expected_interval="D", timezone=BERLIN, now="2024-10-30T12:00Z")[GAPS]
    assert named.passed


def hours_until(end, count=48):
    index = pd.date_range(end=end, periods=count, freq="h", tz="UTC", inclusive="left")
    return pd.DataFrame({"x": 1.0}, index=index)


def test_a_pipeline_that_is_dead_has_a_gap_where_partitions_are_due(url, instance):
    """The days before the newest complete one were due; without partitions that is unknown, and there is a warning."""
    with connect(url) as temporis:
        temporis.create_data_source("src").upsert(hours_until("2024-06-15"))
    days = asset(partitions_def=dg.DailyPartitionsDefinition("2024-06-01"))
    expected = {"expected_interval": HOUR, "expected_series": ["x"], "bounds": {"x": (0, 2)}}
    dead = evaluated(url, instance, days, now="2024-06-20T12:00Z", **expected)
    assert not dead[GAPS].passed
    (gap,) = [record.data for record in metadata(dead[GAPS])["gap_rows"].records]
    assert (gap["from"], gap["to"]) == ("2024-06-14T23:00:00+00:00", "2024-06-19T00:00:00+00:00")
    assert all("5 days 13 hours old" in metadata(one)["warning"] for one in dead.values())
    for late in ("2024-06-15T12:00Z", "2024-06-16T00:30Z"):
        assert evaluated(url, instance, days, now=late, **expected)[GAPS].passed
    without = evaluated(url, instance, asset(), now="2024-06-20T12:00Z", **expected)
    assert without[GAPS].passed
    assert "use max_age to check that" in metadata(without[GAPS])["warning"]
    over = evaluated(url, instance, days, now="2024-06-25T12:00Z", expected_interval=HOUR)[GAPS]
    assert (over.passed, "although partitions were due" in metadata(over)["found"]) == (False, True)
    ended = asset(partitions_def=dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-15"))
    assert evaluated(url, instance, ended, now="2024-06-20T12:00Z", expected_interval=HOUR)[GAPS].passed


def test_checks_of_a_data_source_itself(url, instance):
    """The external asset can be checked, no matter what writes there: its freshness is that of what it stores."""
    spec = data_source_spec("src")
    now = pd.Timestamp.now("UTC").floor("s")
    with connect(url) as temporis:
        source = temporis.create_data_source("src")
        assert not evaluated(url, instance, spec, max_age=HOUR)[FRESHNESS].passed
        source.upsert(pd.DataFrame({"x": 1.0}, index=[now - pd.Timedelta("2h")]))
        old = evaluated(url, instance, spec, max_age=HOUR, expected_series=["x"])
        assert [old[FRESHNESS].passed, old["expected_series_check"].passed] == [False, True]
        assert "is 2 hours" in metadata(old[FRESHNESS])["found"]
        source.upsert(pd.DataFrame({"x": 1.0}, index=[now]))
        assert evaluated(url, instance, spec, max_age=HOUR)[FRESHNESS].passed


def test_freshness_of_a_data_source_over_http_is_what_its_writers_report(instance, connected):
    """Without read-back, the writers' reports on its page count; without those, nothing can be known."""
    with FakeService(["src"]) as service:
        resource = connected(url=service.url, token=service.token)
        unknown = evaluated(None, instance, data_source_spec("src"), resource=resource, max_age=HOUR)[FRESHNESS]
        assert (unknown.passed, metadata(unknown)["warning"][:11]) == (True, "Not checked")
        frame = pd.DataFrame({"x": 1.0}, index=[pd.Timestamp.now("UTC").floor("s")])
        evaluated(None, instance, asset(frame), checks_only=False, resource=resource, max_age=HOUR)
        known = evaluated(None, instance, data_source_spec("src"), resource=resource, max_age=HOUR)[FRESHNESS]
        assert (known.passed, "second" in metadata(known)["found"]) == (True, True)


def test_what_waits_in_a_mirror_is_not_fresh_until_it_is_delivered(instance, connected, tmp_path):
    """Queued while the data source is archived: failed, with the number that waits. Flushed: passed, without a run."""
    with FakeService(["src"]) as service:
        mirror = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue"}
        resource = connected(url=service.url, token=service.token, **mirror)
        service.archive("src")
        frame = pd.DataFrame({"x": 1.0}, index=[pd.Timestamp.now("UTC").floor("s")])
        queued = evaluated(None, instance, asset(frame), checks_only=False, resource=resource, max_age=HOUR)[FRESHNESS]
        assert not queued.passed
        assert "1 observation waits in the mirror. Flush it" in metadata(queued)["what_to_do"]
        service.archive("src", archived=False)
        resource.data_source("src").flush()
        assert evaluated(None, instance, asset(frame), resource=resource, max_age=HOUR)[FRESHNESS].passed


def test_rows_that_the_service_refused_are_not_fresh(instance, connected):
    """``on_invalid="drop"`` and a service that refuses every row: nothing was stored, so nothing is new."""
    with FakeService(["src"], fault_of=lambda _record: "not today") as service:
        resource = connected(url=service.url, token=service.token)
        frame = pd.DataFrame({"x": 1.0}, index=[pd.Timestamp.now("UTC").floor("s")])
        dropping = asset(frame, on_invalid="drop")
        assert not evaluated(None, instance, dropping, checks_only=False, resource=resource, max_age=HOUR)[
            FRESHNESS
        ].passed


def test_an_archived_data_source_turns_no_other_check_red(url, instance):
    """The checks of its writer report that they were not evaluated; those of other writers are evaluated."""
    two = pd.DataFrame({"x": 1.0}, index=[pd.Timestamp.now("UTC").floor("h")])
    expected = {"max_age": 2 * HOUR, "expected_interval": HOUR, "expected_series": ["x"], "bounds": {"x": (0, 1)}}
    writers = [asset(two), asset(two, name="fine", data_source="other")]
    checks = build_series_checks(assets=writers, **expected)
    states = {"src": ArchiveState.ACTIVE, "other": ArchiveState.ACTIVE}
    temporis = TemporisResource(url=url)
    defs = dg.Definitions(
        assets=[*writers, *map(data_source_spec, states)],
        asset_checks=[*checks, *build_archive_state_checks(data_sources=states)],
        jobs=[dg.define_asset_job("gated", selection=gated_selection(*writers))],
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
    )
    with connect(url) as store:
        store.create_data_source("other")
        store.create_data_source("src").archive()
    run = defs.resolve_job_def("gated").execute_in_process(instance=instance, raise_on_error=False)
    assert not run.success
    keys = [key for definition in checks for key in definition.check_keys]
    assert len(keys) == 8
    for key in keys:
        evaluation = instance.get_latest_asset_check_evaluation_record(key).event.dagster_event.event_specific_data
        assert evaluation.passed
        said = metadata(evaluation).get("warning", "")
        assert said.startswith("Not checked: the archive check of data source 'src'") == (key.asset_key.path == ["w"])
