"""Inputs that ask for some series of the upstream asset, by its metadata, and for partitions of any kind."""

import re

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import ConfigurationError, TemporisIOManager, data_source_spec, temporis_asset
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.input_options import narrowed
from temporis_dagster.write_options import OwnSeries
from tests.support.dagster_harness import key_range
from tests.support.io_manager_tools import SOURCE, failure

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `allow_nonexistent:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-04")
ZONES = dg.StaticPartitionsDefinition(["N", "S"])
FILES = dg.DynamicPartitionsDefinition(name="files")
DAY_ZONE = dg.MultiPartitionsDefinition({"zone": ZONES, "date": DAYS})
COLUMNS = ["load_N", "load_S", "price_N", "price_S"]


def two_hours(*columns, start="2024-06-01"):
    return pd.DataFrame(dict.fromkeys(columns, 1.0), index=pd.date_range(start, periods=2, freq="h", tz="UTC"))


def written(series, partitions_def=None, make=lambda _key: two_hours(*COLUMNS), name="load"):
    @temporis_asset(data_source=SOURCE, name=name, series=series, partitions_def=partitions_def)
    def load(context: dg.AssetExecutionContext):
        return make(context.partition_key if partitions_def else None)

    return load


def reader(got, metadata, annotation=pd.DataFrame, partitions_def=None, mapping=None, upstream="load"):
    def read(frame) -> None:
        got.append(frame)

    read.__annotations__["frame"] = annotation
    asset_in = dg.AssetIn(upstream, metadata=metadata, partition_mapping=mapping)
    return dg.asset(name="reader", partitions_def=partitions_def, ins={"frame": asset_in})(read)


def names(frame):
    return sorted(frame["name"].unique())


def read_with(project, load, metadata, **arguments):
    """What a reader with this metadata gets from the asset, which is written before."""
    got = []
    assert project.run(load).success
    read = reader(got, metadata, **arguments)
    assert project.run(load, read, selection=[read]).success
    return got[0]


# Some of the asset's series


@pytest.mark.parametrize(
    ("own", "asked", "read"),
    [
        (None, {"temporis/series": ["load_N"]}, ["load_N"]),
        (None, {"columns": ["load_N", "price_S"]}, ["load_N", "price_S"]),
        (None, {"temporis/series": "price_"}, ["price_N", "price_S"]),
        (None, {"temporis/series": dg.MetadataValue.json(["load_S"])}, ["load_S"]),
        (COLUMNS, {"temporis/series": ["load_S", "load_N", "load_N"]}, ["load_N", "load_S"]),
        (COLUMNS, {"temporis/series": "load_"}, ["load_N", "load_S"]),
        (COLUMNS, {"not ours": "temporis/series", "allow_missing_partitions": False}, COLUMNS),
    ],
)
def test_an_input_reads_the_series_that_it_asks_for(project, own, asked, read):
    """By exact names or a prefix, as temporis/series or, as in Dagster's database IO managers, as columns."""
    frame = read_with(project, written(own), asked)
    assert (names(frame), len(frame)) == (read, 2 * len(read))


def test_only_those_series_are_asked_for(project, monkeypatch):
    """A series of a hundred costs no read of the others."""
    asked_for = []
    read = DataSource.rows

    def noting(self, start=None, end=None, names=None, **arguments):
        asked_for.append(names)
        return read(self, start, end, names, **arguments)

    monkeypatch.setattr(DataSource, "rows", noting)
    read_with(project, written(None), {"columns": ["load_N"]})
    assert [list(names) for names in asked_for] == [["load_N"]]


@given(
    st.one_of(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1), st.text("ab", max_size=2)),
    st.one_of(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1), st.text("ab", max_size=2)),
    st.text("ab", min_size=1, max_size=4),
)
def test_what_is_read_is_what_both_have(own, asked, name):
    """Names or prefixes on either side: a series is read exactly if it is the asset's own and asked for."""
    one, other = (
        OwnSeries(prefixes=(each,)) if isinstance(each, str) else OwnSeries(names=tuple(each)) for each in (own, asked)
    )
    assert (name in narrowed(one, other)) == (name in one and name in other)


def test_a_name_without_observations_is_warned_of(project):
    """It may be misspelt: the frame lacks it, so the log says so."""
    got, load = [], written("load_", make=lambda _: two_hours("load_N"))
    assert project.run(load).success
    for annotation in (pd.DataFrame,):
        result = project.run(load, reader(got, {"columns": ["load_N", "load_S"]}, annotation), selection=["reader"])
        assert result.success
        assert any("There are no observations of 'load_S'" in said for said in project.logged(result))
    assert names(got[0]) == ["load_N"]


def test_a_value_loaded_in_a_notebook_can_be_narrowed(project):
    """Dagster's load_asset_value takes the same metadata."""
    load = written(None)
    assert project.run(load).success
    defs = dg.Definitions(
        assets=[load], resources={"temporis_io_manager": TemporisIOManager(temporis=project.temporis)}
    )
    with defs.get_asset_value_loader(project.instance) as loader:
        frame = loader.load_asset_value("load", input_definition_metadata={"columns": ["price_N"]})
    assert names(frame) == ["price_N"]


# Templates


@pytest.mark.parametrize("annotation", [pd.DataFrame, dict[str, pd.DataFrame]])
def test_a_template_narrows_each_partition(project, annotation):
    """Of load and price of each zone, the prices of those that are read."""

    def make(key):
        day, zone = str(key).split("|")
        return two_hours(f"load_{zone}", f"price_{zone}", start=day)

    load, got = written(["load_{zone}", "price_{zone}"], DAY_ZONE, make), []
    for key in DAY_ZONE.get_partition_keys():
        assert project.run(load, partition_key=key).success
    by_zone = dg.MultiToSingleDimensionPartitionMapping("zone")
    read = reader(got, {"temporis/series": ["price_{zone}"]}, annotation, ZONES, by_zone)
    assert project.run(load, read, selection=[read], partition_key="S").success
    frames = got[0].values() if annotation is not pd.DataFrame else got
    assert {name for frame in frames for name in names(frame)} == {"price_S"}
    assert sum(map(len, frames)) == 6
    prefix = reader(got, {"temporis/series": "load_"}, partitions_def=ZONES, mapping=by_zone)
    assert project.run(load, prefix, selection=[prefix], partition_key="N").success
    assert (names(got[1]), len(got[1])) == (["load_N"], 6)


def test_lists_of_materializations_are_narrowed(project):
    """Without a template of the writer, too."""
    load, got = written(None, ZONES, lambda zone: two_hours(f"load_{zone}", f"price_{zone}")), []
    for zone in "NS":
        assert project.run(load, partition_key=zone).success
    read = reader(got, {"temporis/series": ["price_N", "price_S"]}, partitions_def=ZONES)
    assert project.run(load, read, selection=[read], partition_key="S").success
    assert names(got[0]) == ["price_S"]


# What is refused before anything is read

REFUSED = {
    "misspelt": (
        {"temporis/seriess": ["load_N"]},
        "'temporis/seriess' is not an option of an input. Did you mean 'tempo",
    ),
    "of an asset": ({"temporis/timezone": "UTC"}, "An input may have: temporis/series, columns, allow_mi"),
    "twice": ({"temporis/series": ["load_N"], "columns": ["load_N"]}, "Pass only one of them"),
    "not a string": ({"temporis/series": ["load_N", 7]}, "a series name must be a string, got int"),
    "no names": ({"columns": []}, "columns of the input's metadata: .* it names no series"),
    "None": ({"temporis/series": None}, "must be a list of exact names, or a prefix, got None"),
    "a number": ({"temporis/series": 7}, "Pass a list of exact names, or a prefix"),
    "columns as text": ({"columns": "load_N"}, "columns of the input's metadata must be a list of exact names, got 'l"),
    "a brace": ({"columns": ["load_{"]}, "Double braces that belong to the name"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_metadata_that_cannot_be_meant_are_refused(project, fault):
    """When the code is loaded where @temporis_asset reads, in the run where another asset does."""
    metadata, said = REFUSED[fault]
    ins = {"load": dg.AssetIn(metadata=metadata)}
    with pytest.raises(ConfigurationError, match=said):
        temporis_asset(data_source=SOURCE, ins=ins)(lambda load: load)
    load = written(COLUMNS)
    assert project.run(load).success
    read = reader([], metadata)
    refused = failure(project.run(load, read, selection=[read]))
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refused)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [(["load_N", "wind"], "'wind'"), ("wind_", "those that start with 'wind_'"), (["value"], "'value'")],
)
def test_series_of_others_are_refused(project, monkeypatch, asked, shown):
    """Before anything is read: the message names them, the asset's own, and the way out."""
    load = written(COLUMNS)
    assert project.run(load).success
    monkeypatch.setattr(DataSource, "read", lambda *_, **__: pytest.fail("read something"))
    said = failure(project.run(load, read := reader([], {"temporis/series": asked}), selection=[read]))
    assert f"The input asks load for series that are not its own: {shown}." in said
    assert "Its 'temporis/series' are 'load_N', 'load_S', 'price_N', 'price_S'." in said
    assert "data_source_spec" in said


def test_where_nothing_is_materialized_yet_nothing_is_refused(project):
    """allow_missing_partitions and a series: an empty frame, before the first write."""
    load, got = written("load_{partition}/", ZONES), []
    read = reader(got, {"temporis/series": "load_N/", "allow_missing_partitions": True})
    assert project.run(load, read, selection=[read]).success
    assert len(got[0]) == 0


# Partitions of any kind


@pytest.mark.parametrize("kind", ["days", "static", "dynamic", "day and zone"])
@pytest.mark.parametrize("missing", [False, True])
def test_a_frame_per_partition_of_any_kind(project, instance, kind, missing):
    """dict[str, DataFrame]: each partition has its rows under Dagster's key; what is missing has no key."""
    instance.add_dynamic_partitions("files", ["b.csv", "a.csv"])
    partitions_def = {"days": DAYS, "static": ZONES, "dynamic": FILES, "day and zone": DAY_ZONE}[kind]

    def make(key):
        day, *zone = str(key).split("|")
        name, start = (f"load_{zone[0]}", day) if zone else ("load", day) if kind == "days" else (f"load_{day}", None)
        return two_hours(name, start=start or "2024-06-01")

    load, got = written(None, partitions_def, make), []
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        keys = list(map(str, partitions_def.get_partition_keys()))
    kept = keys[1:] if missing else keys
    for key in reversed(kept):
        assert project.run(load, partition_key=key).success
    read = reader(got, {"allow_missing_partitions": missing}, dict[str, pd.DataFrame])
    assert project.run(load, read, selection=[read]).success
    expected = {key: make(key).melt(ignore_index=False, var_name="name") for key in kept}
    assert list(got[0]) == list(expected)
    for key, frame in got[0].items():
        assert frame["name"].tolist() == expected[key]["name"].tolist()
        assert (frame["timestamp"].to_numpy() == expected[key].index.to_numpy()).all()


NEW_YORK = "America/New_York"
HOURLY = dg.HourlyPartitionsDefinition("2024-11-02-00:00", end_date="2024-11-05-00:00", timezone=NEW_YORK)
DAILY = dg.DailyPartitionsDefinition("2024-11-02", end_date="2024-11-05", timezone=NEW_YORK)
WEEKLY = dg.WeeklyPartitionsDefinition("2024-10-27", timezone=NEW_YORK)


@pytest.mark.parametrize(
    ("upstream", "downstream", "key", "hours"),
    [
        (HOURLY, DAILY, "2024-11-03", 25),
        (HOURLY, DAILY, "2024-11-04", 24),
        (DAILY, HOURLY, "2024-11-03-04:00", 25),
        (DAILY, WEEKLY, "2024-11-03", 49),  # its first two days; the others are to come
        (DAILY, None, None, 73),
    ],
)
def test_time_is_mapped_by_dagster_and_read_exactly(project, upstream, downstream, key, hours):
    """Hourly to daily, the long day of autumn included; daily to hourly; days to a week; narrowed and apart as well."""
    every = pd.date_range("2024-11-02", "2024-11-05", freq="h", tz=NEW_YORK, inclusive="left")
    frame = pd.DataFrame({"load": np.arange(73.0), "noise": 0.0}, index=every)

    @temporis_asset(data_source=SOURCE, name="load", partitions_def=upstream)
    def load():
        return frame

    keys, mapping = upstream.get_partition_keys(), None
    if downstream is not None:
        mapping = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    assert project.run(load, tags=key_range(keys[0], keys[-1])).success
    for annotation in (pd.DataFrame, dict[str, pd.DataFrame]):
        got = []
        read = reader(got, {"columns": ["load"], "allow_missing_partitions": True}, annotation, downstream, mapping)
        assert project.run(load, read, selection=[read], partition_key=key).success
        one = got[0] if annotation is pd.DataFrame else pd.concat(got[0].values())
        assert (len(one), names(one)) == (hours, ["load"])
        if downstream is DAILY:
            window = DAILY.time_window_for_partition_key(key)
            assert one["timestamp"].min() == pd.Timestamp(window.start)
            assert one["timestamp"].max() == pd.Timestamp(window.end) - pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("partitions_def", "days"),
    [(None, {1, 2, 3}), (DAYS, {2}), (DAY_ZONE, {2})],
    ids=["none", "days", "days and zones"],
)
def test_a_partitioned_asset_reads_a_data_source(project, partitions_def, days):
    """What other code writes: whole, unless the data source has partitions of its own, which map like any asset's."""
    frames = [two_hours("load_N", "load_S", start=f"2024-06-0{day}") for day in (1, 2, 3)]
    project.temporis.data_source("foreign").upsert(pd.concat(frames))
    series = {"temporis/series": ["load_{zone}"]} if partitions_def is DAY_ZONE else {}
    spec = data_source_spec(
        "foreign", io_manager_key="temporis_io_manager", partitions_def=partitions_def, metadata=series
    )
    mapping = dg.MultiToSingleDimensionPartitionMapping("date") if partitions_def is DAY_ZONE else None
    got = []
    read = reader(got, {"columns": ["load_N"]}, partitions_def=DAYS, mapping=mapping, upstream=spec.key)
    assert project.run(spec, read, selection=[read], partition_key="2024-06-02").success
    assert (names(got[0]), set(got[0]["timestamp"].dt.day)) == (["load_N"], days)


def test_hours_of_a_data_source_are_read_as_days(project):
    """An external asset of hours, a reader of days: 24 of them, as between assets."""
    hours = pd.date_range("2024-06-01", periods=72, freq="h", tz="UTC")
    project.temporis.data_source("foreign").upsert(pd.DataFrame({"load": np.arange(72.0)}, index=hours))
    hourly = dg.HourlyPartitionsDefinition("2024-06-01-00:00", end_date="2024-06-04-00:00")
    spec = data_source_spec("foreign", io_manager_key="temporis_io_manager", partitions_def=hourly)
    got = []
    read = reader(got, None, partitions_def=DAYS, upstream=spec.key)
    assert project.run(spec, read, selection=[read], partition_key="2024-06-02").success
    assert got[0]["value"].tolist() == list(range(24, 48))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("temporis/seriess", "Did you mean 'temporis/series'?"),
        ("temporis/time_zone", "Did you mean 'temporis/timezone'?"),
        ("temporis/x", "Use a prefix of your own"),
    ],
)
def test_a_misspelt_key_of_an_asset_is_refused(project, key, said):
    """It would have no effect: at load by the decorator and the data source, before anything is sent by the run."""
    for define in (temporis_asset, data_source_spec):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            define(data_source=SOURCE, metadata={key: ["load"]})

    @dg.asset(io_manager_key="temporis_io_manager", metadata={"temporis/data_source": SOURCE, key: ["load"]})
    def load():
        return two_hours("load")

    assert said in failure(project.run(load))
    assert SOURCE not in project.temporis.connection.data_sources()
