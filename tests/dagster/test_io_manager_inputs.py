"""What an input may ask for: what is missing left out, frames apart, a data source itself, the asset's own past."""

import warnings

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, TemporisIOManager, TemporisResource, data_source_spec, temporis_asset
from tests.support.dagster_harness import key_range
from tests.support.io_manager_tools import SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-06")
ALLOWED = {"allow_missing_partitions": True}
ITSELF = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)


def day_of_two_hours(day, value=1.0):
    return pd.DataFrame({"orders": value}, index=pd.date_range(day, periods=2, freq="h", tz="UTC"))


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)

    @temporis_asset(data_source=SOURCE, partitions_def=DAYS)
    def orders(context: dg.AssetExecutionContext):
        """Two rows per day."""
        return day_of_two_hours(context.partition_key)


def reader(got, annotation=pd.DataFrame, partitions_def=None, mapping=None, metadata=None, upstream="orders"):
    asset_in = dg.AssetIn(upstream, partition_mapping=mapping, metadata=metadata)

    def read(frame) -> None:
        got.append(frame)

    read.__annotations__["frame"] = annotation
    return dg.asset(name="reader", partitions_def=partitions_def, ins={"frame": asset_in})(read)


def read_by(project, downstream, **arguments):
    return project.run(orders, downstream, selection=[downstream], **arguments)


def days_of(frame):
    return sorted(set(frame["timestamp"].dt.day.tolist()))


# Partitions that are missing


@pytest.mark.parametrize("days", [[1], [1, 3, 5], [1, 2, 3, 4, 5]])
def test_missing_partitions_are_left_out_on_request(project, days):
    """allow_missing_partitions of the input, as Dagster's own IO managers take it: the others are read."""
    for day in days:
        assert project.run(orders, partition_key=f"2024-06-0{day}").success
    got = []
    assert read_by(project, reader(got, metadata=ALLOWED)).success
    assert days_of(got[0]) == days


def test_where_all_partitions_are_missing_the_frame_is_empty(project):
    """With the columns and dtypes of any other, also where there is no data source yet."""
    got = []
    assert read_by(project, reader(got, metadata=ALLOWED)).success
    assert read_by(project, reader(got, dict[str, pd.DataFrame], metadata=ALLOWED)).success
    assert got[0].dtypes.astype(str).tolist()[::2] == ["datetime64[s, UTC]", "float64"]
    assert (len(got[0]), got[1]) == (0, {})


def test_a_rolling_window_at_its_start(project):
    """The first window of a rolling mean has fewer days, and runs."""
    got = []
    last_two = dg.TimeWindowPartitionMapping(start_offset=-1)
    rolling = reader(got, partitions_def=DAYS, mapping=last_two, metadata=ALLOWED)
    project.run(orders, partition_key="2024-06-01")
    assert read_by(project, rolling, partition_key="2024-06-02").success
    project.run(orders, partition_key="2024-06-02")
    assert read_by(project, rolling, partition_key="2024-06-02").success
    assert [days_of(frame) for frame in got] == [[1], [1, 2]]


def test_static_partitions_may_be_missing_too(project):
    """Of two zones, one of which was written, the reader gets that one."""
    zones = dg.StaticPartitionsDefinition(["N", "S"])

    @temporis_asset(data_source=SOURCE, partitions_def=zones)
    def load(context):
        return day_of_two_hours("2024-06-01").rename(columns={"orders": f"load_{context.partition_key}"})

    assert project.run(load, partition_key="N").success
    got = []
    read = reader(got, metadata=ALLOWED, upstream="load")
    assert project.run(load, read, selection=[read]).success
    assert set(got[0]["name"]) == {"load_N"}


def test_the_error_of_a_missing_partition_names_the_way_out(project):
    """It names the partitions, how many there are, and the option."""
    project.run(orders, partition_key="2024-06-01")
    said = failure(read_by(project, reader([])))
    assert "2024-06-02, 2024-06-03, 2024-06-04, 2024-06-05 (4 in all) were never materialized" in said
    assert "metadata={'allow_missing_partitions': True}" in said
    refused = failure(read_by(project, reader([], metadata={"allow_missing_partitions": "yes"})))
    assert "allow_missing_partitions of the input's metadata must be True or False, got 'yes'" in refused


def test_the_latest_of_each_partition_is_looked_at_and_no_earlier_one(project, monkeypatch):
    """A day that was filled again and again costs its reader no more than one that was filled once."""
    for day in DAYS.get_partition_keys():
        for _ in range(3):
            assert project.run(orders, partition_key=day).success
    looked_at = []
    fetch = dg.DagsterInstance.fetch_materializations

    def counting(self, wanted, limit, cursor=None, *, ascending=False):
        found = fetch(self, wanted, limit, cursor, ascending=ascending)
        looked_at.append(len(found.records))
        return found

    monkeypatch.setattr(dg.DagsterInstance, "fetch_materializations", counting)
    assert read_by(project, reader([])).success
    assert sum(looked_at) == 5


# A frame per partition


def test_a_dict_input_has_a_frame_per_partition(project):
    """dict[str, DataFrame], Dagster's way to ask for partitions apart: in their order, each with its own rows."""
    for day in (3, 1, 2, 5, 4):
        project.run(orders, partition_key=f"2024-06-0{day}")
    got = []
    assert read_by(project, reader(got, dict[str, pd.DataFrame])).success
    (apart,) = got
    assert list(apart) == DAYS.get_partition_keys()
    assert [days_of(frame) for frame in apart.values()] == [[1], [2], [3], [4], [5]]
    assert [frame.index.tolist() for frame in apart.values()] == [[0, 1]] * 5


def test_a_dict_input_without_partitions_is_refused(project):
    """There are no partitions to tell apart; the message says what to annotate."""

    @temporis_asset(data_source=SOURCE)
    def plain():
        return day_of_two_hours("2024-06-01")

    read = reader([], dict[str, pd.DataFrame], upstream="plain")
    assert "Annotate the input as a single frame, such as pd.DataFrame" in failure(project.run(plain, read))


@pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning")
def test_a_dict_input_of_days_and_zones(project):
    """Each of the partitions has its own rows of its own day; a key is Dagster's, such as 2024-06-01|N."""
    both = dg.MultiPartitionsDefinition({"date": DAYS, "zone": dg.StaticPartitionsDefinition(["N", "S"])})

    @temporis_asset(data_source=SOURCE, partitions_def=both)
    def load(context):
        day, zone = str(context.partition_key).split("|")
        return day_of_two_hours(day).rename(columns={"orders": f"load_{zone}"})

    for day in ("2024-06-01", "2024-06-02"):
        for zone in "NS":
            project.run(load, partition_key=dg.MultiPartitionKey({"date": day, "zone": zone}))
    got = []
    read = reader(
        got,
        dict[str, pd.DataFrame],
        dg.StaticPartitionsDefinition(["N", "S"]),
        dg.MultiToSingleDimensionPartitionMapping("zone"),
        ALLOWED,
        upstream="load",
    )
    assert project.run(load, read, selection=[read], partition_key="S").success
    assert [(key, days_of(frame), set(frame["name"])) for key, frame in got[0].items()] == [
        ("2024-06-01|S", [1], {"load_S"}),
        ("2024-06-02|S", [2], {"load_S"}),
    ]


# A data source itself


@pytest.mark.parametrize("where", ["at the input", "at the data source"])
def test_a_data_source_can_be_an_input(project, where):
    """What other code wrote is loaded, although no asset ever materialized it."""
    project.temporis.data_source("foreign").upsert(day_of_two_hours("2024-06-01"))
    at_input = {"input_manager_key": "temporis_io_manager"} if where == "at the input" else {}
    spec = data_source_spec("foreign", io_manager_key=None if at_input else "temporis_io_manager")
    got = []

    @dg.asset(ins={"foreign": dg.AssetIn(["temporis", "foreign"], **at_input)})
    def read(foreign: pd.DataFrame) -> None:
        got.append(foreign)

    assert project.run(spec, read, selection=[read]).success
    assert (len(got[0]), set(got[0]["name"])) == (2, {"orders"})


def test_a_partitioned_data_source_is_read_by_its_windows(project):
    """With partitions and series of its own definition: only these rows."""
    days = pd.concat([day_of_two_hours(f"2024-06-0{day}") for day in (1, 2)])
    project.temporis.data_source("foreign").upsert(days.assign(noise=1.0))
    spec = data_source_spec(
        "foreign",
        io_manager_key="temporis_io_manager",
        partitions_def=DAYS,
        metadata={"temporis/series": ["orders"]},
    )
    got = []

    @dg.asset(partitions_def=DAYS, ins={"foreign": dg.AssetIn(["temporis", "foreign"])})
    def read(foreign: pd.DataFrame) -> None:
        got.append(foreign)

    assert project.run(spec, read, selection=[read], partition_key="2024-06-02").success
    assert (days_of(got[0]), set(got[0]["name"])) == ([2], {"orders"})


def test_a_data_source_that_is_not_there_is_said(project):
    """Loading creates nothing."""
    read = reader([], upstream=dg.AssetKey(["temporis", "nowhere"]))
    spec = data_source_spec("nowhere", io_manager_key="temporis_io_manager")
    assert "There is no data source 'nowhere'" in failure(project.run(spec, read, selection=[read]))


def test_another_external_asset_says_what_to_do(project):
    """No run materializes it, so 'materialize it first' alone would not help."""
    spec = dg.AssetSpec("elsewhere", metadata={"temporis/data_source": SOURCE}).with_io_manager_key(
        "temporis_io_manager"
    )
    read = reader([], upstream="elsewhere")
    assert "data_source_spec(...)" in failure(project.run(spec, read, selection=[read]))


# Empty first writes


@pytest.mark.parametrize(
    "empty",
    [
        pd.DataFrame(),
        pd.DataFrame(columns=["timestamp", "name", "value"]),
        pd.DataFrame({"orders": [np.nan]}, index=pd.DatetimeIndex(["2024-06-01"], tz="UTC")),
    ],
    ids=["nothing", "long", "all NaN"],
)
def test_the_reader_of_an_empty_first_write_gets_an_empty_frame(project, empty):
    """A holiday on the first day: the data source is created where missing ones are, and the reader runs."""

    @temporis_asset(data_source="fresh")
    def plain():
        return empty

    got = []
    assert project.run(plain, reader(got, upstream="plain")).success
    assert len(got[0]) == 0
    assert len(project.read("fresh")) == 0


def test_an_empty_write_creates_nothing_unasked(tmp_path, instance):
    """Without create_missing the data source stays missing."""
    project = Project(TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db"), instance)

    @temporis_asset(data_source="fresh")
    def plain():
        return pd.DataFrame()

    assert project.run(plain).success
    assert project.temporis.connection.data_sources() == []
    dry = TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db", create_missing=True, dry_run=True)
    assert Project(dry, instance).run(plain).success
    assert project.temporis.connection.data_sources() == []


def test_an_empty_write_to_an_archived_data_source_is_nothing(project):
    """It is there, so nothing is asked of it."""
    source = project.temporis.connection.create_data_source("fresh")
    source.archive()
    assert source.upsert(pd.DataFrame()).observations_in == 0


# Assets that depend on themselves


def running_total(**arguments):
    @temporis_asset(
        data_source=SOURCE,
        partitions_def=DAYS,
        series=["total"],
        ins={"running": dg.AssetIn(partition_mapping=arguments.pop("mapping", ITSELF))},
        **arguments,
    )
    def running(context, running: pd.DataFrame) -> pd.DataFrame:
        keys = context.partition_keys
        last = running["value"].max() if len(running) else 0.0
        return pd.DataFrame({"total": [last + 1.0] * len(keys)}, index=pd.DatetimeIndex(list(keys), tz="UTC"))

    return running


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        ({}, dg.BackfillPolicy.multi_run(1)),
        ({"mapping": dg.TimeWindowPartitionMapping(start_offset=-3, end_offset=-1)}, dg.BackfillPolicy.multi_run(1)),
        ({"key_prefix": "shop"}, dg.BackfillPolicy.single_run()),  # its input is another asset, running
        ({"backfill_policy": dg.BackfillPolicy.single_run()}, dg.BackfillPolicy.single_run()),
        ({"backfill_policy": dg.BackfillPolicy.multi_run(2)}, dg.BackfillPolicy.multi_run(2)),
    ],
)
def test_an_asset_that_depends_on_itself_is_backfilled_one_by_one(arguments, policy):
    """By default, because each partition needs the one before it. The caller's policy wins."""
    assert running_total(**arguments).backfill_policy == policy


@pytest.mark.parametrize("how", ["deps", "key", "name", "key_prefix"])
def test_depending_on_itself_is_seen_however_it_is_said(how):
    """By deps, by a key, by a name, by a prefix."""
    key = {"key_prefix": ["a", "own"], "key": ["a", "own"]}.get(how, ["own"])
    said = {"key": {"key": key}, "key_prefix": {"key_prefix": "a", "name": "own"}}.get(how, {"name": "own"})
    dep = dg.AssetDep(dg.AssetKey(key), partition_mapping=ITSELF)

    @temporis_asset(data_source=SOURCE, partitions_def=DAYS, deps=[dep], **said)
    def body() -> pd.DataFrame:
        return pd.DataFrame()

    assert body.backfill_policy == dg.BackfillPolicy.multi_run(1)


def test_a_range_of_an_asset_that_depends_on_itself_is_refused(project):
    """It would read what it is about to write: missing, or as before the run. The failure says what to do."""
    running = running_total()
    for day in (1, 2, 3, 4):
        assert project.run(running, partition_key=f"2024-06-0{day}").success
    before = project.read()
    said = failure(project.run(running, tags=key_range("2024-06-02", "2024-06-04")))
    assert "depends on itself" in said
    assert "backfill_policy=dg.BackfillPolicy.multi_run(1)" in said
    pd.testing.assert_frame_equal(project.read(), before)
    assert before["value"].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_range_of_one_day_is_no_range(project):
    """As a schedule or a backfill of one partition per run launches it."""
    running = running_total()
    for day in ("2024-06-01", "2024-06-02", "2024-06-03"):
        assert project.run(running, tags=key_range(day, day)).success
    assert project.read()["value"].tolist() == [1.0, 2.0, 3.0]


def test_a_range_that_reads_only_what_is_before_it_runs(project):
    """A week ago is not in a range of two days, so there is nothing to refuse."""
    running = running_total(mapping=dg.TimeWindowPartitionMapping(start_offset=-2, end_offset=-2))
    assert project.run(running, tags=key_range("2024-06-01", "2024-06-02")).success
    assert project.run(running, tags=key_range("2024-06-03", "2024-06-04")).success
    assert project.read()["value"].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_partition_key_in_a_range_says_what_to_do_in_the_docs():
    """Dagster's own error is about the range; the decorator's documentation says which policy gives a key."""
    assert "``context.partition_key`` raises in it" in temporis_asset.__doc__


# Ops of a partitioned job


@pytest.mark.parametrize(("day", "mode", "stored"), [(2, "raise", 2), (3, "raise", 0), (3, "drop", 0), (3, "allow", 2)])
def test_an_op_of_a_partitioned_job_has_the_windows_of_its_partition(project, day, mode, stored):
    """Rows outside the partition of the run are refused, dropped or allowed, as those of an asset are."""

    @dg.op(out=dg.Out(io_manager_key="io"))
    def write():
        return day_of_two_hours(f"2024-06-0{day}")

    io_manager = TemporisIOManager(temporis=project.temporis, data_source=SOURCE, outside_partition=mode)

    @dg.job(partitions_def=DAYS, resource_defs={"io": io_manager})
    def job():
        write()

    result = job.execute_in_process(partition_key="2024-06-02", instance=project.instance, raise_on_error=False)
    assert result.success is not (mode == "raise" and stored == 0)
    project.temporis.connection.create_data_source(SOURCE)
    assert len(project.read()) == stored
    if not result.success:
        assert "2 of 2 observations lie outside the run's partitions (2024-06-02)" in failure(result)


# Environment variables outside a run


def test_env_vars_are_read_outside_a_run(tmp_path, monkeypatch):
    """In a notebook or a test, the resource of a project works unchanged: text and whole numbers."""
    monkeypatch.setenv("OUR_STORE", f"sqlite:///{tmp_path}/temporis.db")
    monkeypatch.setenv("OUR_ROWS", "7")
    temporis = TemporisResource(url=dg.EnvVar("OUR_STORE"), batch_rows=dg.EnvVar.int("OUR_ROWS"), create_missing=True)
    assert temporis.data_source("fresh").upsert(day_of_two_hours("2024-06-01")).stored == 2
    assert len(temporis.data_source("fresh").read()) == 2


def test_an_env_var_that_is_not_set_is_named(monkeypatch):
    """The error names the option and the variable, and shows no value of another."""
    monkeypatch.delenv("OUR_STORE", raising=False)
    monkeypatch.setenv("OUR_TOKEN", "ts_hunter2")
    temporis = TemporisResource(url=dg.EnvVar("OUR_STORE"), token=dg.EnvVar("OUR_TOKEN"))
    with pytest.raises(ConfigurationError, match=r"url= of TemporisResource is dg\.EnvVar\('OUR_STORE'\)") as caught:
        temporis.data_source("fresh")
    assert "hunter2" not in str(caught.value)


def test_an_error_says_which_variables_the_options_came_from(tmp_path, monkeypatch):
    """A wrong value is corrected there."""
    monkeypatch.setenv("OUR_STORE", f"sqlite:///{tmp_path}/temporis.db")
    temporis = TemporisResource(url=dg.EnvVar("OUR_STORE"))
    with pytest.raises(Exception, match=r"\(url= is dg\.EnvVar\('OUR_STORE'\)\.\)$"):
        temporis.data_source("fresh").read()


def test_an_io_manager_takes_its_data_source_from_the_environment(tmp_path, monkeypatch):
    """Also in a unit test, with Dagster's own context."""
    monkeypatch.setenv("OUR_SOURCE", "fresh")
    temporis = TemporisResource(url=f"sqlite:///{tmp_path}/temporis.db", create_missing=True)
    io_manager = TemporisIOManager(temporis=temporis, data_source=dg.EnvVar("OUR_SOURCE"))
    io_manager.handle_output(dg.build_output_context(asset_key="orders"), day_of_two_hours("2024-06-01"))
    assert len(temporis.data_source("fresh").read()) == 2


def test_a_data_source_cannot_be_an_env_var_of_a_definition():
    """A definition needs the name when the code is loaded; the message says how to get it."""
    with pytest.raises(ConfigurationError, match=r"os\.environ\['OUR_SOURCE'\]"):
        temporis_asset(data_source=dg.EnvVar("OUR_SOURCE"))
    with pytest.raises(ConfigurationError, match=r"dg\.EnvVar cannot name"):
        data_source_spec(dg.EnvVar("OUR_SOURCE"))
