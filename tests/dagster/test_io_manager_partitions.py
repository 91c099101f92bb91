"""Partitions that time does not tell apart: each reads its own rows, and none silently overwrites another's."""

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import TemporisResource, temporis_asset
from temporis_dagster.data_source.observations import observe
from temporis_dagster.partition_parts import parts_of
from temporis_dagster.partition_windows import in_own_order
from temporis_dagster.writing import partition_series
from temporis_dagster.writing.written_series import series_by_part
from tests.support.dagster_harness import key_range, materializations
from tests.support.io_manager_tools import SOURCE, Project, failure

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-04")
ZONES = dg.StaticPartitionsDefinition(["N", "S", "East Side"])
DAY_ZONE = dg.MultiPartitionsDefinition({"zone": ZONES, "date": DAYS})
ONE_BY_ONE = dg.BackfillPolicy.multi_run(1)


def zone_of(key):
    return key.keys_by_dimension["zone"] if isinstance(key, dg.MultiPartitionKey) else key


def day_of(key):
    return key.keys_by_dimension["date"] if isinstance(key, dg.MultiPartitionKey) else "2024-06-01"


def frame_of(key, name="load_{}", start=None, hours=3):
    index = pd.date_range(start or day_of(key), periods=hours, freq="h", tz="UTC")
    return pd.DataFrame({name.format(zone_of(key)): np.arange(hours, dtype=float)}, index=index)


def writer(partitions_def, make=frame_of, **arguments):
    @temporis_asset(**{"data_source": SOURCE, "name": "load", "partitions_def": partitions_def, **arguments})
    def load(context: dg.AssetExecutionContext):
        return make(context.partition_key)

    return load


def reader(partitions_def=None, got=None, mapping=None, **arguments):
    ins = {"load": dg.AssetIn(partition_mapping=mapping)} if mapping else {}

    @dg.asset(name="reader", partitions_def=partitions_def, ins=ins, **arguments)
    def read(load) -> None:
        got.append(load)

    return read


def only(project, upstream, downstream, **arguments):
    """A run of the reader alone."""
    return project.run(upstream, downstream, selection=[downstream], **arguments)


def key(day, zone):
    return dg.MultiPartitionKey({"date": day, "zone": zone})


def names(frame):
    return sorted(frame["name"].unique())


# Reading: a partition's own rows


@pytest.fixture(params=["static", "dynamic", "day and zone", "two static dimensions"])
def kind(request, instance):
    """Partitions without time, or with another dimension next to it, and some of their keys."""
    instance.add_dynamic_partitions("zones", ["N", "S", "East Side"])
    if request.param == "static":
        return ZONES, ["N", "S"]
    if request.param == "dynamic":
        return dg.DynamicPartitionsDefinition(name="zones"), ["N", "S"]
    if request.param == "day and zone":
        return DAY_ZONE, [key("2024-06-01", "N"), key("2024-06-01", "S")]
    two = dg.MultiPartitionsDefinition({"zone": ZONES, "kind": dg.StaticPartitionsDefinition(["a", "b"])})
    return two, [dg.MultiPartitionKey({"zone": zone, "kind": "a"}) for zone in "NS"]


@pytest.fixture
def two_written(kind, project):
    partitions_def, keys = kind
    load = writer(partitions_def, lambda each: frame_of(each, start="2024-06-01"))
    for each in keys:
        assert project.run(load, partition_key=each).success
    return load, partitions_def, keys


def test_a_partition_reads_its_own_rows(project, two_written):
    """Not those of all partitions: sums would silently double."""
    load, partitions_def, keys = two_written
    got = []
    for each in keys:
        assert only(project, load, reader(partitions_def, got), partition_key=each).success
    assert [names(frame) for frame in got] == [["load_N"], ["load_S"]]
    assert [len(frame) for frame in got] == [3, 3]


def test_two_of_three_partitions_are_read_as_two(project):
    """A reader of several partitions has the rows of these, once each."""
    load, got = writer(ZONES), []
    for zone in ZONES.get_partition_keys():
        assert project.run(load, partition_key=zone).success
    some = dg.StaticPartitionMapping({"N": "both", "S": "both"})
    read = reader(dg.StaticPartitionsDefinition(["both"]), got, some)
    assert only(project, load, read, partition_key="both").success
    assert (names(got[0]), len(got[0])) == (["load_N", "load_S"], 6)


def test_all_partitions_are_read_without_a_question(project):
    """A reader without partitions has everything, whatever the materializations list."""
    load, got = writer(ZONES), []
    for zone in ZONES.get_partition_keys():
        assert project.run(load, partition_key=zone).success
    assert only(project, load, reader(got=got)).success
    assert names(got[0]) == ["load_East Side", "load_N", "load_S"]


@pytest.mark.parametrize("zone", ["N", "S"])
def test_a_zone_of_all_days_reads_that_zone(project, zone):
    """(day, zone) to zone: every day of it, and no other zone's rows."""
    load, got = writer(DAY_ZONE), []
    for day in DAYS.get_partition_keys():
        for each in ZONES.get_partition_keys():
            assert project.run(load, partition_key=key(day, each)).success
    read = reader(ZONES, got, dg.MultiToSingleDimensionPartitionMapping("zone"))
    assert project.run(load, read, selection=[read], partition_key=zone).success
    assert (names(got[0]), len(got[0])) == ([f"load_{zone}"], 9)
    daily = reader(DAYS, got, dg.MultiToSingleDimensionPartitionMapping("date"))
    assert project.run(load, daily, selection=[daily], partition_key="2024-06-02").success
    assert (len(names(got[1])), len(got[1])) == (3, 9)


def test_what_an_earlier_run_of_the_partition_wrote_is_still_its_own(project):
    """A partition that grows, run by run, is read whole: each materialization lists what the earlier ones did."""
    frames = [frame_of("N", start=f"2024-06-0{day}") for day in (1, 2)] + [frame_of("N", "peak_{}")]
    for frame in frames:
        assert project.run(writer(ZONES, lambda _key, frame=frame: frame), partition_key="N").success
    assert project.run(writer(ZONES), partition_key="S").success
    got = []
    assert only(project, writer(ZONES), reader(ZONES, got), partition_key="N").success
    assert (names(got[0]), len(got[0])) == (["load_N", "peak_N"], 9)


def test_partitions_of_one_series_at_times_of_their_own(project, instance):
    """A file per week, all of one series: each is read as the time that it covers, and none conflicts."""
    instance.add_dynamic_partitions("files", ["a.csv", "b.csv"])
    files = dg.DynamicPartitionsDefinition(name="files")
    starts = {"a.csv": "2024-06-01", "b.csv": "2024-06-08"}
    load = writer(files, lambda file: frame_of(file, "temperature", start=starts[file], hours=24))
    got = []
    for file in starts:
        assert project.run(load, partition_key=file).success
    for file in starts:
        assert only(project, load, reader(files, got), partition_key=file).success
    assert [frame["timestamp"].dt.day.unique().tolist() for frame in got] == [[1], [8]]


def test_a_range_whose_names_say_whose_they_are_is_read_apart(project):
    """One run over several zones: each series has exactly one zone in its name, as a word."""
    zones = dg.StaticPartitionsDefinition(["N", "NE", "S"])
    frame = pd.concat([frame_of(zone, "load_{}") for zone in ("N", "NE", "S")], axis=1)
    load, got = storing_range(zones, frame), []
    assert project.run(load, tags=key_range("N", "S")).success
    for zone in ("N", "NE"):
        assert only(project, load, reader(zones, got), partition_key=zone).success
    assert [names(frame) for frame in got] == [["load_N"], ["load_NE"]]


def storing_range(partitions_def, frame, **arguments):
    @temporis_asset(data_source=SOURCE, name="load", partitions_def=partitions_def, **arguments)
    def load():
        return frame

    return load


def test_a_range_whose_names_do_not_say_it_is_refused_to_a_part(project):
    """It is unknown whose rows they are: the failure says so, and what to do; reading them together is fine."""
    frame = pd.concat([frame_of("N", "demand"), frame_of("S", "supply")], axis=1)
    load, got = storing_range(ZONES, frame), []
    assert project.run(load, tags=key_range("N", "S")).success
    refused = only(project, load, reader(ZONES, got), partition_key="N")
    assert "it is unknown which rows belong to N" in failure(refused)
    assert "backfill_policy=dg.BackfillPolicy.multi_run(1)" in failure(refused)
    both = reader(dg.StaticPartitionsDefinition(["x"]), got, dg.StaticPartitionMapping({"N": "x", "S": "x"}))
    assert project.run(load, both, selection=[both], partition_key="x").success
    assert names(got[0]) == ["demand", "supply"]


def test_what_was_reported_by_hand_keeps_the_list_of_the_run_before(project, instance):
    """A partition marked as materialized in the UI lists nothing: the list of its last run is still known."""
    load, got = writer(ZONES), []
    for zone in "NS":
        assert project.run(load, partition_key=zone).success
    instance.report_runless_asset_event(dg.AssetMaterialization("load", partition="N"))
    assert only(project, load, reader(ZONES, got), partition_key="N").success
    assert names(got[0]) == ["load_N"]
    instance.report_runless_asset_event(dg.AssetMaterialization("load", partition="East Side"))
    assert "reported by hand" in failure(only(project, load, reader(ZONES, got), partition_key="East Side"))


def test_more_series_than_a_materialization_lists_are_refused_to_a_part(project, monkeypatch):
    """The list would be too long to keep permanently; nothing is guessed."""
    monkeypatch.setattr(partition_series, "MOST_LISTED", 1)
    load = writer(ZONES, lambda zone: frame_of(zone).assign(other=1.0).rename(columns={"other": f"other_{zone}"}))
    result = project.run(load, partition_key="N")
    assert "temporis/series" not in materializations(result, "load")["N"]
    refused = only(project, load, reader(ZONES, []), partition_key="N")
    assert "more series than a materialization lists" in failure(refused)


@pytest.mark.parametrize("partitions_def", [ZONES, DAY_ZONE], ids=["static", "day and zone"])
def test_a_run_over_many_partitions_lists_the_series_of_each_apart(project, monkeypatch, partitions_def):
    """One list of all would be too long for each of thousands of materializations: each has its own."""
    monkeypatch.setattr(partition_series, "MOST_LISTED", 2)
    keys = list(map(str, partitions_def.get_partition_keys()))

    @temporis_asset(data_source=SOURCE, partitions_def=partitions_def)
    def load(context: dg.AssetExecutionContext):
        return pd.concat([frame_of(key).melt(ignore_index=False, var_name="name") for key in context.partition_keys])

    for _ in range(2):
        result = project.run(load, tags=key_range(keys[0], keys[-1]))
        assert result.success
    lists = {key: said["temporis/series"] for key, said in materializations(result, "load").items()}
    assert {key: list(each) for key, each in lists.items()} == {key: [key.split("|")[-1]] for key in keys}
    got = []
    assert only(
        project, load, reader(partitions_def, got), partition_key=partitions_def.get_partition_keys()[-1]
    ).success
    assert names(got[0]) == [f"load_{keys[-1].split('|')[-1]}"]
    alone = writer(partitions_def, lambda key: frame_of(key, "load_N"))
    assert "also written by partition" in failure(
        project.run(alone, partition_key=partitions_def.get_partition_keys()[-1])
    )


def test_what_is_left_out_of_a_partition_is_said_in_the_log(project):
    """outside_partition='drop' may leave nothing to store: a green run that says so, not only in its metadata."""
    load = writer(DAYS, lambda day: frame_of(day, "load", "2024-07-01"), outside_partition="drop")
    result = project.run(load, partition_key="2024-06-01")
    assert result.success
    assert any("3 of 3 observations lie outside" in said for said in project.logged(result))


def test_a_dry_run_of_a_partition_changes_nothing_of_what_is_known(project):
    """A dry run lists nothing, and hides nothing that was listed."""
    load, got = writer(ZONES), []
    for zone in "NS":
        assert project.run(load, partition_key=zone).success
    dry = Project(TemporisResource(url=project.temporis.url, dry_run=True), project.instance)
    assert "temporis/series" not in materializations(dry.run(load, partition_key="N"), "load")["N"]
    assert only(project, load, reader(ZONES, got), partition_key="N").success
    assert names(got[0]) == ["load_N"]


def test_another_data_source_starts_a_list_of_its_own(project):
    """What the partition wrote elsewhere earlier is neither its own here nor a conflict."""
    before, after = writer(ZONES, data_source="before"), writer(ZONES, lambda _key: frame_of("N", "load"))
    for zone in "NS":
        assert project.run(before, partition_key=zone).success
    result = project.run(after, partition_key="N")
    assert materializations(result, "load")["N"]["temporis/series"] == {"N": {"load": [1_717_200_000, 1_717_207_200]}}


# Writing: what another partition wrote


def temperature(each):
    return frame_of(each, "temperature", start="2024-06-01")


def test_two_partitions_that_write_the_same_rows(project, kind):
    """The second is refused before anything is sent, names the series and the other one, and says what to do."""
    partitions_def, keys = kind
    load = writer(partitions_def, temperature, retry_policy=dg.RetryPolicy(max_retries=3))
    assert project.run(load, partition_key=keys[0]).success
    before = project.read()
    refused = project.run(load, partition_key=keys[1])
    assert f"'temperature' was also written by partition {str(keys[0])!r}" in failure(refused)
    assert "f'temperature_{context.partition_key}'" in failure(refused)
    assert "outside_partition='allow'" in failure(refused)
    assert not refused.retry_attempts_for_node("load")
    pd.testing.assert_frame_equal(project.read(), before)


def test_the_same_partition_again_is_no_conflict(project, kind):
    """A partition may write its own rows as often as it likes, also after its neighbours."""
    partitions_def, keys = kind
    load = writer(partitions_def, lambda each: frame_of(each, start="2024-06-01"))
    for each in [*keys, *keys]:
        assert project.run(load, partition_key=each).success


def test_overwriting_on_request_is_a_warning(project, kind):
    """With outside_partition='allow', the run is green, with a warning in the log and on the partition's page."""
    partitions_def, keys = kind
    load = writer(partitions_def, temperature, outside_partition="allow")
    assert project.run(load, partition_key=keys[0]).success
    result = project.run(load, partition_key=keys[1])
    assert result.success
    (page,) = materializations(result, "load").values()
    assert "'temperature' was also written by partition" in page["temporis/warning"]
    assert [line for line in project.logged(result) if "overwrite each other's rows" in line]


@pytest.mark.parametrize("mode", ["raise", "drop"])
def test_dropping_rows_outside_drops_none_of_another_partition(project, mode):
    """'drop' is about time: rows of a series that is another's are refused, never left out by themselves."""
    load = writer(ZONES, temperature, outside_partition=mode)
    assert project.run(load, partition_key="N").success
    assert not project.run(load, partition_key="S").success


def test_days_of_one_series_do_not_conflict(project):
    """(day, zone): the same series on another day is the same zone's, and another zone has its own."""
    load = writer(DAY_ZONE)
    for day in DAYS.get_partition_keys():
        for zone in ("N", "S"):
            assert project.run(load, partition_key=key(day, zone)).success
    assert len(project.read()) == 18


def test_a_deleted_partition_is_no_conflict(project, instance):
    """A dynamic partition that was deleted and made again under another name may write its series."""
    instance.add_dynamic_partitions("stations", ["old"])
    stations = dg.DynamicPartitionsDefinition(name="stations")
    load = writer(stations, temperature)
    assert project.run(load, partition_key="old").success
    instance.delete_dynamic_partition("stations", "old")
    instance.add_dynamic_partitions("stations", ["new"])
    assert project.run(load, partition_key="new").success


def test_partitions_of_a_former_definition_are_no_conflict(project):
    """The asset was partitioned by zone, and now is by zone and kind: its old keys no longer count."""
    assert project.run(writer(ZONES, temperature), partition_key="N").success
    two = dg.MultiPartitionsDefinition({"zone": ZONES, "kind": dg.StaticPartitionsDefinition(["a", "b"])})
    key_now = dg.MultiPartitionKey({"zone": "N", "kind": "a"})
    assert project.run(writer(two, temperature), partition_key=key_now).success
    assert project.run(writer(DAYS, temperature), partition_key="2024-06-01").success


def test_a_range_conflicts_like_a_partition(project):
    """A run over some zones is refused where a zone that it is not about has written the series."""
    assert project.run(writer(ZONES, temperature), partition_key="East Side").success
    refused = project.run(storing_range(ZONES, temperature("N")), tags=key_range("N", "S"))
    assert "written by partition 'East Side'" in failure(refused)


def test_partitions_of_a_failed_range_list_their_series(project):
    """If a range of (day, zone) fails partway, what it recorded can be read apart."""
    days = pd.concat([frame_of(key(day, zone)) for day in DAYS.get_partition_keys() for zone in ("N",)])
    load = storing_range(DAY_ZONE, days)
    result = project.run(load, tags=key_range("2024-06-01|N", "2024-06-03|N"))
    assert {tuple(page["temporis/series"]) for page in materializations(result, "load").values()} == {("N",)}


def test_runs_side_by_side_do_not_overwrite_each_other_unseen(project, instance):
    """Two partitions that write at the same time: the one that ends last sees the other, and is red."""
    inside = []

    def while_the_other_runs(zone):
        if zone == "S" and not inside:
            inside.append(zone)
        return temperature(zone)

    upsert = type(project.temporis.data_source(SOURCE)).upsert

    def upsert_after_the_other(self, *arguments, **options):
        if inside == ["S"]:
            inside.append("N")
            assert project.run(writer(ZONES, temperature), partition_key="N").success
        return upsert(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("temporis_dagster.writing.steps.DataSource.upsert", upsert_after_the_other)
        result = project.run(writer(ZONES, while_the_other_runs), partition_key="S")
    assert "while this run was writing" in failure(result)


def test_the_look_at_others_is_bounded(project, instance, monkeypatch):
    """However many partitions there are, a write looks at the latest ones only, in a handful of queries."""
    many = [f"file-{number:05}" for number in range(100)]
    instance.add_dynamic_partitions("many", [*many, "mine"])
    for each in many[:80]:
        instance.report_runless_asset_event(dg.AssetMaterialization("load", partition=each))
    monkeypatch.setattr(partition_series, "LOOKED_AT", 50)
    asked = []
    fetch = dg.DagsterInstance.fetch_materializations

    def counting(self, wanted, limit, cursor=None, *, ascending=False):
        found = fetch(self, wanted, limit, cursor, ascending=ascending)
        asked.append(len(found.records))
        return found

    monkeypatch.setattr(dg.DagsterInstance, "fetch_materializations", counting)
    load = writer(dg.DynamicPartitionsDefinition(name="many"), temperature)
    assert project.run(load, partition_key="mine").success
    assert sum(asked) <= 50
    assert len(asked) <= 6


# The parts of partition keys


def test_the_parts_of_a_key():
    """What is not time: all of a static key, the zone of (day, zone), both of two static dimensions."""
    assert parts_of(DAYS) is None
    assert parts_of(ZONES).of("N") == "N"
    both = parts_of(DAY_ZONE)
    assert (both.timed, both.of("2024-06-01|N"), both.time_of("2024-06-01|N")) == (True, "N", "2024-06-01")
    assert both.of(key("2024-06-01", "East Side")) == "East Side"
    two = parts_of(dg.MultiPartitionsDefinition({"b": ZONES, "a": dg.StaticPartitionsDefinition(["x"])}))
    assert (two.timed, two.of("x|N"), two.time_of("x|N")) == (False, "x|N", "")


@given(
    st.lists(st.sampled_from(["N", "S", "NE", "a.csv", "New York", "7"]), min_size=2, max_size=4, unique=True),
    st.permutations(range(6)),
)
def test_series_are_listed_under_one_part_or_all(parts, order):
    """Each series of a run is listed exactly once; under one part only if its name has that one as a word."""
    hours = pd.date_range("2024-06-01", periods=2, freq="h", tz="UTC")
    said = [f"load_{part}" for part in parts] + ["extra"] * (order[0] == 0)
    frame = pd.DataFrame({name: [1.0, 2.0] for name in said}, index=hours)
    written = series_by_part(observe(frame), sorted(parts))
    assert sorted(name for spans in written.values() for name in spans) == sorted(said)
    if "extra" in said:
        assert list(written) == ["\n".join(sorted(parts))]
    else:
        assert {part: list(spans) for part, spans in written.items()} == {part: [f"load_{part}"] for part in parts}


@given(st.permutations(["2024-06-01|N", "2024-06-01|S", "2024-06-02|N", "2024-06-02|East Side"]))
def test_keys_have_an_order_of_their_own(keys):
    """That of their definition, whatever order Dagster gives them in."""
    ordered = in_own_order(DAY_ZONE, keys, None)
    assert ordered == ["2024-06-01|N", "2024-06-01|S", "2024-06-02|N", "2024-06-02|East Side"]


def test_the_partitions_of_a_run_are_named_in_their_own_order(project):
    """temporis/partitions of a range names its first and last key as the definition orders them."""
    result = project.run(
        storing_range(ZONES, pd.concat([frame_of("N"), frame_of("S"), frame_of("East Side")], axis=1)),
        tags=key_range("N", "East Side"),
    )
    said = {page["temporis/partitions"] for page in materializations(result, "load").values()}
    assert said == {"N...East Side (3)"}


# Read apart


@pytest.mark.parametrize("partitions_def", [ZONES, DAY_ZONE], ids=["static", "day and zone"])
def test_all_partitions_read_apart_have_only_their_own_rows(project, partitions_def):
    """dict[str, DataFrame] of every partition there is: each frame has its own series, as if it were read alone."""
    asset = writer(partitions_def, backfill_policy=ONE_BY_ONE)
    keys = list(map(str, partitions_def.get_partition_keys()))
    for each in partitions_def.get_partition_keys():
        assert project.run(asset, partition_key=each).success
    got = []

    @dg.asset(name="reader")
    def read(load: dict[str, pd.DataFrame]) -> None:
        got.append(load)

    assert only(project, asset, read).success
    assert {key: names(frame) for key, frame in got[0].items()} == {key: [f"load_{key.split('|')[-1]}"] for key in keys}


def test_partitions_that_were_written_together_cannot_be_read_apart(project):
    """One run over all, whose series do not say whose they are: one frame of them all, but no frame for each."""

    @temporis_asset(data_source=SOURCE, partitions_def=ZONES)
    def load(context: dg.AssetExecutionContext):
        return pd.concat([frame_of("", f"x{number}") for number in range(len(context.partition_keys))], axis=1)

    every = ZONES.get_partition_keys()
    assert project.run(load, tags=key_range(every[0], every[-1])).success

    @dg.asset(name="reader")
    def apart(load: dict[str, pd.DataFrame]) -> None: ...

    got = []
    assert only(project, load, reader(None, got)).success
    assert names(got[0]) == ["x0", "x1", "x2"]
    assert "read all partitions at once, into one frame" in failure(only(project, load, apart))
