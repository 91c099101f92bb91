"""Series templates: each partition has series of its own, which writing keeps to and reading filters by."""

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import ConfigurationError, Series, build_series_checks, data_source_spec, temporis_asset
from temporis_dagster.asset_options import own_series
from temporis_dagster.io_manager import input_request
from temporis_dagster.writing import partition_guard
from tests.support.dagster_harness import key_range, materializations
from tests.support.io_manager_tools import SOURCE, failure

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-04")
ZONES = dg.StaticPartitionsDefinition(["N", "NE", "S"])
FILES = dg.DynamicPartitionsDefinition(name="files")
DAY_ZONE = dg.MultiPartitionsDefinition({"zone": ZONES, "date": DAYS})
ZONE_KIND = dg.MultiPartitionsDefinition({"zone": ZONES, "kind": dg.StaticPartitionsDefinition(["gas", "wind"])})


def writer(partitions_def, series, body, **arguments):
    @temporis_asset(data_source=SOURCE, name="load", series=series, partitions_def=partitions_def, **arguments)
    def load(context: dg.AssetExecutionContext):
        return body(context)

    return load


def two_hours(*columns, day="2024-06-01", value=1.0):
    index = pd.date_range(day, periods=2, freq="h", tz="UTC")
    return pd.DataFrame(dict.fromkeys(columns, value), index=index)


def long(*frames):
    """One long frame of wide ones that share columns."""
    return pd.concat([frame.melt(ignore_index=False, var_name="name") for frame in frames])


def of_keys(context):
    """Two hours of the series of each key of the run, in the partition's day if it has one."""
    frames = []
    for key in context.partition_keys:
        day, *zone = str(key).split("|")
        frames.append(two_hours(f"load_{zone[0]}", day=day) if zone else two_hours(f"load_{day}"))
    return long(*frames)


def reader(got, partitions_def=None, mapping=None, annotation=pd.DataFrame, metadata=None):
    def read(load) -> None:
        got.append(load)

    read.__annotations__["load"] = annotation
    ins = {"load": dg.AssetIn(partition_mapping=mapping, metadata=metadata)}
    return dg.asset(name="reader", partitions_def=partitions_def, ins=ins)(read)


def read_by(project, load, read, **arguments):
    return project.run(load, read, selection=[read], **arguments)


def names(frame):
    return sorted(frame["name"].unique())


# What a template stands for


@pytest.mark.parametrize(
    ("partitions_def", "series", "keys", "own"),
    [
        (ZONES, ["load_{partition}"], ["N", "S"], ("load_N", "load_S")),
        (ZONES, ["load_{partition}", "price_{partition}"], ["N"], ("load_N", "price_N")),
        (ZONES, ["{{{partition}}}"], ["N"], ("{N}",)),
        (FILES, ["{partition}/{partition}"], ["a.csv"], ("a.csv/a.csv",)),
        (DAY_ZONE, ["load_{zone}"], ["2024-06-01|N", "2024-06-02|N"], ("load_N",)),
        (ZONE_KIND, ["{kind}_{zone}"], ["gas|N", "wind|S"], ("gas_N", "wind_S")),
    ],
)
def test_a_list_of_templates_is_a_list_of_exact_names(partitions_def, series, keys, own):
    """{partition} is the one key of static or dynamic partitions; dimensions have their own names."""
    found = own_series(series).for_partitions(partitions_def, keys)
    assert found.names == own


def test_one_template_is_a_prefix():
    """As one text without braces is: everything that begins with it belongs to the partition."""
    own = own_series("load_{partition}_").for_partitions(ZONES, ["N", "S"])
    assert (own.names, own.prefixes) == (None, ("load_N_", "load_S_"))
    assert [name in own for name in ("load_N_mw", "load_S_", "load_NE_mw", "load_")] == [True, True, False, False]


def test_without_a_template_all_partitions_have_the_same_series():
    """Names and prefixes stay what they are, whatever the partitions."""
    for given_series in (None, "load_", ["load"]):
        own = own_series(given_series)
        assert own.for_partitions(ZONES, ["N"]) == own.for_partitions(None, []) == own


def test_doubled_braces_are_braces():
    """Also where there is no template: one rule for every name."""
    assert own_series(["a{{b}}"]).names == ("a{b}",)
    assert own_series("{{").prefixes == ("{",)


@given(st.lists(st.text("ab/", min_size=1, max_size=4), min_size=1, max_size=6, unique=True), st.booleans())
def test_a_name_belongs_to_one_partition_or_the_template_is_refused(keys, exact):
    """Whatever the keys: either each name is in the series of one partition only, or loading is refused."""
    partitions_def = dg.StaticPartitionsDefinition(keys)
    own = own_series(["{partition}/x", "x/{partition}"] if exact else "{partition}/")
    alone = {key: own.for_partitions(partitions_def, [key]) for key in keys}
    candidates = {text + tail for each in alone.values() for text in each.names or each.prefixes for tail in ("", "b")}
    owners = {name: [key for key, each in alone.items() if name in each] for name in candidates}
    try:
        together = own.for_all_partitions(partitions_def)
    except ConfigurationError:
        assert max(map(len, owners.values())) > 1
    else:
        assert max(map(len, owners.values())) == 1
        assert all((name in together) == bool(owners[name]) for name in candidates)
        found = own.templates.of_all_parts(partitions_def)
        assert all([found.part_of(name)] == (owners[name] or [None]) for name in candidates)


# What is refused while the code is loaded

REFUSED = {
    "no partitions": (None, "load_{zone}", "the asset has no partitions.*double them.*'load_{{zone}}'"),
    "time alone": (DAYS, ["load_{partition}"], "time alone tells its partitions apart. Leave the braces out"),
    "time dimension": (DAY_ZONE, ["load_{zone}_{date}"], r"uses the time dimension {date}.*Use only {zone}\."),
    "unknown": (DAY_ZONE, "load_{zome}", "{zome}, but .* have no such dimension.*Use {zone}, or double"),
    "the name of a definition": (FILES, ["{files}"], "{files}, but .* have no such dimension.*Use {partition}"),
    "a part is missing": (ZONE_KIND, ["load_{zone}"], "does not use {kind}.*Use {kind} and {zone} in every name"),
    "one name without": (ZONES, ["load_{partition}", "total"], "'total' does not use {partition}"),
    "no name in braces": (ZONES, ["load_{}"], "braces stand around a dimension.*'load_{{}}'"),
    "a single brace": (ZONES, ["load_{"], "Double braces that belong to the name: 'load_{{'"),
    "a format": (ZONES, ["{partition:>5}"], "braces stand around a dimension"),
    "a conversion": (ZONES, ["{partition!r}"], "braces stand around a dimension"),
    "an attribute": (ZONES, ["{partition.real}"], "have no such dimension"),
    "prefix of another": (
        ZONES,
        "load_{partition}",
        r"'N' and 'NE' would share.*'load_NE' begins with 'load_N'.*'load_{partition}/', or.*=\['load_{partition}'",
    ),
    "the same name": (
        dg.MultiPartitionsDefinition(
            {"a": dg.StaticPartitionsDefinition(["x", "xy"]), "b": dg.StaticPartitionsDefinition(["z", "yz"])}
        ),
        ["{a}{b}"],
        r"'xy\|z' and 'x\|yz' would share the series 'xyz'. Put a character that no key has",
    ),
    "a key without text": (dg.StaticPartitionsDefinition(["", "N"]), ["{partition}"], "the series name is empty"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_tell_partitions_apart_is_refused_at_load(fault):
    """By @temporis_asset, with what to write instead; also in metadata, and for a data source."""
    partitions_def, series, said = REFUSED[fault]
    with pytest.raises(ConfigurationError, match=said):
        writer(partitions_def, series, of_keys)
    metadata = {"temporis/series": series}
    with pytest.raises(ConfigurationError, match=said):
        temporis_asset(data_source=SOURCE, metadata=metadata, partitions_def=partitions_def)(lambda: None)
    with pytest.raises(ConfigurationError, match=said):
        data_source_spec(SOURCE, metadata=metadata, partitions_def=partitions_def)


def test_a_plain_asset_is_refused_in_its_run(project):
    """Nothing is sent: @dg.asset knows nothing of templates, so the IO manager looks."""

    @dg.asset(
        partitions_def=ZONES,
        io_manager_key="temporis_io_manager",
        metadata={"temporis/data_source": SOURCE, "temporis/series": ["load_{zone}"]},
    )
    def load(context: dg.AssetExecutionContext):
        return two_hours(f"load_{context.partition_key}")

    assert "Use {partition}" in failure(project.run(load, partition_key="N"))
    assert SOURCE not in project.temporis.connection.data_sources()


# Writing


@pytest.mark.parametrize("outside_partition", ["raise", "drop", "allow"])
def test_series_of_other_partitions_are_not_written(project, outside_partition):
    """Whatever outside_partition says, which is about time: the failure names the series and the run's partitions."""
    load = writer(ZONES, ["load_{partition}"], lambda _: two_hours("load_S"), outside_partition=outside_partition)
    said = failure(project.run(load, partition_key="N"))
    assert "1 series is not of the run's partitions, such as 'load_S'" in said
    assert "The asset's own series are 'load_{partition}', and this run is about 'N'" in said
    assert project.run(load, partition_key="S").success
    assert names(project.read()) == ["load_S"]


def test_partitions_write_without_a_look_at_each_other(project, monkeypatch):
    """No materialization lists series, and none is searched for a conflict."""
    monkeypatch.setattr(partition_guard, "others_written", lambda *_: pytest.fail("looked for a conflict"))
    load = writer(DAY_ZONE, ["load_{zone}"], of_keys)
    result = project.run(load, tags=key_range("2024-06-01|N", "2024-06-02|NE"))
    assert result.success
    assert {len(said.keys() & {"temporis/series"}) for said in materializations(result, "load").values()} == {0}
    assert names(project.read()) == ["load_N", "load_NE"]


def test_a_dynamic_key_that_takes_over_another_one_is_refused(project, instance):
    """'a' was fine until 'ab' came: both are refused, before anything is sent or read; others go on."""
    instance.add_dynamic_partitions("files", ["a", "c"])
    load = writer(FILES, "load_{partition}", lambda context: two_hours(f"load_{context.partition_key}_x"))
    assert project.run(load, partition_key="a").success
    instance.add_dynamic_partitions("files", ["ab"])
    for key in ("a", "ab"):
        assert "The partitions 'a' and 'ab' would share series" in failure(project.run(load, partition_key=key))
        read = reader([], FILES)
        assert "'load_ab' begins with 'load_a'" in failure(read_by(project, load, read, partition_key=key))
    assert project.run(load, partition_key="c").success
    assert names(project.read()) == ["load_a_x", "load_c_x"]


# Reading


@pytest.fixture(params=["static", "dynamic", "day and zone"])
def written(request, project, instance):
    """An asset whose partitions were all written in one run, and whose materializations list nothing."""
    instance.add_dynamic_partitions("files", ["N", "NE", "S"])
    partitions_def = {"static": ZONES, "dynamic": FILES, "day and zone": DAY_ZONE}[request.param]
    series = ["load_{zone}"] if partitions_def is DAY_ZONE else ["load_{partition}"]
    load = writer(partitions_def, series, of_keys)
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        keys = list(map(str, partitions_def.get_partition_keys()))
    assert project.run(load, tags=key_range(keys[0], keys[-1])).success
    return load, partitions_def, keys


def test_a_partition_reads_exactly_its_own_series(project, written, monkeypatch):
    """By its names and times alone, also after one run of all partitions: no list of a materialization is needed."""
    load, partitions_def, keys = written
    monkeypatch.setattr(input_request, "lists_series", lambda _: pytest.fail("looked at a list"))
    got = []
    for key in keys:
        assert read_by(project, load, reader(got, partitions_def), partition_key=key).success
    assert [(names(frame), len(frame)) for frame in got] == [([f"load_{key.split('|')[-1]}"], 2) for key in keys]


def test_a_dict_has_the_rows_of_each_partition(project, written):
    """dict[str, DataFrame], in the partitions' own order."""
    load, _partitions_def, keys = written
    got = []
    assert read_by(project, load, reader(got, annotation=dict[str, pd.DataFrame])).success
    assert {key: (names(frame), len(frame)) for key, frame in got[0].items()} == {
        key: ([f"load_{key.split('|')[-1]}"], 2) for key in keys
    }


def test_rows_of_other_writers_are_not_read(project, written):
    """Another program's series, also one that looks like a partition that there is not, stay out."""
    load, _partitions_def, keys = written
    project.temporis.data_source(SOURCE).upsert(two_hours("load_X", "load_", "price_N"))
    got = []
    assert read_by(project, load, reader(got)).success
    assert read_by(project, load, reader(got, annotation=dict[str, pd.DataFrame])).success
    assert names(got[0]) == ["load_N", "load_NE", "load_S"]
    assert sum(map(len, got[1].values())) == len(got[0]) == 2 * len(keys)


def test_a_prefix_per_zone(project):
    """Names that are not known beforehand: whatever begins with the zone's prefix."""
    load = writer(
        DAY_ZONE,
        "load_{zone}/",
        lambda context: long(
            *[
                two_hours(f"load_{zone}/mw", f"load_{zone}/peak", day=day)
                for day, zone in (str(key).split("|") for key in context.partition_keys)
            ]
        ),
    )
    keys = list(map(str, DAY_ZONE.get_partition_keys()))
    assert project.run(load, tags=key_range(keys[0], keys[-1])).success
    got = []
    by_zone = reader(got, ZONES, dg.MultiToSingleDimensionPartitionMapping("zone"))
    assert read_by(project, load, by_zone, partition_key="N").success
    by_day = reader(got, DAYS, dg.MultiToSingleDimensionPartitionMapping("date"))
    assert read_by(project, load, by_day, partition_key="2024-06-02").success
    assert (names(got[0]), len(got[0])) == (["load_N/mw", "load_N/peak"], 12)
    assert (len(names(got[1])), set(got[1]["timestamp"].dt.day), len(got[1])) == (6, {2}, 12)


def test_different_zones_on_different_days_are_read_as_such(project):
    """N on the first day and S on the second, where the others were never materialized."""
    load = writer(DAY_ZONE, ["load_{zone}"], of_keys)
    for key in ("2024-06-01|N", "2024-06-02|S"):
        assert project.run(load, partition_key=key).success
    days = [two_hours("load_N", "load_S", day=f"2024-06-0{day}", value=9.0) for day in (1, 2, 3)]
    project.temporis.data_source(SOURCE).upsert(long(*days))  # another program's rows, at every time
    got = []
    read = reader(got, metadata={"allow_missing_partitions": True})
    assert read_by(project, load, read).success
    assert sorted(set(zip(got[0]["timestamp"].dt.day, got[0]["name"], strict=True))) == [(1, "load_N"), (2, "load_S")]


def test_a_data_source_is_read_by_zone(project):
    """What other code writes: partitions and a template on the external asset are enough."""
    project.temporis.data_source("foreign").upsert(two_hours("load_N", "load_S", "noise"))
    spec = data_source_spec(
        "foreign",
        io_manager_key="temporis_io_manager",
        partitions_def=ZONES,
        metadata={"temporis/series": ["load_{partition}"]},
    )
    got = []

    @dg.asset(partitions_def=ZONES, ins={"foreign": dg.AssetIn(["temporis", "foreign"])})
    def read(foreign: pd.DataFrame) -> None:
        got.append(foreign)

    assert project.run(spec, read, selection=[read], partition_key="S").success
    assert names(got[0]) == ["load_S"]


def test_many_partitions_are_read_by_name(project):
    """A thousand partitions of a series each: a reader of some has these."""
    zones = dg.StaticPartitionsDefinition([f"z{number}" for number in range(1_000)])
    frame = pd.DataFrame(
        np.ones((1, 1_000)),
        columns=[f"load_z{number}" for number in range(1_000)],
        index=pd.date_range("2024-06-01", periods=1, tz="UTC"),
    )
    load = writer(zones, ["load_{partition}"], lambda _: frame)
    assert project.run(load, tags=key_range("z0", "z999")).success
    got = []
    halves = dg.StaticPartitionMapping({f"z{number}": f"{number // 500}" for number in range(1_000)})
    half = reader(got, dg.StaticPartitionsDefinition(["0", "1"]), halves)
    assert read_by(project, load, half, partition_key="1").success
    assert set(names(got[0])) == {f"load_z{number}" for number in range(500, 1_000)}


# Checks


@pytest.mark.parametrize("partitions_def", [ZONES, FILES], ids=["static", "dynamic"])
def test_checks_look_at_the_series_of_all_partitions(project, instance, partitions_def):
    """Those that a template gives, and no other writer's; a series that no partition could have is refused."""
    instance.add_dynamic_partitions("files", ["N", "S"])
    load = writer(partitions_def, ["load_{partition}"], lambda context: two_hours(f"load_{context.partition_key}"))
    for key in ("N", "S"):
        assert project.run(load, partition_key=key).success
    project.temporis.data_source(SOURCE).upsert(two_hours("price_N").iloc[:1])
    with pytest.raises(ConfigurationError, match="never writes 'price_N'"):
        build_series_checks(assets=[load], expected_series=["price_N"])
    checks = build_series_checks(
        assets=[load],
        expected_interval=pd.Timedelta(hours=1).to_pytimedelta(),
        expected_series=["load_N", "load_S"],
        clock=lambda: pd.Timestamp("2024-06-01T02:00Z").timestamp(),
    )
    results = dg.materialize(
        [load, data_source_spec(SOURCE), *checks],
        selection=dg.AssetSelection.checks(*checks),
        resources={"temporis": project.temporis, "temporis_io_manager": dg.mem_io_manager},
        instance=instance,
    ).get_asset_check_evaluations()
    assert {each.check_name: each.passed for each in results} == {
        "observation_gaps_check": True,
        "expected_series_check": True,
    }
    (gaps,) = (each for each in results if each.check_name == "observation_gaps_check")
    assert gaps.metadata["temporis/observations"].value == 4


def test_the_rows_of_each_partition_are_counted(project):
    """In one run of all (day, zone), or of all zones: time or series tell which row belongs to which."""
    load = writer(
        DAY_ZONE,
        ["load_{zone}"],
        lambda context: long(
            two_hours("load_N", "load_S", day="2024-06-01"), two_hours("load_N", day="2024-06-02").iloc[:1]
        ),
    )
    result = project.run(load, tags=key_range("2024-06-01|N", "2024-06-02|S"))
    counts = {key: said["dagster/partition_row_count"] for key, said in materializations(result, "load").items()}
    assert {key: count for key, count in counts.items() if count} == {
        "2024-06-01|N": 2,
        "2024-06-01|S": 2,
        "2024-06-02|N": 1,
    }
    assert len(counts) == 6
    zones = writer(ZONES, ["load_{partition}"], lambda _: two_hours("load_N", "load_NE").iloc[1:])
    result = project.run(zones, tags=key_range("N", "S"))
    counts = {key: said["dagster/partition_row_count"] for key, said in materializations(result, "load").items()}
    assert counts == {"N": 1, "NE": 1, "S": 0}


# Contracts


def test_a_contract_of_a_template_holds_for_each_partition(project):
    """Series("load_{zone}", minimum=0): of the run's own zone, under its own name."""
    load = writer(
        DAY_ZONE,
        [Series("load_{zone}", minimum=0, unit="MW")],
        lambda context: two_hours(f"load_{context.partition_key.split('|')[1]}", value=-1.0),
    )
    result = project.run(load, partition_key="2024-06-01|N")
    assert "2 of 2 observations are invalid" in failure(result)
    assert "minimum" in failure(result)


@pytest.mark.parametrize("unknown", [[Series("load_{zome}")], [Series(prefix="load_"), Series("load_{zome}")]])
def test_a_contract_of_an_unknown_dimension_is_refused_at_load(unknown):
    """Also one inside a family that is not a template: it would silently hold for nothing."""
    with pytest.raises(ConfigurationError, match=r"\{zome\}"):
        writer(DAY_ZONE, unknown, of_keys)
