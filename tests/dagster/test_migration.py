"""dg.migrate_io_storage: from a SQLite file to a service, with and without batches; nothing is lost or doubled."""

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import TemporisIOManager, TemporisResource, temporis_asset
from temporis_dagster.testing import FakeService
from tests.support.dagster_harness import key_range
from tests.support.io_manager_tools import SOURCE

pytestmark = [
    pytest.mark.filterwarnings("ignore:Function `migrate_io_storage` is currently in preview"),
    pytest.mark.filterwarnings("ignore:Class `Multi:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
]

DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-05")
ZONES = dg.StaticPartitionsDefinition(["N", "S"])
FILES = dg.DynamicPartitionsDefinition(name="files")
DAY_ZONE = dg.MultiPartitionsDefinition({"zone": ZONES, "date": DAYS})


def rows(name, day="2024-06-01"):
    return pd.DataFrame({"timestamp": pd.date_range(day, periods=3, freq="h", tz="UTC"), "name": name, "value": 1.0})


def of_key(key):
    day, *zone = str(key).split("|")
    if zone:
        return rows(f"load_{zone[0]}", day)
    return rows("load", day) if day.startswith("2024") else rows(f"load_{day}")


def written(partitions_def, series):
    @temporis_asset(data_source=SOURCE, name="load", series=series, partitions_def=partitions_def)
    def load(context: dg.AssetExecutionContext):
        return pd.concat([of_key(key) for key in context.partition_keys] if partitions_def else [rows("load")])

    return load


@pytest.fixture
def service():
    """What stands for the cloud."""
    with FakeService() as made:
        made.create_data_source(SOURCE)
        yield made


@pytest.fixture
def destination(service):
    """Makes resources of the service, and closes them."""
    made = []

    def resource(**options):
        made.append(TemporisResource(url=service.url, token=service.token, **options))
        return made[-1]

    yield resource
    for each in made:
        each.close()


@pytest.fixture(params=["none", "days", "static", "dynamic", "day and zone"])
def load(request, project, instance):
    """An asset of any kind of partitions, all of which are materialized in the file."""
    instance.add_dynamic_partitions("files", ["a", "b"])
    partitions_def, series = {
        "none": (None, ["load"]),
        "days": (DAYS, ["load"]),
        "static": (ZONES, ["load_{partition}"]),
        "dynamic": (FILES, ["load_{partition}"]),
        "day and zone": (DAY_ZONE, ["load_{zone}"]),
    }[request.param]
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        keys = list(map(str, partitions_def.get_partition_keys())) if partitions_def else []
    asset = written(partitions_def, series)
    assert project.run(asset, tags=key_range(keys[0], keys[-1]) if keys else None).success
    return asset


def migrate(project, load, destination, *, batch_partitions, data_source=SOURCE):
    definitions = dg.Definitions(
        assets=[load], resources={"temporis_io_manager": TemporisIOManager(temporis=project.temporis)}
    )
    return dg.migrate_io_storage(
        definitions=definitions,
        destination_io_manager=TemporisIOManager(temporis=destination, data_source=data_source),
        instance=project.instance,
        batch_partitions=batch_partitions,
    )


def content(frame):
    return {
        (SOURCE, int(moment.timestamp()), name): value
        for moment, name, value in frame[["timestamp", "name", "value"]].itertuples(index=False)
    }


@pytest.mark.parametrize("batch_partitions", [False, True])
def test_everything_is_moved(project, service, destination, load, batch_partitions):
    """Partitions of any kind, one by one and in batches; twice is as good as once."""
    cloud = destination()
    dynamic = isinstance(load.partitions_def, dg.DynamicPartitionsDefinition)  # which Dagster cannot batch
    for _ in range(2):
        moved = migrate(project, load, cloud, batch_partitions=batch_partitions and not dynamic)
        assert (len(moved.migrated), moved.failed) == (1, ())
    assert service.content == content(project.read())
    assert service.complaints == []


def test_a_mirror_that_moves_as_well_can_be_read_afterwards(project, destination, load, tmp_path):
    """Readers go on: the mirror in front of the service has the history."""
    cloud = destination(mirror=f"sqlite:///{tmp_path}/mirror.db")
    assert not migrate(project, load, cloud, batch_partitions=False).failed
    pd.testing.assert_frame_equal(cloud.data_source(SOURCE).read(), project.read())
    assert cloud.data_source(SOURCE).pending().rows == 0


@pytest.mark.parametrize("fault", ["no data source is named", "archived"])
def test_what_is_not_moved_is_reported_as_failed(project, service, destination, load, fault):
    """And nothing of it is stored."""
    service.archive(SOURCE)
    data_source = SOURCE if fault == "archived" else None
    moved = migrate(project, load, destination(), batch_partitions=False, data_source=data_source)
    assert (moved.migrated, len(moved.failed)) == ((), 1)
    assert service.content == {}


def test_it_moves_to_another_store(project, load, tmp_path):
    """Which then holds, bit for bit, what the first one holds."""
    other = TemporisResource(url=f"sqlite:///{tmp_path}/other.db", create_missing=True)
    assert not migrate(project, load, other, batch_partitions=False).failed
    assert other.data_source(SOURCE).content_digest() == project.temporis.data_source(SOURCE).content_digest()
    other.close()
