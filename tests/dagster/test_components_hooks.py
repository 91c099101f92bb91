"""What a subclass and a YAML file may change about a TemporisIngestComponent, as with Dagster's own components."""

import dagster as dg
import pandas as pd
import pytest

from temporis_dagster import TemporisIngestComponent
from temporis_dagster.components import PythonFunction
from tests.support.component_tools import Project
from tests.support.dagster_harness import RANGE_END, RANGE_START, attempts, materializations

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

DAYS = {"type": "daily", "start_date": "2024-06-01", "end_date": "2024-06-08", "timezone": "UTC"}
NOON = 1_717_416_000.0  # 2024-06-03 12:00 UTC
calls = []


def fetch(start, end):
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({"orders": range(len(hours))}, index=hours)


def fetch_at_the_third_attempt(start, end):
    calls.append(start)
    if len(calls) < 3:
        raise ConnectionError("The shop does not answer.")
    return fetch(start, end)


def noon():
    return NOON


def function(name):
    return f"{__name__}.{name}"


class ShopIngestComponent(TemporisIngestComponent):
    """A company's own type: all of its assets are named and owned alike, and store thousands."""

    def get_asset_spec(self) -> dg.AssetSpec:
        spec = super().get_asset_spec()
        return spec.replace_attributes(key=spec.key.with_prefix("shop"), owners=["team:shop"]).merge_attributes(
            metadata={"source": self.data_source}, kinds={"shop"}
        )

    def execute(self, context: dg.AssetExecutionContext) -> pd.DataFrame:
        context.log.info("Fetching for %s", context.partition_key)
        return super().execute(context) / 1_000


class ConstantComponent(TemporisIngestComponent):
    """A type with an extraction and an attribute of its own, and with neither a query nor a function."""

    level: float

    def execute(self, context: dg.AssetExecutionContext) -> pd.DataFrame:
        at = pd.DatetimeIndex(["2024-06-01"], tz="UTC")
        return pd.DataFrame({f"level_{context.partition_key}": self.level}, index=at)


@pytest.fixture
def project(tmp_path):
    """Makes a project of one component, and closes it at the end."""
    opened = []

    def make(asset=None, *, kind=TemporisIngestComponent, **attributes):
        given = {"asset": {"key": "orders", "partitions_def": DAYS, **(asset or {})}, **attributes}
        opened.append(Project(tmp_path, given, kind=kind).__enter__())
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__()


def test_a_subclass_decides_how_the_asset_is_defined(project):
    """Key, owners, kinds and metadata from get_asset_spec; the job and the checks follow the key."""
    ours = project(kind=ShopIngestComponent, function=function("fetch"), schedule={"lookback": 1})
    spec = ours.asset.get_asset_spec()
    assert (spec.key, spec.owners) == (dg.AssetKey(["shop", "orders"]), ["team:shop"])
    assert spec.kinds == {"temporis", "pandas", "shop"}
    assert (spec.metadata["source"], spec.metadata["temporis/data_source"]) == ("grid_load", "grid_load")
    assert ours.defs.resolve_job_def("shop__orders_job").asset_layer.asset_graph.has(spec.key)


def test_a_subclass_decides_what_is_stored(project):
    """The frame from execute is what the IO manager upserts."""
    ours = project(kind=ShopIngestComponent, function=function("fetch"))
    assert ours.run("2024-06-01").success
    assert ours.stored()["value"].tolist() == [hour / 1_000 for hour in range(24)]


def test_a_subclass_that_fetches_by_itself_needs_no_query_and_any_partitions(project):
    """Only a query and a function need time windows."""
    zones = {"type": "static", "partition_keys": ["north", "south"]}
    ours = project({"partitions_def": zones}, kind=ConstantComponent, level=3.5)
    assert ours.run("north").success
    assert ours.stored()[["name", "value"]].values.tolist() == [["level_north", 3.5]]
    with pytest.raises(Exception, match="Exactly one of sql: and function: must be given"):
        project()


def test_translation_sees_the_asset_and_its_data_source(project):
    """A prefix, a group from a template, and metadata and tags that are added to those of the asset."""
    ours = project(
        {"metadata": {"of": "asset"}, "tags": {"tier": "gold"}},
        function=function("fetch"),
        translation={
            "key_prefix": "raw",
            "group_name": "{{ data_source }}",
            "metadata": {"was": "{{ spec.key.to_user_string() }}"},
            "tags": {"from": "yaml"},
        },
    )
    spec = ours.asset.get_asset_spec()
    assert (spec.key.to_user_string(), spec.group_name) == ("raw/orders", "grid_load")
    assert (spec.metadata["of"], spec.metadata["was"]) == ("asset", "orders")
    assert {key: spec.tags[key] for key in ("tier", "from")} == {"tier": "gold", "from": "yaml"}
    assert spec.partitions_def == dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-08", timezone="UTC")
    assert ours.run("2024-06-01").success


@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")  # Dagster's own, when it reads YAML
def test_translation_can_be_a_function_of_the_project():
    """A template may call a function, which returns a spec, as in Dagster's components."""

    def owned(spec):
        return spec.replace_attributes(owners=["team:data"])

    component = TemporisIngestComponent.resolve_from_yaml(
        f"""
        data_source: shop
        asset: {{key: orders}}
        function: {__name__}.noon
        translation: "{{{{ owned(spec) }}}}"
        """,
        scope={"owned": owned},
    )
    assert component.get_asset_spec().owners == ["team:data"]


def test_a_wrong_translation_is_refused(project):
    """An attribute that assets do not have never waits for a run."""
    with pytest.raises(Exception, match="ownerz"):
        project(function=function("fetch"), translation={"ownerz": ["team:shop"]})


def test_a_retry_policy_from_yaml(project):
    """The step runs again, and fetches again, as often as the policy says."""
    calls.clear()
    policy = {"max_retries": 2, "delay": 0.01, "backoff": "exponential", "jitter": "full"}
    ours = project(function=function("fetch_at_the_third_attempt"), retry_policy=policy)
    assert ours.asset.op.retry_policy == dg.RetryPolicy(2, 0.01, dg.Backoff.EXPONENTIAL, dg.Jitter.FULL)
    run = ours.run("2024-06-01")
    assert (run.success, attempts(run), len(ours.stored())) == (True, 3, 24)


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_retries": 0}, "max_retries must be at least 1, got 0"),
        ({"delay": -1}, "delay must be a number of seconds, 0 or more, got -1"),
        ({"backoff": "quadratic", "delay": 1}, "backoff"),
        ({"jitter": "full"}, "but there is none. Add delay"),
        ({"retries": 3}, "retries"),
    ],
)
def test_a_retry_policy_that_means_nothing_is_refused(project, policy, complaint):
    """When the code is loaded: also a jitter without a delay that it could vary."""
    with pytest.raises(Exception, match=complaint):
        project(function=function("fetch"), retry_policy=policy)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "multi_run", "max_partitions_per_run": 7}, dg.BackfillPolicy.multi_run(7)),
        ({"type": "single_run"}, dg.BackfillPolicy.single_run()),
        (None, dg.BackfillPolicy.single_run()),
    ],
)
def test_a_backfill_policy_from_yaml(project, given, expected):
    """As Dagster's own components spell it; without it, the decorator's default."""
    assert project(function=function("fetch"), backfill_policy=given).asset.backfill_policy == expected


def test_a_plot_from_yaml(project):
    """plot: true shows a picture of what was written."""
    pytest.importorskip("matplotlib")
    run = project(function=function("fetch"), plot=True).run("2024-06-01")
    assert "temporis/plot" in materializations(run, "orders")["2024-06-01"]


def test_a_clock_from_yaml(project):
    """Checks and sensors of data of the past judge them by a clock that the project names."""
    clock = function("noon")
    ours = project(
        function=function("fetch"),
        series_checks={"max_age": "13h", "clock": clock},
        gap_fill={"horizon": 30, "clock": clock},
    )
    assert ours.run("2024-06-02").success
    (check,) = [one for one in ours.defs.asset_checks if "observation_freshness_check" in str(one.check_keys)]
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(check))
    defs = dg.Definitions.merge(ours.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("checks").execute_in_process(instance=ours.instance)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    (sensor,) = ours.defs.get_repository_def().sensor_defs
    with dg.build_sensor_context(
        ours.instance,
        repository_def=ours.defs.get_repository_def(),
        resources={"temporis": ours.temporis},
        sensor_name=sensor.name,
    ) as context:
        (request,) = sensor.evaluate_tick(context).run_requests
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2024-06-01", "2024-06-01")


def test_a_clock_that_does_not_exist_is_refused(project):
    """When the code is loaded."""
    with pytest.raises(Exception, match="has no function midnight"):
        project(function=function("fetch"), series_checks={"max_age": "1h", "clock": function("midnight")})


def test_the_type_says_what_it_produces(project):
    """The picker of the UI filters by it: every kind of definition that a component can make, and no other."""
    ours = project(
        function=function("fetch"),
        schedule={"lookback": 1},
        gap_fill={"horizon": 5},
        series_checks={"max_age": "3h"},
    )
    repository = ours.defs.get_repository_def()
    made = {
        "asset": ours.defs.resolve_all_asset_specs(),
        "asset_check": ours.defs.asset_checks,
        "job": [job for job in repository.get_all_jobs() if not job.name.startswith("__")],
        "schedule": repository.schedule_defs,
        "sensor": repository.sensor_defs,
    }
    spec = TemporisIngestComponent.get_spec()
    assert sorted(spec.produces) == sorted(kind for kind, definitions in made.items() if definitions)
    assert spec.owners
    assert spec.description == TemporisIngestComponent.get_description()
    assert PythonFunction.__doc__ not in spec.description
