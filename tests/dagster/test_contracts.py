"""Contracts of series in Dagster: on an asset, in its metadata, in runs, in YAML, and as the expectations of checks."""

import re
import subprocess
import sys
from datetime import timedelta

import dagster as dg
import pandas as pd
import pandera.pandas as pandera
import pytest

from temporis_dagster import (
    ConfigurationError,
    DataSource,
    Series,
    TemporisIOManager,
    TemporisResource,
    build_series_checks,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.asset_options import contracts_of
from tests.support.component_tools import Project as ComponentProject
from tests.support.dagster_harness import attempts, failure_of, materializations
from tests.support.io_manager_tools import DAYS, SOURCE, Project, failure

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

IO_MANAGER = "temporis_io_manager"
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
    advised = [Series(prefix="wind_"), Series(prefix="wind_output_", unit="kW"), Series(prefix="wind_speed_")]
    assert metadata_of(writing(None, series=advised))["temporis/series"] == "wind_"
    assert contracts_of(said) == tuple(nested)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([Series(prefix="load_"), "price"], "'price' does not begin with 'load_'"),
        ([Series(prefix="load_"), Series(prefix="lo_")], "does not begin with"),
        (
            [Series(prefix="output_"), Series(prefix="wind_speed_")],
            "such as 'site_' in 'site_output_', and state a contract of that prefix, 'site_', as well.",
        ),
        (
            [Series(prefix="wind_output_"), Series(prefix="wind_speed_")],
            "All of these begin with 'wind_': state a contract of that prefix as well.",
        ),
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "temporis/contracts must be a list of contracts, got 'a'"),
        ([{"name": "a", "min": 0}], "got 'min' in {'name': 'a', 'min': 0}"),
        ([{"minimum": 0}], "Series has neither a name nor a prefix"),
        ([{"name": "a"}, {"name": "a"}], "There are two contracts for 'a'"),
    ],
)
def test_metadata_that_hold_no_contracts_are_refused(project, given, message):
    """They may be written by hand: at load with the decorator, in the run on a plain ``dg.asset``."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        writing(None, metadata={"temporis/contracts": given})

    @dg.asset(metadata={"temporis/data_source": SOURCE, "temporis/contracts": given}, io_manager_key=IO_MANAGER)
    def load():
        return hourly(a=range(24))

    assert message in failure(project.run(load))


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


# Checks


NOON = 1_718_884_800  # 2024-06-20 12:00 UTC
GAPS, PRESENCE, BOUNDS = "observation_gaps_check", "expected_series_check", "observation_bounds_check"
LOADS = [
    Series("load_de", every="1h", minimum=0, maximum=90),
    Series(prefix="load_", every="2h", maximum=50),
    Series("load_plan", description="no cadence and no bounds"),
]


def before_noon(name, *observations):
    stamps = [NOON - hours * 3600 for hours, _ in observations]
    return pd.DataFrame({"timestamp": stamps, "name": name, "value": [float(value) for _, value in observations]})


def checked(url, asset, **expected):
    """Run the checks at noon; the evaluations by name."""
    checks = build_series_checks(assets=[asset], clock=lambda: NOON, **expected)
    definitions = dg.Definitions(
        assets=[asset, data_source_spec(SOURCE)],
        asset_checks=checks,
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))],
        resources={
            "temporis": TemporisResource(url=url),
            "temporis_io_manager": TemporisIOManager(temporis=TemporisResource(url=url)),
        },
        executor=dg.in_process_executor,
    )
    result = definitions.resolve_job_def("checks").execute_in_process()
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def shown(evaluation, kind):
    return [record.data for record in evaluation.metadata[f"temporis/{kind}_rows"].records]


def test_checks_expect_what_the_contracts_state(url, source):
    """Nothing is said again: exact names must exist, and each series has the cadence and the bounds of its contract."""
    source.upsert(before_noon("load_de", (3, 1), (2, 91), (0, 90)))  # a gap of 2 hours, one value too high
    source.upsert(before_noon("load_fr", (4, 51), (2, -1), (0, 50)))  # of the family: no gap, one value too high
    said = checked(url, writing(None, series=LOADS))
    assert sorted(said) == sorted([GAPS, PRESENCE, BOUNDS])
    assert [(row["series"], row["length_s"]) for row in shown(said[GAPS], "gap")] == [("load_de", 7200)]
    outside = [(row["series"], row["value"], row["low"], row["high"]) for row in shown(said[BOUNDS], "out_of_bounds")]
    assert outside == [("load_de", "91.0", "0.0", "90.0"), ("load_fr", "51.0", "-inf", "50.0")]
    assert said[PRESENCE].metadata["temporis/missing_series"].value == ["load_plan"]


def test_checks_say_what_they_expect():
    """In their descriptions, which Dagster shows before any run; one cadence reads as an argument does."""
    (checks,) = build_series_checks(assets=[writing(None, series=LOADS)])
    said = {spec.name: spec.description for spec in checks.check_specs}
    assert said == {
        GAPS: "Neighbouring observations are at most as far apart as in the contracts: 1 hour, 2 hours.",
        PRESENCE: "There are observations of 'load_de', 'load_plan'.",
        BOUNDS: "The values of 'load_de', series like 'load_...' are within the bounds of their contracts.",
    }
    (checks,) = build_series_checks(assets=[writing(None, series=["a", Series("b", every="B")])])
    assert {spec.name: spec.description for spec in checks.check_specs} == {
        GAPS: "Neighbouring observations of a series are at most one step of B in UTC apart.",
        PRESENCE: "There are observations of 'b'.",
    }


def test_an_argument_is_used_instead_of_the_contracts(url, source):
    """For all series; an empty one leaves the check out."""
    source.upsert(before_noon("load_de", (3, 1), (2, 91), (0, -5)))
    arguments = {
        "expected_interval": timedelta(hours=2),
        "expected_series": ["load_de"],
        "bounds": {"load_de": (-9, 99)},
    }
    assert all(evaluation.passed for evaluation in checked(url, writing(None, series=LOADS), **arguments).values())
    assert sorted(checked(url, writing(None, series=LOADS), expected_series=[], bounds={})) == [GAPS]


def test_contracts_that_state_nothing_to_check_are_no_expectation():
    """A unit alone cannot be checked; the message says what can. A cadence longer than the horizon is refused."""
    family = writing(None, series=[Series(prefix="load_", unit="MW")])
    with pytest.raises(
        ConfigurationError, match=r"no expectation to check of asset 'load'.*series=\[Series\(\.\.\.\)\]"
    ):
        build_series_checks(assets=[family])
    monthly = writing(None, series=[Series("a", every="MS")])
    with pytest.raises(ConfigurationError, match=r"horizon must be longer than .* one step of MS in UTC, got 7 days"):
        build_series_checks(assets=[monthly])
    assert build_series_checks(assets=[monthly], horizon=timedelta(days=90))


def test_only_the_series_that_a_check_needs_are_read(url, source, monkeypatch):
    """Exact contracts are read by name; a family can only be found among all series."""
    reads, read = [], DataSource.read
    monkeypatch.setattr(DataSource, "read", lambda self, *bounds: reads.append(bounds[2]) or read(self, *bounds))
    checked(url, writing(None, series=["other", Series("a", minimum=0), Series("b", unit="m")]))
    checked(url, writing(None, series=LOADS))
    assert reads == [["a", "b"], None]


# YAML


def fetch():
    return pd.DataFrame({"timestamp": HOURS[:2], "name": ["a", "b"], "value": [1.0, -1.0]})


def component(tmp_path, **attributes):
    return ComponentProject(tmp_path, {"function": f"{__name__}.fetch", **attributes})


def test_a_component_takes_names_and_contracts(tmp_path):
    """As YAML reads them, the unit 1 included; they are those of ``@temporis_asset``, and checks know them."""
    contracts = [{"name": "b", "unit": 1, "minimum": 0, "integer": True}, {"name": "c", "every": "1h"}]
    with component(tmp_path, series=["a", *contracts], series_checks={}) as project:
        said = project.asset.get_asset_spec(project.asset.key).metadata
        assert said["temporis/series"] == ["a", "b", "c"]
        assert contracts_of(said) == (Series("b", unit="1", minimum=0, integer=True), Series("c", every="1h"))
        specs = {spec.name for checks in project.defs.asset_checks for spec in checks.check_specs}
        assert {GAPS, PRESENCE, BOUNDS} <= specs
        result = project.run(raise_on_error=False)
        assert "the value is below the minimum of 'b', which is 0" in failure(result)
        assert project.stored().empty


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([{"name": "b", "minimum": 2, "maximum": 1}], "Series('b'): minimum=2.0 is greater than maximum=1.0"),
        (
            [{"name": "b", "unit": "m("}],
            "with balanced parentheses, got 'm('. In YAML: '- {name: orders, minimum: 0}'.",
        ),
        ([{"name": "b", "prefix": "b"}], "both a name and a prefix"),
        ([{"minimum": 0}], "neither a name nor a prefix"),
        ([{"name": "b", "minimum": "low"}], "minimum\n  Input should be a valid number"),
        ([{"name": "b", "every": "often"}], "every must be a timedelta"),
        ([{"name": "b", "low": 0}], "low"),
        ([{"name": "b", "minimum": True}], "minimum"),
    ],
)
def test_yaml_that_states_no_contract_is_refused_at_load(tmp_path, series, message):
    """With the words of Python's error, and how to write a contract in YAML."""
    with pytest.raises(Exception, match=re.escape(message)):
        component(tmp_path, series=series)


# Schemas of pandera


SCHEMA = pandera.DataFrameSchema(
    {
        "timestamp": pandera.Column(),
        "name": pandera.Column(str, pandera.Check.isin(["a", "b"])),
        "value": pandera.Column(float, pandera.Check.ge(0)),
    }
)


class Readings(pandera.DataFrameModel):
    """A model, as projects with pandera write them."""

    value: float = pandera.Field(ge=0)


def long(*rows, index=None):
    frame = pd.DataFrame(rows, columns=["timestamp", "name", "value"], index=index)
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s", utc=True))


def refused(result):
    """(position, column, value, reason) of the rows in a failure."""
    table = failure_of(result).event_specific_data.user_failure_data.metadata["temporis/invalid_rows"]
    return [
        (row["position"], row["column"], row["value"], row["reason"]) for row in (each.data for each in table.records)
    ]


def test_what_a_schema_refuses_is_invalid_like_everything_else(project):
    """One failure lists it with the rows that break a contract; repeated labels do not hide which row it was."""
    frame = long((0, "a", 1.0), (0, "c", 1.0), (60, "a", -1.0), (120, "b", 99.0), index=[7, 7, 7, 8])
    asset = writing(frame, schema=SCHEMA, series=["a", "c", Series("b", maximum=9)])
    result = project.run(asset)
    assert "3 of 4 observations are invalid, so nothing was sent" in failure(result)
    assert refused(result) == [
        (1, "name", "c", "the asset's schema refuses it: isin(['a', 'b'])"),
        (2, "value", "-1.0", "the asset's schema refuses it: greater_than_or_equal_to(0)"),
        (3, "value", "99.0", "the value is above the maximum of 'b', which is 9"),
    ]
    assert project.read().empty
    assert metadata_of(asset)["temporis/schema"] == "pandera: timestamp, name, value"


def test_with_drop_the_rows_that_a_schema_refuses_are_left_out(project):
    """In a wide frame only the cell, unless a check is about whole rows; a missing cell that is refused counts."""
    frame = hourly(a=range(24), b=range(24)).assign(c=0.0)
    frame.iloc[5, 0], frame.iloc[6, 1], frame.iloc[7, 2] = -1.0, None, 1.0
    schema = pandera.DataFrameSchema(
        {"a": pandera.Column(float, pandera.Check.ge(0)), "b": pandera.Column(float, nullable=False)},
        index=pandera.Index(None, pandera.Check.ge(HOURS[1])),
        checks=pandera.Check(lambda frame: frame["c"] == 0, name="no_fault"),
    )
    result = project.run(writing(frame, schema=schema, on_invalid="drop"))
    assert result.success
    said = materializations(result, "load")[None]
    assert said["temporis/dropped"] == 1 + 1 + 3 + 3
    stored = project.read()
    assert len(stored) == 24 * 3 - 8
    assert HOURS[0] not in set(stored["timestamp"])
    assert HOURS[7] not in set(stored["timestamp"])
    assert set(stored[stored["timestamp"] == HOURS[5]]["name"]) == {"b", "c"}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (long((0, "a", 1.0)).drop(columns="name"), "column_in_dataframe ('name')"),
        (long((0, "a", 1)), "dtype('float64') (column 'value'"),
        (pd.Series([1.0], index=HOURS[:1], name="a"), "it must be a DataFrame, got Series"),
    ],
)
@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
def test_a_frame_of_another_shape_is_always_refused(project, frame, message, on_invalid):
    """No rows can be left out so that it fits."""
    result = project.run(writing(frame, schema=SCHEMA, on_invalid=on_invalid))
    assert "The frame does not fit the asset's schema, so nothing was sent: " in failure(result)
    assert message in failure(result)
    assert project.read().empty


def test_a_frame_that_pandera_cannot_check_is_refused(project):
    """With the way out, and not retried: the same frame fails again."""
    frame, repeated = long((0, "a", 1.0), (60, "a", 2.0)), long((0, "a", 1.0), (60, "a", 2.0), index=[7, 7])
    cases = {
        "try reset_index(drop=True)": (pd.concat([repeated, repeated]), {"unique": ["timestamp", "name"]}),
        "its index has several levels": (frame.set_index(["timestamp", "name"]), {}),
    }
    for message, (given, options) in cases.items():
        columns = {"value": pandera.Column(float, pandera.Check.ge(9))}
        asset = writing(given, schema=pandera.DataFrameSchema(columns, **options), on_invalid="drop")
        said = failure(project.run(asset))
        assert "The frame does not fit the asset's schema, so nothing was sent: " in said
        assert message in said
    assert project.read().empty


def test_a_model_is_taken_and_the_frame_is_stored_as_it_is(project):
    """Columns that the schema does not know are left alone."""
    result = project.run(writing(hourly(value=range(24), other=range(24)), schema=Readings, layout="wide"))
    assert result.success
    assert len(project.read()) == 48


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (object(), "schema must be a DataFrameSchema or a DataFrameModel of pandera.pandas, got <object"),
        ({"a": float}, "schema must be a DataFrameSchema"),
        (pandera.SeriesSchema(float), "schema must be a DataFrameSchema"),
        (pandera.DataFrameSchema(drop_invalid_rows=True), "pass on_invalid='drop' to the asset"),
        (
            pandera.DataFrameSchema({"a": pandera.Column(float, pandera.Check.ge(0, n_failure_cases=1))}),
            "Leave n_failure_cases out",
        ),
        (pandera.DataFrameSchema(checks=pandera.Check(lambda f: f["a"] > 0, n_failure_cases=1)), "n_failure_cases"),
        (pandera.DataFrameSchema({"a": pandera.Column(float, parsers=pandera.Parser(abs))}), "schema has parsers"),
        (pandera.DataFrameSchema(parsers=pandera.Parser(lambda frame: frame)), "schema has parsers"),
        (
            pandera.DataFrameSchema(
                index=pandera.MultiIndex([pandera.Index(int, pandera.Check.ge(0, n_failure_cases=1))])
            ),
            "n_failure_cases",
        ),
    ],
)
def test_what_is_no_schema_is_refused_at_load(schema, message):
    """And one that drops rows that no report would count, or would let rows pass that it refuses."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        writing(None, schema=schema)


def test_without_pandera_a_schema_is_refused_with_the_way_to_install_it(monkeypatch):
    """The extra is named."""
    monkeypatch.setattr("temporis_dagster.frame_schema.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'temporis-dagster\[pandera\]'"):
        writing(None, schema=SCHEMA)


def test_the_text_of_a_schema_is_no_schema(project):
    """Metadata that lost the schema fail the run, instead of storing what nobody checked."""
    result = project.run(writing(hourly(a=range(24)), metadata={"temporis/schema": "pandera: a"}))
    assert "temporis/schema must be the asset's schema, got 'pandera: a'" in failure(result)


def test_pandera_is_imported_only_for_a_schema():
    """An asset without one costs nothing."""
    code = """if True:
        import sys
        from temporis_dagster import Series, TemporisIOManager, build_series_checks, temporis_asset
        @temporis_asset(data_source="src", series=[Series("a", minimum=0)])
        def load(): ...
        print("pandera" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
