"""Dagster's catalog: the table, the columns and the lineage of an asset, on its definition and on its events."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from temporis_dagster import ConfigurationError, Series, TemporisIOManager, data_source_spec, temporis_asset
from temporis_dagster.catalog import defined_schema, written_schema
from temporis_dagster.components.column_lineage import FrameColumns, column_lineage
from tests.conftest import CANARY
from tests.support.dagster_harness import backfill_environment, graphql, key_range, materializations

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

LOCATION = Path(__file__).parents[1] / "support/catalog_definitions.py"
HOURS = pd.date_range("2024-06-01", periods=48, freq="h", tz="UTC")
DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-03")
LONG = ["timestamp", "name", "value"]
LOAD = Series(prefix="load_", unit="MW", minimum=0, maximum=1e4, every="15min", description="Load of a zone.")
CATALOG = """
query Catalog($keys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $keys) {
    assetKey { path }
    storageAddress { tableName storageKind }
    assetsForSameStorageAddress { assetKey { path } }
    metadataEntries { ...Shown }
    assetMaterializations(limit: 1) { metadataEntries { ...Shown } }
  }
}
fragment Shown on MetadataEntry {
  label
  ... on TextMetadataEntry { text }
  ... on IntMetadataEntry { intValue }
  ... on TableSchemaMetadataEntry {
    schema { columns { name type description constraints { nullable other } } constraints { other } }
  }
  ... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { assetKey { path } columnName } } }
}
"""


@pytest.fixture
def location(tmp_path, monkeypatch):
    """The URL of a store, a warehouse with two days of returns, and the code location that reads both."""
    warehouse = f"sqlite:///{tmp_path}/warehouse.db"
    engine = sa.create_engine(warehouse)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE returns (at INTEGER, items INTEGER)"))
        rows = [{"at": int(hour.timestamp()), "items": 1} for hour in HOURS]
        connection.execute(sa.text("INSERT INTO returns VALUES (:at, :items)"), rows)
    engine.dispose()
    monkeypatch.setenv("CATALOG_WAREHOUSE_URL", warehouse)
    monkeypatch.setenv("CATALOG_TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
    module = importlib.import_module("tests.support.catalog_definitions")
    return importlib.reload(module)


def shown(entries):
    """The metadata as the API lists them, by key."""
    return {entry["label"]: next((value for key, value in entry.items() if key != "label"), None) for entry in entries}


def columns(schema):
    return {column["name"]: column["type"] for column in schema["columns"]}


@pytest.mark.skipif(find_spec("dagster_graphql") is None, reason="it comes with the webserver, which is in .venv only")
def test_the_api_knows_table_columns_and_lineage(location, tmp_path):
    """Of the data source, of a decorated asset and of a component: before the first run, and of what a run wrote."""
    with backfill_environment(LOCATION) as (instance, workspace):
        job = location.defs().resolve_implicit_global_asset_job_def()
        orders, returns, source = ["orders"], ["shop", "returns"], ["temporis", "shop"]
        keys = [{"path": path} for path in (orders, returns, source)]
        before = {
            tuple(node["assetKey"]["path"]): node for node in graphql(workspace, CATALOG, keys=keys)["assetNodes"]
        }
        assert job.execute_in_process(asset_selection=[dg.AssetKey(orders)], instance=instance).success
        days = {"asset_selection": [dg.AssetKey(returns)], "tags": key_range("2024-06-01", "2024-06-02")}
        assert job.execute_in_process(instance=instance, **days).success
        after = {tuple(node["assetKey"]["path"]): node for node in graphql(workspace, CATALOG, keys=keys)["assetNodes"]}
    address = {"tableName": "temporis.shop", "storageKind": "temporis"}
    assert [before[tuple(path)]["storageAddress"] for path in (orders, returns, source)] == [address] * 3
    others = [tuple(node["assetKey"]["path"]) for node in before["temporis", "shop"]["assetsForSameStorageAddress"]]
    assert set(others) == {("orders",), ("shop", "returns")}
    for node in before.values():
        defined = shown(node["metadataEntries"])
        assert defined["dagster/table_name"] == "temporis.shop"
    assert shown(before["orders",]["metadataEntries"])["dagster/uri"] == f"sqlite:///{tmp_path}/temporis.db"
    assert shown(before["temporis", "shop"]["metadataEntries"])["dagster/uri"] == f"sqlite:///{tmp_path}/temporis.db"

    for entries in (
        before["orders",]["metadataEntries"],
        after["orders",]["assetMaterializations"][0]["metadataEntries"],
    ):
        schema = shown(entries)["dagster/column_schema"]
        assert columns(schema) == {
            "timestamp": "datetime64[s, UTC]",
            "name": "str",
            "value": "float64",
            "orders": "series [1]",
            "revenue": "series",
        }
        declared = {column["name"]: column for column in schema["columns"]}
        assert declared["orders"]["description"] == "Orders that were placed."
        assert declared["orders"]["constraints"]["other"] == [">= 0", "whole numbers", "every 1h"]
        assert [declared[name]["constraints"]["nullable"] for name in LONG] == [False] * 3
        assert schema["constraints"]["other"] == ["unique (timestamp, name)"]
    assert shown(after["orders",]["assetMaterializations"][0]["metadataEntries"])["dagster/row_count"] == 48

    returned = after["shop", "returns"]["assetMaterializations"][0]["metadataEntries"]
    assert list(columns(shown(returned)["dagster/column_schema"])) == [*LONG, "returned"]
    assert "dagster/row_count" not in shown(returned)
    for entries in (before["shop", "returns"]["metadataEntries"], returned):
        lineage = {one["columnName"]: one["columnDeps"] for one in shown(entries)["dagster/column_lineage"]}
        erp = {"path": ["erp", "returns"]}
        assert lineage == {
            "timestamp": [{"assetKey": erp, "columnName": "at"}],
            "returned": [{"assetKey": erp, "columnName": "items"}],
        }


# Definitions


def test_an_address_for_every_definition():
    """The decorator and the data source have the same one, without any connection."""

    @temporis_asset(data_source="shop")
    def orders() -> pd.DataFrame: ...

    for spec in (orders.get_asset_spec(), data_source_spec("shop")):
        assert spec.metadata["dagster/table_name"] == "temporis.shop"
        assert spec.metadata["dagster/storage_kind"] == "temporis"
        assert "dagster/uri" not in spec.metadata
        assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == LONG


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        (
            f"postgresql+psycopg://writer:{CANARY}@db.example.com/metrics?sslpassword={CANARY}",
            "postgresql+psycopg://db",
        ),
        ("https://api.temporis.co", "https://api.temporis.co"),
        ("http://service.internal:8008", "http://service.internal:8008"),
        ("sqlite:////data/temporis.db", "sqlite:////data/temporis.db"),
    ],
)
def test_a_uri_shows_where_and_no_secret(uri, seen, monkeypatch):
    """Neither user nor password nor options; it needs neither a token nor a network."""
    monkeypatch.delenv("TEMPORIS_TOKEN", raising=False)
    metadata = data_source_spec("shop", uri=uri).metadata
    assert metadata["dagster/uri"].startswith(seen)
    assert CANARY not in repr(metadata)
    assert "writer" not in repr(metadata)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"uri": dg.EnvVar("TEMPORIS_URL")}, "A dg.EnvVar cannot be the uri of a definition.*Leave uri out"),
        ({"uri": "ftp://shop"}, "is not supported"),
        ({"uri": " "}, "uri must be the URL of a store or service"),
        ({"metadata": {"dagster/uri": f"postgresql://me:{CANARY}@db/x"}}, "holds a password.*Pass the URL as uri="),
        ({"metadata": {"dagster/uri": f"postgresql://db/x?password={CANARY}"}}, "holds a password"),
        ({"metadata": {"dagster/uri": f"postgresql://db/x?PASSWORD={CANARY}"}}, "holds a password"),
        ({"metadata": {"dagster/uri": f"postgresql://me:[{CANARY}@db/x"}}, "holds a password"),
        ({"metadata": {"dagster/uri": f"https://api.example.com/?token={CANARY}"}}, "holds a password"),
    ],
)
def test_a_uri_that_cannot_be_shown_is_refused(arguments, complaint):
    """When the code is loaded, without repeating the password."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        temporis_asset(data_source="shop", **arguments)
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigurationError, match=complaint):
        data_source_spec("shop", **arguments)


def test_what_the_project_states_wins():
    """A schema, a name or a URL of the project's own are left alone."""
    mine = dg.TableSchema([dg.TableColumn("mine")])
    metadata = {"dagster/table_name": "warehouse.orders", "dagster/column_schema": mine, "dagster/uri": "s3://orders"}
    spec = data_source_spec("shop", metadata=metadata)
    assert {key: spec.metadata[key] for key in metadata} == metadata


def test_metadata_in_dagsters_wrappers_mean_the_same():
    """A list of series as dg.MetadataValue.json, a URL as dg.MetadataValue.text."""
    spec = data_source_spec("shop", metadata={"temporis/series": dg.MetadataValue.json(["orders"])})
    assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == [*LONG, "orders"]
    with pytest.raises(ConfigurationError, match="holds a password"):
        data_source_spec("shop", metadata={"dagster/uri": dg.MetadataValue.text(f"postgresql://me:{CANARY}@db/x")})


def test_a_family_is_one_row_and_a_contract_is_its_constraints():
    """Before anything is written, a prefix stands for all of its series."""
    *_, load = defined_schema("load_", [LOAD]).columns
    assert (load.name, load.type, load.description) == ("load_*", "series [MW]", "Load of a zone.")
    assert load.constraints.other == [">= 0", "<= 10000.0", "every 15min"]
    exact = Series("load_de", unit="GW", monotone=True)
    rows = {column.name: column.type for column in defined_schema("load_", [LOAD, exact]).columns[3:]}
    assert rows == {"load_*": "series [MW]", "load_de": "series [GW]"}
    assert [column.name for column in defined_schema(["a", "b"], []).columns[3:]] == ["a", "b"]


def test_capitals_are_repeated_where_the_ui_keeps_them():
    """The UI shows the names of columns in lower case, but names of series are compared exactly."""
    contracts = [Series("load_NY", description="Load of New York.")]
    rows = defined_schema(["load_NY", "load_LI", "load_upstate"], contracts).columns[3:]
    assert [row.description for row in rows] == ["`load_NY`: Load of New York.", "`load_LI`", None]


def test_what_was_written_lists_its_series():
    """Each with the contract that holds for it; declared names also where the run did not write them."""
    written = {
        column.name: column for column in written_schema(["load_fr", "load_de"], "load_", [LOAD], partitions=1).columns
    }
    assert list(written) == [*LONG, "load_de", "load_fr"]
    assert written["load_fr"].type == "series [MW]"
    names = [column.name for column in written_schema(["a"], ["b", "a"], [], partitions=1).columns]
    assert names == [*LONG, "a", "b"]


def test_thousands_of_series_are_not_listed_on_every_event():
    """Dagster keeps events forever: the family stands for them, and their number is stated."""
    many = written_schema([f"load_{zone}" for zone in range(5_000)], "load_", [LOAD], partitions=1)
    assert [column.name for column in many.columns] == [*LONG, "load_*"]
    assert many.constraints.other == ["unique (timestamp, name)", "5,000 series"]
    defined = defined_schema([f"load_{zone}" for zone in range(5_000)], [])
    assert [column.name for column in defined.columns] == LONG
    assert defined.constraints.other == ["unique (timestamp, name)", "5,000 series"]
    range_run = written_schema([f"load_{zone}" for zone in range(90)], "load_", [LOAD], partitions=365)
    assert [column.name for column in range_run.columns] == [*LONG, "load_*"]
    assert len(written_schema([f"load_{zone}" for zone in range(90)], "load_", [LOAD], partitions=31).columns) == 93


# Events


def returning(frame, **asset):
    @temporis_asset(data_source="store_metrics", name="orders", **asset)
    def orders() -> pd.DataFrame:
        return frame

    return orders


def test_events_state_what_was_written(project):
    """Each of a range of partitions; the row count of an asset without partitions is that of its frame."""
    frame = pd.DataFrame({"orders": range(48)}, index=HOURS)
    ranged = project.run(returning(frame, partitions_def=DAYS), tags=key_range("2024-06-01", "2024-06-02"))
    for metadata in materializations(ranged, "orders").values():
        assert [column.name for column in metadata["dagster/column_schema"].columns] == [*LONG, "orders"]
        assert metadata["dagster/storage_kind"] == "temporis"
        assert "dagster/row_count" not in metadata
    (metadata,) = materializations(project.run(returning(frame[:30])), "orders").values()
    assert metadata["dagster/row_count"] == 30


def test_a_dry_run_states_no_table(url, instance, source):
    """Nothing is stored, so nothing has columns or rows."""
    from temporis_dagster import TemporisResource

    temporis = TemporisResource(url=url, dry_run=True)
    frame = pd.DataFrame({"orders": range(48)}, index=HOURS)
    run = dg.materialize(
        [returning(frame)], instance=instance, resources={"temporis_io_manager": TemporisIOManager(temporis=temporis)}
    )
    (metadata,) = materializations(run, "orders").values()
    assert not {"dagster/column_schema", "dagster/row_count", "dagster/table_name"} & set(metadata)


def test_a_schema_of_the_project_is_repeated_by_events(project):
    """The catalog shows the latest event's schema, so that must not hide the project's own."""
    mine = dg.TableSchema([dg.TableColumn("orders", "int", "Mine.")])
    frame = pd.DataFrame({"orders": range(48)}, index=HOURS)
    run = project.run(returning(frame, metadata={"dagster/column_schema": mine}))
    (metadata,) = materializations(run, "orders").values()
    assert metadata["dagster/column_schema"] == mine


def test_an_address_and_a_row_count_of_the_project_are_kept_by_events(project):
    """A catalog that knows the table under another name goes on knowing it."""
    address = {"dagster/table_name": "warehouse.orders", "dagster/storage_kind": "warehouse"}

    @temporis_asset(data_source="store_metrics", metadata=address)
    def orders(context: dg.AssetExecutionContext):
        context.add_output_metadata({"dagster/row_count": 1_000})  # of everything, say
        return pd.DataFrame({"orders": range(48)}, index=HOURS)

    (metadata,) = materializations(project.run(orders), "orders").values()
    assert {key: metadata[key] for key in address} == address
    assert metadata["dagster/row_count"] == 1_000


def test_braces_of_a_name_are_shown_once(project):
    """They are doubled in series=, where single ones would be a template, and nowhere else."""
    frame = pd.DataFrame({"load_{de}": range(48)}, index=HOURS)
    cases = (
        (["load_{{de}}", "{{x}}"], ["load_{de}", "{x}"], ["load_{de}", "{x}"]),
        ([Series("load_{{de}}", unit="MW")], ["load_{de}"], ["load_{de}"]),
        ("load_{{de", ["load_{de*"], ["load_{de}"]),
    )
    for series, defined, written in cases:
        asset = returning(frame, series=series)
        columns = asset.get_asset_spec().metadata["dagster/column_schema"].columns[3:]
        assert [column.name for column in columns] == defined
        (metadata,) = materializations(project.run(asset), "orders").values()
        assert [column.name for column in metadata["dagster/column_schema"].columns[3:]] == written


def test_dagsters_check_of_schema_changes_names_new_series(project):
    """And a unit that changed."""
    check = dg.build_column_schema_change_checks(assets=[dg.AssetKey("orders")])

    def checked(frame, **asset):
        orders = returning(frame, **asset)
        run = project.run(orders, *check, selection=[orders])
        (evaluation,) = run.get_asset_check_evaluations()
        return evaluation.passed, evaluation.description

    one = pd.DataFrame({"load_de": range(48)}, index=HOURS)
    assert checked(one, series=[LOAD])[0]
    assert checked(one, series=[LOAD])[0]
    passed, said = checked(one.assign(load_fr=1), series=[LOAD])
    assert not passed
    assert "Added columns: load_fr" in said
    passed, said = checked(one.assign(load_fr=1), series=[Series(prefix="load_", unit="kW")])
    assert not passed
    assert "load_fr: series [MW] -> series [kW]" in said


def test_dagsters_check_of_bounds_reads_our_figures(project):
    """Every count is a number under one key: of rows, of series, of what was left out."""
    checks = [
        *dg.build_metadata_bounds_checks(assets=["orders"], metadata_key="dagster/row_count", min_value=24),
        *dg.build_metadata_bounds_checks(assets=["orders"], metadata_key="temporis/series_count", max_value=1),
    ]
    frame = pd.DataFrame({"orders": range(48)}, index=HOURS)
    for rows, passed in ((48, [True, True]), (20, [False, True])):
        orders = returning(frame[:rows])
        run = project.run(orders, *checks, selection=[orders])
        assert sorted(one.passed for one in run.get_asset_check_evaluations()) == passed


# Lineage

ORDERS, PRICES = dg.AssetKey(["shop", "orders"]), dg.AssetKey("prices")
QUERIES = {  # the query, and from where its columns come
    "wide": (
        "SELECT at AS timestamp, count(*) AS placed, sum(price) AS revenue FROM orders GROUP BY at",
        {"timestamp": ["at"], "revenue": ["price"]},
    ),
    "long": (
        "SELECT at AS timestamp, shop AS name, price AS value, id FROM shop.orders",
        {"timestamp": ["at"], "name": ["shop"], "value": ["price"]},
    ),
    "a cast bound": (
        "SELECT at AS timestamp, price FROM orders WHERE at >= :start::timestamptz AND at < :end",
        {"timestamp": ["at"], "price": ["price"]},
    ),
    "through a subquery and a join": (
        "WITH s AS (SELECT o.at, o.items * p.price paid FROM orders o, prices p) SELECT at AS timestamp, paid FROM s",
        {"timestamp": ["at"], "paid": ["price", "items"]},
    ),
    "a union": (
        "SELECT at AS timestamp, items FROM orders UNION ALL SELECT day, price FROM prices",
        {"timestamp": ["day", "at"], "items": ["price", "items"]},
    ),
    "every column of a subquery": (
        "WITH few AS (SELECT * FROM orders WHERE at >= :start) SELECT at AS timestamp, price FROM few WHERE at < :end",
        {"timestamp": ["at"], "price": ["price"]},
    ),
    "a series in capitals": (
        'SELECT at AS timestamp, price AS "Load NY" FROM orders',
        {"timestamp": ["at"], "Load NY": ["price"]},
    ),
    "a table that no dependency is named after": ("SELECT at AS timestamp, price FROM invoices", None),
    "columns that may be of either table": ("SELECT at AS timestamp, price FROM orders, prices", None),
    "every column": ("SELECT * FROM orders", None),
    "no column": ("SELECT :start AS timestamp, 'example' AS name, 1.0 AS value WHERE :start < :end", None),
    "SQL of another world": ("MATCH (o:Order) RETURN o.at AS timestamp (", None),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_says_where_its_columns_come_from(case):
    """As far as its SQL says it, for the tables that are dependencies; nothing is guessed."""
    query, expected = QUERIES[case]
    found = column_lineage(query, "", [ORDERS, PRICES], FrameColumns(), None)
    assert (
        found and {name: [dep.column_name for dep in deps] for name, deps in found.deps_by_column.items()}
    ) == expected


def test_a_table_that_may_be_either_of_two_assets_has_no_lineage():
    """shop/orders and erp/orders are both tables named orders; with its schema, the query says which it is."""
    keys = [ORDERS, dg.AssetKey(["erp", "orders"])]
    assert column_lineage("SELECT at AS timestamp, price FROM orders", "", keys, FrameColumns(), None) is None
    found = column_lineage("SELECT at AS timestamp, price FROM erp.orders", "", keys, FrameColumns(), None)
    assert {dep.asset_key for deps in found.deps_by_column.values() for dep in deps} == {keys[1]}


def test_lineage_follows_the_columns_that_the_frame_is_read_by():
    """A timestamp under another name, and columns called name and value that are series of a wide frame."""
    query = "SELECT day AS ts, name, value FROM orders"
    columns = FrameColumns(timestamp="ts")
    wide = column_lineage(query, "", [ORDERS], columns, "wide")
    assert list(wide.deps_by_column) == ["timestamp", "name", "value"]
    other = column_lineage(query, "", [ORDERS], FrameColumns("ts", "series", "reading"), None)
    assert list(other.deps_by_column) == ["timestamp", "name", "value"]
    long = column_lineage(
        "SELECT day AS ts, tag AS s, v AS r FROM orders", "", [ORDERS], FrameColumns("ts", "s", "r"), None
    )
    origins = {name: deps[0].column_name for name, deps in long.deps_by_column.items()}
    assert origins == {"timestamp": "day", "name": "tag", "value": "v"}
