"""@temporis_asset and data_source_spec: what they add to Dagster's own, and that the caller's arguments win."""

import subprocess
import sys
import warnings

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, data_source_spec, temporis_asset

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = dg.DailyPartitionsDefinition("2024-06-01")
SOURCE = dg.AssetKey(["temporis", "store_metrics"])


def spec_of(**arguments):
    @temporis_asset(data_source="store_metrics", **arguments)
    def orders() -> pd.DataFrame:
        return pd.DataFrame()

    return orders


def test_adds_what_is_easy_to_forget():
    """IO manager, dependency on the data source, one run per backfill, one pool per data source, kinds, metadata."""
    orders = spec_of(partitions_def=DAYS, series=("orders", "returns"))
    assert isinstance(orders, dg.AssetsDefinition)
    spec = orders.get_asset_spec()
    assert spec.key == dg.AssetKey("orders")
    assert orders.get_io_manager_key_for_asset_key(spec.key) == "temporis_io_manager"
    assert [dep.asset_key for dep in spec.deps] == [SOURCE]
    assert orders.backfill_policy == dg.BackfillPolicy.single_run()
    assert orders.op.pool == "temporis_store_metrics"
    assert spec.kinds == {"temporis", "pandas"}
    own = {key: value for key, value in spec.metadata.items() if key.startswith("temporis/")}
    assert own == {"temporis/data_source": "store_metrics", "temporis/series": ["orders", "returns"]}


def test_what_is_given_wins_or_is_added():
    """The arguments of dagster.asset pass through; deps, kinds and metadata are merged."""
    orders = spec_of(
        name="web_orders",
        key_prefix="shop",
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.multi_run(7),
        deps=["raw_orders", SOURCE],
        kinds={"polars"},
        pool="slow_database",
        io_manager_key="other_io_manager",
        metadata={"owner": "me"},
        group_name="shop",
        retry_policy=dg.RetryPolicy(max_retries=2),
        name_column="series",
        outside_partition="drop",
        timezone="Europe/Berlin",
    )
    spec = orders.get_asset_spec()
    assert spec.key == dg.AssetKey(["shop", "web_orders"])
    assert orders.get_io_manager_key_for_asset_key(spec.key) == "other_io_manager"
    assert {dep.asset_key for dep in spec.deps} == {dg.AssetKey("raw_orders"), SOURCE}
    assert (orders.backfill_policy.max_partitions_per_run, orders.op.pool) == (7, "slow_database")
    assert (spec.kinds, spec.group_name) == ({"temporis", "pandas", "polars"}, "shop")
    assert orders.op.retry_policy.max_retries == 2
    expected = {"owner": "me", "temporis/name": "series", "temporis/outside_partition": "drop"}
    assert expected.items() <= spec.metadata.items()
    assert spec.metadata["temporis/timezone"] == "Europe/Berlin"


def test_a_dependency_with_a_mapping_stands_for_itself():
    """The data source may be named with a partition mapping."""
    mapped = dg.AssetDep(SOURCE, partition_mapping=dg.AllPartitionMapping())
    (dep,) = spec_of(partitions_def=DAYS, deps=[mapped]).get_asset_spec().deps
    assert dep.partition_mapping == dg.AllPartitionMapping()


def test_without_partitions_there_is_no_backfill_policy_and_no_warning():
    """An unpartitioned asset uses no beta feature of Dagster."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spec_of().backfill_policy is None


def test_the_only_beta_feature_is_the_backfill_policy():
    """The only warning that a user sees is the one asserted here by name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec_of(partitions_def=DAYS, series="orders")
        data_source_spec("store_metrics")
    assert {warning.category for warning in caught} == {dg.BetaWarning}
    assert all("backfill_policy" in str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data_source": "Store-Metrics"}, "cannot name a data source"),
        ({"data_source": None}, "cannot name a data source"),
        ({"series": []}, "it names no series"),
        ({"series": ""}, "the series name is empty"),
        ({"series": 5}, "it names no series"),
        ({"series": ["orders", 5]}, "a series name must be a string"),
        ({"outside_partition": "ignore"}, "outside_partition must be one of 'raise', 'drop', 'allow', got 'ignore'"),
        ({"layout": "tall"}, "layout must be one of .*, got 'tall'"),
        ({"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus'"),
        ({"timestamp": ["a"]}, "must be the name of one column"),
        ({"metadata": {"temporis/data_source": "other"}}, "Set it in one place only"),
    ],
)
def test_mistakes_show_when_the_code_is_loaded(arguments, message):
    """A wrong name or option never waits for a run to be found."""
    with pytest.raises(ConfigurationError, match=message):
        temporis_asset(**{"data_source": "store_metrics", **arguments})


def test_a_data_source_is_an_external_asset():
    """data_source_spec is an AssetSpec that writers depend on; what AssetSpec takes passes through."""
    spec = data_source_spec("store_metrics", kinds={"sqlite"}, owners=["team:ingest"], metadata={"tier": "gold"})
    assert isinstance(spec, dg.AssetSpec)
    assert (spec.key, spec.kinds, spec.owners) == (SOURCE, {"temporis", "sqlite"}, ["team:ingest"])
    assert {"temporis/data_source": "store_metrics", "tier": "gold"}.items() <= spec.metadata.items()
    defs = dg.Definitions(assets=[spec, spec_of()], resources={"temporis_io_manager": dg.mem_io_manager})
    assert not defs.resolve_asset_graph().get(SOURCE).is_executable
    with pytest.raises(ConfigurationError, match="cannot name a data source"):
        data_source_spec("store metrics")


def test_importing_the_package_costs_neither_dagster_nor_sqlalchemy():
    """Notebooks and cron jobs pay for what they use."""
    code = "import sys, temporis_dagster; print({'dagster', 'sqlalchemy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
