"""Contracts of series in Dagster: on an asset, in its metadata, in runs, in YAML, and as the expectations of checks."""

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import ConfigurationError, Series, temporis_asset
from temporis_dagster.asset_options import contracts_of
from tests.support.dagster_harness import attempts, failure_of, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

HOURS = pd.date_range("2024-06-01", periods=24, freq="h", tz="UTC")


@pytest.fixture
def project(url, instance, source):
    return Project(url, instance)


def writing(frame, **arguments):
    """Make an asset that returns a frame."""

    @temporis_asset(data_source=SOURCE, name="load", **arguments)
    def load():
        return frame

    return load


def hourly(**series):
    return pd.DataFrame({name: [float(value) for value in values] for name, values in series.items()}, index=HOURS)


def metadata_of(asset):
    return asset.get_asset_spec().metadata


def test_contracts_stand_in_the_metadata_of_the_asset():
    """As JSON, beside the names, which stay what they were; they come back equal."""
    contracts = (Series("b", unit="MW", every="1h", minimum=0), Series("c", integer=True))
    said = metadata_of(writing(None, series=["a", *contracts]))
    assert said["temporis/series"] == ["a", "b", "c"]
    assert said["temporis/contracts"] == [
        {"name": "b", "unit": "MW", "every": "1h", "minimum": 0},
        {"name": "c", "integer": True},
    ]
    assert contracts_of(said) == contracts
    assert contracts_of({"temporis/contracts": dg.MetadataValue.json(said["temporis/contracts"])}) == contracts
    assert "temporis/contracts" not in metadata_of(writing(None, series=["a"]))
    assert contracts_of({}) == ()


def test_a_family_makes_its_prefix_the_assets_own():
    """Of nested families, the shortest prefix; an exact name may have a contract of its own."""
    nested = [Series(prefix="load_de_"), Series(prefix="load_", minimum=0), Series("load_de", maximum=9)]
    said = metadata_of(writing(None, series=nested))
    assert said["temporis/series"] == "load_"
    assert contracts_of(said) == tuple(nested)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([Series(prefix="load_"), "price"], "'price' does not begin with 'load_'"),
        ([Series(prefix="load_"), Series(prefix="lo_")], "does not begin with"),
        (Series("orders"), "Pass a list: series=[Series('orders')]"),
        ([Series("a"), Series("a", unit="m")], "There are two contracts for 'a'"),
        (["a", 7], "a series name must be a string, got int"),
        ([], "it names no series"),
    ],
)
def test_contracts_that_do_not_go_together_are_refused_at_load(series, message):
    """Before any run, with what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        writing(None, series=series)
    assert message in str(caught.value)


@pytest.mark.parametrize("given", ["a", [{"name": "a", "min": 0}], [{"minimum": 0}], [{"name": "a"}, {"name": "a"}]])
def test_metadata_that_hold_no_contracts_fail_the_step(project, given):
    """They may be written by hand on a ``dg.asset``; a run says what is wrong with them and stores nothing."""
    result = project.run(writing(hourly(a=range(24)), metadata={"temporis/contracts": given}))
    assert "contract" in failure(result) or "neither a name nor a prefix" in failure(result)


def test_a_run_whose_rows_break_a_contract_fails_once_and_stores_nothing(project):
    """The failure lists the rows with the bound; no retry policy runs the body again."""
    frame = hourly(load_de=range(24), load_fr=range(-1, 23))
    asset = writing(
        frame,
        series=[Series(prefix="load_", minimum=0), Series("load_de", maximum=22)],
        partitions_def=DAYS,
        retry_policy=dg.RetryPolicy(max_retries=3),
    )
    result = project.run(asset, partition_key="2024-06-01")
    assert "2 of 48 observations are invalid, so nothing was sent" in failure(result)
    assert attempts(result) == 1
    said = failure_of(result).event_specific_data.user_failure_data.metadata
    assert said["temporis/invalid_count"].value == 2
    reasons = [record.data["reason"] for record in said["temporis/invalid_rows"].records]
    assert reasons == [
        "the value is below the minimum of 'load_fr', which is 0",
        "the value is above the maximum of 'load_de', which is 22",
    ]
    assert project.read().empty


def test_with_drop_a_run_stores_the_rest_and_counts_the_broken_rows(project):
    """As with every other invalid row."""
    asset = writing(hourly(a=range(24)), series=[Series("a", minimum=2)], on_invalid="drop")
    result = project.run(asset)
    assert result.success
    said = materializations(result, "load")[None]
    assert (said["temporis/stored"], said["temporis/dropped"]) == (22, 2)
    assert len(project.read()) == 22


def test_a_meter_that_runs_backwards_fails_the_step_even_with_drop(project):
    """Monotone always raises."""
    asset = writing(hourly(meter=[*range(23), 0]), series=[Series("meter", monotone=True)], on_invalid="drop")
    assert "is lower than the one before, in a series that is monotone" in failure(project.run(asset))
    assert project.read().empty
