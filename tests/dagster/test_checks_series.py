"""Series checks, through real Dagster runs: gaps, freshness, presence, bounds; nothing is loaded or written."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import (
    ConfigurationError,
    DataSource,
    TemporisIOManager,
    TemporisResource,
    build_series_checks,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.checks import freshness
from temporis_dagster.checks.series_data import by_series
from temporis_dagster.checks.spacing import Spacing
from temporis_dagster.testing import FakeService
from temporis_dagster.write_options import OwnSeries

NOON = 1_718_884_800  # 2024-06-20 12:00 UTC
HOUR = timedelta(hours=1)
FRESHNESS, GAPS = "observation_freshness_check", "observation_gaps_check"
PRESENCE, BOUNDS = "expected_series_check", "observation_bounds_check"


def writer(data=None, data_source="store_metrics", name="write", **arguments):
    @temporis_asset(data_source=data_source, name=name, **arguments)
    def write():
        return data() if callable(data) else data

    return write


def hourly(*hours, name="orders", value=1.0):
    """Observations at these hours before noon."""
    stamps = [NOON - int(hour * 3600) for hour in hours]
    return pd.DataFrame({"timestamp": stamps, "name": name, "value": value})


def definitions(url, assets, checks, token=None):
    temporis = TemporisResource(url=url, token=token)
    return dg.Definitions(
        assets=[*assets, data_source_spec("store_metrics")],
        asset_checks=checks,
        jobs=[
            dg.define_asset_job("everything"),
            dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks)),
            dg.define_asset_job("writers", selection=dg.AssetSelection.assets(*assets).without_checks()),
        ],
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        executor=dg.in_process_executor,
    )


def run(defs, job="checks", instance=None, **arguments):
    arguments = {"raise_on_error": False, "instance": instance, **arguments}
    return defs.resolve_job_def(job).execute_in_process(**arguments)


def checked(url, *assets, instance=None, token=None, now=NOON, **expected):
    """Run the checks alone, at noon; the evaluations by asset and name, or by name where there is one asset."""
    assets = assets or (writer(),)
    checks = build_series_checks(assets=assets, clock=lambda: now, **expected)
    result = run(definitions(url, assets, checks, token), instance=instance)
    assert result.success
    said = {(one.asset_key.path[-1], one.check_name): one for one in result.get_asset_check_evaluations()}
    return said if len(assets) > 1 else {name: one for (_, name), one in said.items()}


def plain(evaluation):
    return {key.removeprefix("temporis/"): entry.value for key, entry in evaluation.metadata.items()}


def rows(evaluation, kind):
    return [record.data for record in plain(evaluation)[f"{kind}_rows"].records]


# Gaps


def test_gaps_are_found_and_shown(url, source):
    """Neighbours further apart than the interval are a gap; the longest come first, and the metadata say what to do."""
    source.upsert(hourly(0, 1, 2, 5, 6, 8))
    said = checked(url, expected_interval=HOUR)[GAPS]
    assert (said.passed, said.severity, said.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert rows(said, "gap") == [
        {"series": "orders", "from": "2024-06-20T07:00:00+00:00", "to": "2024-06-20T10:00:00+00:00", "length_s": 10800},
        {"series": "orders", "from": "2024-06-20T04:00:00+00:00", "to": "2024-06-20T06:00:00+00:00", "length_s": 7200},
    ]
    shown = plain(said)
    assert (shown["gap_count"], shown["observations"], shown["dagster/uri"]) == (2, 6, source.url)
    assert shown["found"] == "2 gaps in 6 observations of 1 series within the last 7 days"
    assert shown["what_to_do"].startswith("Backfill")
    source.upsert(hourly(3, 4, 7))
    assert checked(url, expected_interval=HOUR)[GAPS].passed


def test_a_series_that_ended_before_the_others_has_a_gap(url, source):
    """A series that ended is found by the newest observation of the asset; if all series are late, there is no gap."""
    source.upsert(pd.concat([hourly(4, 5, 6), hourly(6, name="dead"), hourly(4, 5, 6, name="fine")]))
    said = checked(url, expected_interval=HOUR)[GAPS]
    assert [(row["series"], row["length_s"]) for row in rows(said, "gap")] == [("dead", 7200)]


def test_only_the_horizon_is_looked_at(url, source):
    """Gaps before the horizon, and times still to come, are left alone; both ends of the horizon belong to it."""
    source.upsert(hourly(0, 1, 2, 3, 9, -5))
    assert checked(url, expected_interval=HOUR, horizon=3 * HOUR)[GAPS].passed
    said = checked(url, expected_interval=HOUR, horizon=9 * HOUR)[GAPS]
    assert [row["length_s"] for row in rows(said, "gap")] == [6 * 3600]
    assert plain(said)["observations"] == 5


def test_no_observations_are_no_gap_but_a_warning(url, source):
    """If there is nothing within the horizon, nothing is found, and the metadata say so."""
    source.upsert(hourly(24 * 30))
    said = checked(url, expected_interval=HOUR)[GAPS]
    assert said.passed
    assert plain(said)["warning"].startswith("There are no observations within the last 7 days")


@pytest.mark.parametrize(("series", "gaps"), [(["orders"], 0), ("a_", 2), (None, 3)])
def test_only_the_own_series_of_an_asset_are_looked_at(url, source, series, gaps):
    """Exact names, a prefix, or everything: gaps of other assets in a shared data source are not counted."""
    source.upsert(
        pd.concat([hourly(0, 1, 2), hourly(0, 2, name="a_1"), hourly(0, 3, name="a_2"), hourly(0, 4, name="b_1")])
    )
    assert plain(checked(url, writer(series=series), expected_interval=HOUR)[GAPS]).get("gap_count", 0) == gaps


stamps = st.lists(st.integers(-50, 50), unique=True, max_size=12)


def long_frame(series):
    """What a read gives: sorted by (timestamp, name)."""
    triples = sorted(
        (stamp, name, float(value)) for name, all_of in series.items() for value, stamp in enumerate(all_of)
    )
    frame = pd.DataFrame(triples, columns=["timestamp", "name", "value"]).astype({"timestamp": "int64"})
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True).dt.as_unit("s"))


@given(
    st.dictionaries(st.sampled_from(["a", "b", "ü", "a'b"]), stamps), st.integers(1, 30), st.sets(st.sampled_from("ab"))
)
def test_gaps_are_those_of_the_definition(series, interval_s, own):
    """For any observations: gaps are between neighbours of a series, and between its last one and the newest of all."""
    series = {name: sorted(all_of) for name, all_of in series.items() if all_of}
    newest = max((all_of[-1] for name, all_of in series.items() if name in own), default=0)
    expected = {
        (name, start, end)
        for name, all_of in series.items()
        for start, end in zip(all_of, [*all_of[1:], newest], strict=True)
        if name in own and end - start > interval_s
    }
    seen = by_series(long_frame(series)).of(OwnSeries(names=tuple(own)))
    gaps = seen.gaps([Spacing(timedelta(seconds=interval_s))] * len(seen.names))
    seconds = [gaps[column].astype("int64") for column in ("from", "to")]
    assert set(zip(gaps["series"], *seconds, strict=True)) == expected
    assert gaps["length_s"].tolist() == sorted((end - start for _, start, end in expected), reverse=True)


# Bounds


def test_values_out_of_bounds_are_shown_newest_first(url, source):
    """Both bounds are inclusive; a series without bounds may have any value."""
    source.upsert(pd.concat([hourly(0, 1, 2, 3, value=[100.0, 0.0, 100.5, -0.5]), hourly(0, name="free", value=1e9)]))
    said = checked(url, bounds={"orders": (0, 100)})[BOUNDS]
    assert not said.passed
    assert rows(said, "out_of_bounds") == [
        {
            "series": "orders",
            "timestamp": f"2024-06-20T{hour}:00:00+00:00",
            "value": value,
            "low": "0.0",
            "high": "100.0",
        }
        for hour, value in (("10", "100.5"), ("09", "-0.5"))
    ]
    assert checked(url, bounds={"orders": (-0.5, None), "free": (None, 1e9)})[BOUNDS].passed


def test_bounds_of_a_series_that_nobody_saw_are_a_warning(url, source):
    """A misspelt name does not pass in silence."""
    source.upsert(hourly(0))
    said = checked(url, bounds={"order": (0, 100)})[BOUNDS]
    assert said.passed
    assert plain(said)["warning"].startswith("There are no observations of 'order'")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), stamps), st.integers(-1, 6), st.integers(0, 6))
def test_out_of_bounds_is_what_lies_outside(series, low, above):
    """For any observations and bounds."""
    expected = {
        (name, stamp, float(value))
        for name, all_of in series.items()
        for value, stamp in enumerate(all_of)
        if (name == "a" and not low <= value <= low + above) or (name == "b" and value > low)
    }
    outside = by_series(long_frame(series)).outside({"a": (low, low + above), "b": (None, low)})
    found = zip(outside["series"], outside["timestamp"].astype("int64"), outside["value"], strict=True)
    assert set(found) == expected


# Expected series


def test_expected_series_must_be_there(url, source):
    """A series without an observation in the horizon is missing, by name."""
    source.upsert(pd.concat([hourly(0), hourly(24 * 8, name="old")]))
    said = checked(url, expected_series=["orders", "old", "new's"])[PRESENCE]
    assert not said.passed
    assert plain(said)["missing_series"] == ["old", "new's"]
    assert checked(url, expected_series=["orders", "old"], horizon=timedelta(days=9))[PRESENCE].passed


# Freshness: real materializations; the clock of the check moves, not the world's


def written(url, instance, *batches, **arguments):
    """Materialize the asset once for each batch of Unix seconds."""
    for batch in batches:
        frame = pd.DataFrame({"timestamp": [int(stamp) for stamp in batch], "name": "orders", "value": 1.0})
        assert run(definitions(url, [writer(frame)], []), "writers", instance, **arguments).success


def test_freshness_is_the_age_of_the_newest_observation(url, source, instance):
    """Green up to max_age, red after it, with the newest observation and its age."""
    newest = int(time.time()) - 60
    written(url, instance, [newest - 7200, newest])
    for age, passed in ((60, True), (3600, True), (3601, False)):
        said = checked(url, instance=instance, now=newest + age, max_age=HOUR)[FRESHNESS]
        assert said.passed is passed
        shown = plain(said)
        assert (shown["newest_observation"], shown["age_s"], shown["max_age"]) == (newest, age, "1 hour")
    assert "Materialize the newest partitions" in said.description


def test_a_backfill_of_old_data_does_not_turn_it_red(url, source, instance, monkeypatch):
    """No matter how many old days are written after the newest one, over several pages of events."""
    monkeypatch.setattr(freshness, "PAGE", 3)
    newest = int(time.time()) - 60
    written(url, instance, [newest], *([newest - 86_400 * day] for day in range(1, 8)))
    assert checked(url, instance=instance, now=newest + 60, max_age=HOUR)[FRESHNESS].passed
    stale = checked(url, instance=instance, now=newest + 7200, max_age=HOUR)[FRESHNESS]
    assert (stale.passed, plain(stale)["newest_observation"]) == (False, newest)


def test_a_time_to_come_does_not_look_fresh_for_ever(url, source, instance):
    """An observation later than its own materialization counts as of the materialization."""
    now = time.time()
    written(url, instance, [now + 86_400 * 300])  # less than the year that may be ahead
    assert checked(url, instance=instance, now=now + 1800, max_age=HOUR)[FRESHNESS].passed
    assert not checked(url, instance=instance, now=now + 7200, max_age=HOUR)[FRESHNESS].passed


def test_what_was_never_stored_is_not_fresh(url, source, instance):
    """Neither an asset that never ran, nor an empty frame, nor a dry run."""
    now = time.time()
    never = checked(url, instance=instance, max_age=HOUR)[FRESHNESS]
    assert (never.passed, plain(never)["found"]) == (False, "No materialization states which observations it stored")
    written(url, instance, [])
    assert not checked(url, instance=instance, now=now, max_age=HOUR)[FRESHNESS].passed
    dry = TemporisIOManager(temporis=TemporisResource(url=url, dry_run=True))
    frame = pd.DataFrame({"timestamp": [int(now)], "name": "orders", "value": 1.0})
    assert dg.materialize([writer(frame)], resources={"temporis_io_manager": dry}, instance=instance).success
    assert not checked(url, instance=instance, now=now, max_age=HOUR)[FRESHNESS].passed


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10)), max_size=12), st.integers(0, 100))
def test_the_newest_observation_is_the_greatest(events, fresh_from):
    """In any order of events: the latest time that is not after its event, or one that is recent enough."""
    clock, records = 0, []
    for last, wait in events:
        clock += wait
        records.append((clock, last))

    class Log:
        """An event log, newest first, three events per page."""

        def fetch_materializations(self, key, limit, cursor, ascending):
            assert not ascending
            newest_first = records[::-1]
            start = int(cursor or 0)
            page = [event(*one) for one in newest_first[start : start + 3]]
            return Page(page, str(start + 3), start + 3 < len(records))

    found = freshness.newest_observation(Log(), dg.AssetKey("a"), fresh_from)
    newest = max((min(stored, last) for stored, last in records), default=None)
    assert found == newest or (found is not None and found >= fresh_from and newest >= fresh_from)


class Page:
    def __init__(self, records, cursor, has_more):
        self.records, self.cursor, self.has_more = records, cursor, has_more


def event(stored, last):
    class Record:
        timestamp = float(stored)
        asset_materialization = dg.AssetMaterialization(
            "a", metadata={"temporis/last_observation": dg.MetadataValue.timestamp(float(last))}
        )

    return Record


# Over HTTP, and where something fails


def test_over_http_what_cannot_be_read_passes_with_a_warning_and_freshness_works(instance):
    """No read-back: gaps, bounds and expected series say that they were not checked; freshness needs no read."""
    newest = int(time.time()) - 60
    everything = {"expected_interval": HOUR, "bounds": {"orders": (0, 1)}, "expected_series": ["orders"]}
    with FakeService() as service:
        write = writer(pd.DataFrame({"timestamp": [newest], "name": "orders", "value": 5.0}))
        assert run(definitions(service.url, [write], [], service.token), "writers", instance).success
        at = {"instance": instance, "token": service.token, "max_age": HOUR, **everything}
        said = checked(service.url, now=newest + 60, **at)
        late = checked(service.url, now=newest + 7200, **at)
        assert len(service.requests) == 1, "a check made a request"
    assert {name: one.passed for name, one in said.items()} == dict.fromkeys([FRESHNESS, GAPS, PRESENCE, BOUNDS], True)
    assert not late[FRESHNESS].passed
    for name in (GAPS, PRESENCE, BOUNDS):
        assert plain(said[name])["warning"].startswith("Not checked: the data source has no read-back")
        assert plain(said[name])["dagster/uri"] == service.url
    assert "warning" not in plain(said[FRESHNESS])


def test_a_data_source_that_cannot_be_read_fails_its_own_checks_only(url, source, instance):
    """The others are checked; freshness, which reads nothing, too."""
    source.upsert(hourly(0, 1))
    assets = [writer(), writer(data_source="ghost", name="haunted")]
    said = checked(url, *assets, instance=instance, expected_interval=HOUR, max_age=HOUR)
    assert said["write", GAPS].passed
    assert not said["haunted", GAPS].passed
    assert "There is no data source 'ghost'" in plain(said["haunted", GAPS])["found"]
    assert plain(said["haunted", FRESHNESS])["found"] == "No materialization states which observations it stored"


def test_a_writer_that_fails_leaves_those_of_other_data_sources_checked(url, source):
    """In one run of everything, the checks of other assets do not wait for a writer that fails."""
    with connect(url) as temporis:
        temporis.create_data_source("other")
    assets = [writer(hourly(0)), writer(lambda: 1 / 0, data_source="other", name="broken")]
    defs = definitions(url, assets, build_series_checks(assets=assets, expected_series=["orders"], clock=lambda: NOON))
    result = run(defs, "everything")
    assert not result.success
    (said,) = result.get_asset_check_evaluations()
    assert (said.asset_key, said.passed) == (dg.AssetKey("write"), True)


# How they behave in Dagster


def test_a_red_check_blocks_nothing(url, source):
    """Also of severity ERROR: what depends on the writer runs, and the writer itself has run before it is checked."""

    @dg.asset(deps=["write"])
    def report(): ...

    write = writer(hourly(48))
    checks = build_series_checks(
        assets=[write],
        max_age=HOUR,
        expected_series=["orders", "revenue"],
        severity=dg.AssetCheckSeverity.ERROR,
        clock=lambda: NOON,
    )
    result = run(definitions(url, [write, report], checks), "everything")
    assert result.success
    assert [one.passed for one in result.get_asset_check_evaluations()] == [False, False]
    assert {one.severity for one in result.get_asset_check_evaluations()} == {dg.AssetCheckSeverity.ERROR}
    assert {event.asset_key.path[-1] for event in result.get_asset_materialization_events()} == {"write", "report"}


def test_the_run_that_brings_the_data_turns_it_green(url, source, instance):
    """In one run: the writer, then its checks, which see what it wrote."""
    now = int(time.time())
    write = writer(lambda: pd.DataFrame({"timestamp": [now - 60], "name": "orders", "value": 1.0}))
    checks = build_series_checks(assets=[write], max_age=HOUR, expected_series=["orders"])
    assert not any(one.passed for one in run(definitions(url, [write], checks)).get_asset_check_evaluations())
    result = run(definitions(url, [write], checks), "everything", instance)
    assert [one.passed for one in result.get_asset_check_evaluations()] == [True, True]


def test_reads_each_data_source_once_and_only_what_is_asked(url, source, monkeypatch):
    """Two assets with three checks each: one read of the series that matter; freshness alone reads nothing."""
    source.upsert(pd.concat([hourly(0, 1), hourly(0, 1, name="revenue"), hourly(0, name="noise")]))
    reads, read = [], DataSource.read
    monkeypatch.setattr(DataSource, "read", lambda self, *bounds: reads.append(bounds) or read(self, *bounds))
    assets = [writer(series=["orders", "revenue"]), writer(series=["orders", "returns"], name="second")]
    checked(url, *assets, expected_interval=HOUR, expected_series=["orders"], bounds={"orders": (0, 1)}, max_age=HOUR)
    assert reads == [(NOON - 7 * 86_400, NOON + 1, ["orders", "returns", "revenue"])]
    reads.clear()
    checked(url, *assets, bounds={"orders": (0, 1)}, horizon=HOUR)
    assert reads == [(NOON - 3600, NOON + 1, ["orders"])]
    reads.clear()
    checked(url, *assets, max_age=HOUR)
    assert reads == []


def test_one_check_can_be_run_by_itself(url, source):
    """The UI's button on one check evaluates only that check."""
    source.upsert(hourly(0, 2))
    checks = build_series_checks(
        assets=[writer()], expected_interval=HOUR, expected_series=["orders"], clock=lambda: NOON
    )
    defs = definitions(url, [writer()], checks)
    one = dg.AssetCheckKey(dg.AssetKey("write"), GAPS)
    job = dg.Definitions(jobs=[dg.define_asset_job("one", selection=dg.AssetSelection.checks(one))])
    result = run(dg.Definitions.merge(defs, job), "one")
    assert [said.asset_check_key for said in result.get_asset_check_evaluations()] == [one]


def test_checking_writes_nothing_and_loads_nothing(url, source, monkeypatch):
    """No transaction changes the file, and no IO manager is asked."""
    source.upsert(hourly(0, 2))
    write = writer()
    checks = build_series_checks(
        assets=[write],
        max_age=HOUR,
        expected_interval=HOUR,
        expected_series=["orders"],
        bounds={"orders": (0, 1)},
    )
    defs = definitions(url, [write], checks)
    for asked in ("load_input", "handle_output"):
        monkeypatch.setattr(TemporisIOManager, asked, lambda *_arguments: 1 / 0)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as watching:
        before = source.content_digest(), watching.execute("PRAGMA data_version").fetchone()
        assert len(run(defs).get_asset_check_evaluations()) == 4
        assert (source.content_digest(), watching.execute("PRAGMA data_version").fetchone()) == before


def test_several_calls_live_side_by_side(url, source):
    """The steps of different calls have different names, also for the same data source."""
    checks = [
        *build_series_checks(assets=[writer(name="a")], expected_series=["orders"]),
        *build_series_checks(assets=[writer(name="b")], expected_series=["orders"]),
        *build_series_checks(assets=[writer(name="b")], max_age=HOUR),
    ]
    assert len({check.op.name for check in checks}) == 3
    result = run(definitions(url, [writer(name="a"), writer(name="b")], checks))
    assert len(result.get_asset_check_evaluations()) == 3


def homeless():
    @dg.asset
    def orders(): ...

    return orders


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "There is no expectation to check"),
        ({"max_age": 3600}, "max_age must be a timedelta of at least one second, got 3600"),
        ({"max_age": timedelta(0)}, "max_age"),
        ({"expected_interval": -HOUR}, "expected_interval"),
        ({"max_age": HOUR, "horizon": None}, "horizon must be a timedelta"),
        ({"expected_interval": timedelta(days=7)}, "Pass a longer horizon"),
        ({"bounds": {"orders": (1, 0)}}, "must be the lowest and the highest allowed value"),
        ({"bounds": {"orders": (None, None)}}, "must be the lowest and the highest allowed value"),
        ({"bounds": {"orders": 5}}, "must be the lowest and the highest allowed value"),
        ({"bounds": {"orders": (0, np.inf)}}, "must be the lowest and the highest allowed value"),
        ({"bounds": {"": (0, 1)}}, "cannot name a series"),
        ({"expected_series": "orders"}, "a list"),
        ({"expected_series": ["returns"]}, "never writes 'returns'"),
        ({"max_age": HOUR, "assets": [homeless()]}, "does not name its data source"),
        ({"max_age": HOUR, "assets": ["orders"]}, "must be asset definitions"),
        ({"max_age": HOUR, "assets": []}, "no asset"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments, words):
    """A mistake shows when the code is loaded."""
    with pytest.raises(ConfigurationError, match=words):
        build_series_checks(**{"assets": [writer(series=["orders"])], **arguments})
