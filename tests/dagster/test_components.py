"""TemporisIngestComponent: what it builds, what it refuses and where its errors point, and that it shows no secret."""

import re
import traceback
import warnings
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from hypothesis import example, given
from hypothesis import strategies as st

import temporis_dagster.components
from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    TemporisIngestComponent,
    build_archive_state_checks,
    connect,
    data_source_spec,
)
from temporis_dagster.components import PythonFunction, SqlQuery, TimeColumn
from temporis_dagster.components.automation import GapFillOptions, ScheduleOptions, SeriesCheckOptions
from temporis_dagster.components.database_url import place_of, without_secrets
from temporis_dagster.components.ingest_options import IngestOptions, RetryOptions
from temporis_dagster.data_source.observations import ObservationOptions
from temporis_dagster.write_options import ComponentFrameOptions, QueryFrameOptions
from tests.conftest import CANARY
from tests.support.component_tools import TYPE, Project
from tests.support.dagster_harness import failure_of, materializations

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")
reads_yaml = pytest.mark.filterwarnings(  # Dagster's own warnings, when it reads YAML and marks what it finds there
    "ignore:`parse_obj_as` is deprecated", "ignore::dagster.BetaWarning"
)

DAYS = {"type": "daily", "start_date": "2024-06-01", "end_date": "2024-06-08", "timezone": "UTC"}
QUERY = "SELECT at AS timestamp, items AS orders FROM orders WHERE at >= :start AND at < :end"
SQL = {"url": "{{ env.WAREHOUSE_URL }}", "query": QUERY, "time_column": {"stored_as": "epoch"}}
calls = []


def fetch(start, end, *, series="orders"):
    """An example of a user's function."""
    calls.append((start, end))
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    return pd.DataFrame({series: range(len(hours))}, index=hours)


def once():
    return pd.Series([1.0], index=pd.DatetimeIndex(["2024-06-01"], tz="UTC"), name="orders")


def missing():
    """A long frame with a value that is not there."""
    return pd.DataFrame({"timestamp": [1_717_200_000, 0], "name": "orders", "value": [float("nan"), 1.0]})


def function(name="fetch", **arguments):
    return {"call": f"{__name__}.{name}", "arguments": arguments}


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    """A table of a week of orders, one per hour, with epoch seconds."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/warehouse.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE orders (at INTEGER, items INTEGER)"))
        rows = [{"at": 1_717_200_000 + hour * 3_600, "items": hour} for hour in range(24 * 7)]
        connection.execute(sa.text("INSERT INTO orders VALUES (:at, :items)"), rows)
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{tmp_path}/warehouse.db")
    yield engine
    engine.dispose()


@pytest.fixture
def project(tmp_path):
    """Makes a project of one component, and closes it at the end."""
    opened = []

    def make(asset=None, **attributes):
        opened.append(Project(tmp_path, {"asset": {"key": "load", **(asset or {})}, **attributes}).__enter__())
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__()


def test_a_range_is_one_query_and_one_upsert(project, warehouse):
    """A run over a week of partitions asks the database once, from the first start to the last end."""
    asked = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    ours = project({"partitions_def": DAYS}, sql=SQL)
    run = ours.run("2024-06-01", to="2024-06-07")
    mine = [parameters for statement, parameters in asked if "FROM orders" in statement]
    assert [sorted(parameters) for parameters in mine] == [[1_717_200_000, 1_717_200_000 + 7 * 86_400]]
    said = materializations(run, "load")
    assert {metadata["temporis/requests"] for metadata in said.values()} <= {0, 1}
    assert [metadata["dagster/partition_row_count"] for metadata in said.values()] == [24] * 7
    assert ours.stored()["value"].tolist() == [float(hour) for hour in range(24 * 7)]


def test_a_function_is_called_with_the_window(project):
    """As f(start, end), aware and in UTC, once for a range, with the arguments that the YAML names."""
    calls.clear()
    zone = {**DAYS, "timezone": "America/New_York"}
    ours = project({"partitions_def": zone}, function=function(series="returns"))
    ours.run("2024-06-01", to="2024-06-02")
    ours.run("2024-06-05")
    assert [tuple(moment.isoformat() for moment in call) for call in calls] == [
        ("2024-06-01T04:00:00+00:00", "2024-06-03T04:00:00+00:00"),
        ("2024-06-05T04:00:00+00:00", "2024-06-06T04:00:00+00:00"),
    ]
    assert set(ours.stored()["name"]) == {"returns"}


def test_a_function_without_partitions_is_called_with_nothing(project):
    """A name alone is enough, and a Series may come back."""
    ours = project(function=f"{__name__}.once")
    assert ours.run().success
    assert ours.stored()["value"].tolist() == [1.0]


def test_it_builds_what_the_factories_build(project, warehouse):
    """Asset, external data source, archive check, series checks, job, schedule and sensor, under the usual names."""
    ours = project(
        {"partitions_def": DAYS, "group_name": "shop", "owners": ["team:shop"], "kinds": ["sqlite"], "deps": ["raw"]},
        sql=SQL,
        series=["orders"],
        schedule={"lookback": 3, "cron_schedule": "5 * * * *", "running": True},
        gap_fill={"horizon": 30},
        series_checks={
            "max_age": "3h",
            "expected_interval": "1h",
            "max_pending_age": "1h",
            "min_observations": 24,
            "bounds": {"orders": [0, None]},
        },
    )
    spec = ours.asset.get_asset_spec()
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {"raw", "temporis/grid_load"}
    assert (spec.group_name, spec.owners, spec.kinds) == ("shop", ["team:shop"], {"temporis", "pandas", "sqlite"})
    assert ours.asset.backfill_policy == dg.BackfillPolicy.single_run()
    repository = ours.defs.get_repository_def()
    assert {check.name for definition in ours.defs.asset_checks for check in definition.check_keys} == {
        *("archive_state_check", "observation_freshness_check", "observation_gaps_check"),
        *("observation_bounds_check", "pending_age_check", "observation_count_check"),
    }
    (schedule,), (sensor,) = repository.schedule_defs, repository.sensor_defs
    assert (schedule.cron_schedule, schedule.default_status) == ("5 * * * *", dg.DefaultScheduleStatus.RUNNING)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert schedule.job_name == sensor.job_name == "load_job"


@reads_yaml
def test_two_components_share_a_data_source_and_its_check(tmp_path, warehouse):
    """Without any option, the external asset and the archive check are defined only once."""
    with create_defs_folder_sandbox() as sandbox:
        for key in ("load", "returns"):
            attributes = {"data_source": "shop", "asset": {"key": key, "partitions_def": DAYS}, "sql": SQL}
            sandbox.scaffold_component(
                component_cls=TemporisIngestComponent,
                defs_path=key,
                defs_yaml_contents={"type": TYPE, "attributes": attributes},
            )
        with sandbox.build_all_defs() as defs:
            keys = {key.to_user_string() for key in resolvable(defs).resolve_asset_graph().get_all_asset_keys()}
    assert keys == {"load", "returns", "temporis/shop"}


WAITS = {"schedule": {"lookback": 1}}
SHARED = {  # two components of one data source, in the order of their folders; what the project defines by itself
    "the first without the check": ({"archive_check": False}, WAITS, False),
    "the second without the check": (WAITS, {"archive_check": False}, False),
    "both with it": (WAITS, WAITS, False),
    "neither with it": ({"archive_check": False, **WAITS}, {"archive_check": False}, False),
    "the first leaves the data source to the second": ({"define_data_source": False, **WAITS}, WAITS, False),
    "the first leaves it, the second has no check of its own to wait for": (
        *({"define_data_source": False, "archive_check": False, **WAITS}, {"archive_check": False}),
        False,
    ),
    "the project defines it": ({"define_data_source": False, **WAITS}, {"define_data_source": False}, True),
    "no component defines it": ({"define_data_source": False, **WAITS}, {"define_data_source": False}, None),
    "the only one that defines it does without the check": (
        *({"archive_check": False}, {"define_data_source": False, **WAITS}),
        None,
    ),
}


@reads_yaml
@pytest.mark.parametrize("swapped", [False, True], ids=["in order", "swapped"])
@pytest.mark.parametrize("case", SHARED)
def test_components_that_share_a_data_source_load_in_any_order(case, swapped, warehouse):
    """The archive check is defined if any component that defines the data source needs it; else an error says how.

    Which one it is does not depend on the names of the folders.
    """
    *both, by_project = SHARED[case]
    source = dg.Definitions(
        assets=[data_source_spec("shop", owners=["team:shop"])],
        asset_checks=build_archive_state_checks(data_sources={"shop": ArchiveState.ACTIVE}),
    )
    with create_defs_folder_sandbox() as sandbox:
        for folder, more in zip(("b", "a") if swapped else ("a", "b"), both, strict=True):
            attributes = {"data_source": "shop", "asset": {"key": folder, "partitions_def": DAYS}, "sql": SQL, **more}
            contents = {"type": TYPE, "attributes": attributes}
            sandbox.scaffold_component(
                component_cls=TemporisIngestComponent, defs_path=folder, defs_yaml_contents=contents
            )
        with sandbox.build_all_defs() as defs:
            project = resolvable(dg.Definitions.merge(defs, source) if by_project else defs)
            if by_project is None:
                with pytest.raises(Exception, match="Failed to resolve asset job") as caught:
                    project.get_repository_def().load_all_definitions()
                said = "".join(traceback.format_exception(caught.value))
                assert "archive check of data source 'shop', which the code location does not define" in said
                assert "Components define it together with the data source" in said
                return
            repository = project.get_repository_def()
            repository.load_all_definitions()
            checks = {key.name for key in repository.asset_graph.asset_check_keys}
    assert ("archive_state_check" in checks) == any("schedule" in one and "archive_check" not in one for one in both)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"schedule": {"lookback": True}}, "schedule.*lookback"),
        ({"schedule": {"lookback": 1.5}}, "schedule.*lookback"),
        ({"schedule": {"lookback": 1, "max_reach_back": True}}, "max_reach_back"),
        ({"gap_fill": {"horizon": True}}, "horizon"),
        ({"gap_fill": {"horizon": 3, "retry_delay_s": False}}, "retry_delay_s"),
        ({"series_checks": {"bounds": {"orders": [False, True]}}}, "bounds"),
        ({"gap_fill": {"horizon": 1}}, "horizon must be greater than exclude_latest, got horizon: 1"),
        ({"gap_fill": {"horizon": 5, "exclude_latest": 5}}, "would never look at any partition"),
        ({"asset": {"key": "load", "partitions_def": DAYS, "skippable": True}}, "Leave skippable out"),
    ],
)
def test_what_would_mean_something_else_is_refused(tmp_path, monkeypatch, more, complaint):
    """YAML's true does not mean 1, a horizon without partitions finds no gaps, and no attribute is silently ignored."""
    with pytest.raises(Exception, match=complaint):
        Project(tmp_path, {"asset": {"key": "load", "partitions_def": DAYS}, "sql": SQL, **more})


def test_numbers_may_come_from_templates(tmp_path, monkeypatch):
    """A number from the environment is text, which is read as a number."""
    monkeypatch.setenv("LOOKBACK", "4")
    more = {"schedule": {"lookback": "{{ env.LOOKBACK }}"}, "series_checks": {"bounds": {"orders": [0, None]}}}
    asset = {"key": "load", "partitions_def": DAYS}
    with Project(tmp_path, {"asset": asset, "sql": SQL, "series": ["orders"], **more}) as ours:
        assert ours.component.schedule.lookback == 4


def resolvable(defs):
    resources = {"temporis": object(), "temporis_io_manager": dg.mem_io_manager}
    return dg.Definitions.merge(defs, dg.Definitions(resources=resources))


def test_the_job_holds_the_archive_gate(project, warehouse):
    """While the data source is archived, the job fails at the check, and the query never runs."""
    ours = project({"partitions_def": DAYS}, sql=SQL, schedule={"lookback": 1})
    ours.temporis.data_source("grid_load").archive()
    job = ours.defs.resolve_job_def("load_job")
    run = job.execute_in_process(partition_key="2024-06-03", instance=ours.instance, raise_on_error=False)
    assert not run.success
    assert [event.step_key for event in run.all_node_events if event.is_step_start] == [
        "archive_state_check_of_grid_load"
    ]
    ours.temporis.data_source("grid_load").unarchive()
    assert job.execute_in_process(partition_key="2024-06-03", instance=ours.instance).success
    assert len(ours.stored()) == 24


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({}, "Exactly one of sql: and function: must be given"),
        ({"sql": SQL, "function": "os.getcwd"}, "Exactly one of sql: and function: must be given"),
        ({"sql": {**SQL, "query": " "}}, "The query is empty"),
        ({"sql": {**SQL, "query": "SELECT :begin, :end"}}, "must be both :start and :end, or none, got :begin, :end"),
        ({"sql": {**SQL, "query": "SELECT 1"}}, "the query has no :start and :end"),
        ({"sql": {"url": "sqlite://", "query": QUERY}}, "needs a time_column that declares how"),
        ({"sql": {"url": "sqlite://", "query": "SELECT 1"}}, "every partition would fetch everything"),
        ({"sql": {**SQL, "time_column": {"stored_as": "naive"}}}, "naive needs timezone"),
        ({"sql": {**SQL, "time_column": {"stored_as": "epoch", "timezone": "UTC"}}}, "epoch takes no timezone"),
        ({"sql": {**SQL, "time_column": {"stored_as": "text", "timezone": "UTC"}}}, "text needs format"),
        ({"sql": {**SQL, "time_column": {"stored_as": "naive", "timezone": "Mars/Olympus"}}}, "Mars/Olympus"),
        ({"sql": {**SQL, "time_column": {"stored_as": "timestamptz", "unit": "ms"}}}, "takes no unit"),
        ({"function": "fetch"}, "does not name the function's module"),
        ({"function": "no_such_module.fetch"}, "There is no module no_such_module"),
        ({"function": f"{__name__}.fetched"}, "has no function fetched"),
        ({"function": f"{__name__}.DAYS"}, "must be a function, got dict"),
        ({"function": function("once")}, r"once\(\) cannot be called with \(start, end\)"),
        ({"function": function(lag=3)}, "unexpected keyword argument 'lag'"),
        ({"sql": SQL, "series_checks": {"max_age": "soon"}}, "as in 90s, 15min, 3h or 7D, got 'soon'"),
        ({"sql": SQL, "series_checks": {"max_age": "15"}}, "must have a number and a unit"),
        ({"sql": SQL, "series_checks": {"bounds": {"orders": [1]}}}, "Each of the bounds must be a pair"),
        ({"sql": SQL, "data_source": "Grid Load"}, "cannot name a data source"),
        ({"sql": SQL, "asset": {"key": "load"}}, "the asset has no partitions"),
        (
            {"sql": SQL, "asset": {"key": "load", "partitions_def": {"type": "static", "partition_keys": ["a"]}}},
            "must be time windows",
        ),
        ({"function": f"{__name__}.once", "asset": {"key": "load"}, "gap_fill": {"horizon": 3}}, "Add partitions_def"),
        ({"sql": SQL, "schedul": {}}, "schedul"),
    ],
)
def test_mistakes_show_when_the_code_is_loaded(tmp_path, attributes, complaint):
    """A wrong attribute never waits for a run to be found, and the message ends with what to do."""
    with pytest.raises(Exception, match=complaint):
        Project(tmp_path, {"asset": {"key": "load", "partitions_def": DAYS}, **attributes})


@reads_yaml
def test_a_mistake_points_at_its_line():
    """Where an attribute of the YAML is wrong, the message names the file and the line."""
    attributes = {"data_source": "shop", "asset": {"key": "load", "partitions_def": DAYS}}
    contents = {"type": TYPE, "attributes": {**attributes, "sql": {**SQL, "query": "SELECT :begin"}}}
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=TemporisIngestComponent, defs_yaml_contents=contents)
        lines = (path / "defs.yaml").read_text().splitlines()
        line = next(number for number, text in enumerate(lines, 1) if text.strip() == "sql:")
        with pytest.raises(Exception) as caught, sandbox.build_all_defs():
            pass
    said = "".join(traceback.format_exception(caught.value))
    assert f"defs.yaml:{line} " in said
    assert "must be both :start and :end, or none" in said


def scaffolded(sandbox, *, project, **params):
    """The folder of a scaffolded component, in a project's package or in a bare folder."""
    if project:
        (sandbox.defs_folder_path.parent / "__init__.py").touch()
    return sandbox.scaffold_component(component_cls=TemporisIngestComponent, defs_path="first", scaffold_params=params)


@reads_yaml
@pytest.mark.parametrize("source", ["sqlite", "postgres", "function"])
def test_what_is_scaffolded_loads_and_runs(source, request, tmp_path, monkeypatch):
    """Without edits, with the project's resources next to it: from any database, or from the function."""
    databases = {"postgres": lambda: request.getfixturevalue("postgres"), "function": str}
    monkeypatch.setenv("WAREHOUSE_URL", databases.get(source, lambda: "sqlite://")())
    monkeypatch.setenv("TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        stored = temporis.create_data_source("plant_a")
        with create_defs_folder_sandbox() as sandbox:
            scaffolded(sandbox, project=True, data_source="plant_a", function=source == "function")
            with sandbox.build_all_defs() as defs:
                defs.get_repository_def().load_all_definitions()
                job = defs.resolve_implicit_global_asset_job_def()
                assert job.execute_in_process(partition_key="2024-01-01").success
        assert len(stored.read(names=["example"])) == (24 if source == "function" else 1)


@reads_yaml
def test_what_is_scaffolded_says_what_to_do_next(monkeypatch):
    """Its first lines name the asset to launch and, for the schedule that they advise, the job that then exists."""
    monkeypatch.setenv("WAREHOUSE_URL", "sqlite://")
    monkeypatch.setenv("TEMPORIS_URL", "sqlite:///temporis.db")
    with create_defs_folder_sandbox() as sandbox:
        path = scaffolded(sandbox, project=True, data_source="plant_a", asset_key="boiler/load") / "defs.yaml"
        text = path.read_text()
        (asset,) = re.findall(r"^#   dg launch --assets (\S+) --partition 2024-01-01$", text, re.MULTILINE)
        (job,) = re.findall(r"^#   dg launch --job (\S+) --partition 2024-01-01$", text, re.MULTILINE)
        (schedule,) = re.findall(r"'(schedule: .*)'", text)
        path.write_text(text.replace("\nattributes:\n", f"\nattributes:\n  {schedule}\n"))
        with sandbox.build_all_defs() as defs:
            assert dg.AssetKey(asset.split("/")) in defs.resolve_job_def(job).asset_layer.executable_asset_keys


@reads_yaml
def test_what_is_scaffolded_holds_no_secret_and_overwrites_nothing():
    """The URL is the name of a variable; resources that a project has, or a module of that name, are left alone."""
    with create_defs_folder_sandbox() as sandbox:
        path = scaffolded(sandbox, project=True, data_source="plant_a", asset_key="boiler/load")
        attributes = yaml.safe_load((path / "defs.yaml").read_text())["attributes"]
        assert (attributes["asset"]["key"], attributes["sql"]["url"]) == ("boiler/load", "{{ env.WAREHOUSE_URL }}")
        resources = sandbox.defs_folder_path / "resources.py"
        assert "temporis_io_manager" in resources.read_text()
        resources.write_text("# temporis_io_manager: elsewhere")
        scaffolded(sandbox, project=True)
        assert [module.name for module in sandbox.defs_folder_path.glob("*.py")] == ["resources.py"]
        resources.write_text("mine = 1")
        scaffolded(sandbox, project=True)
        assert resources.read_text() == "mine = 1"
        assert "TemporisIOManager" in (sandbox.defs_folder_path / "temporis_resources.py").read_text()
    with create_defs_folder_sandbox() as sandbox:
        scaffolded(sandbox, project=False)
        assert not list(sandbox.defs_folder_path.glob("*.py"))


def test_every_attribute_is_described_as_the_ui_shows_it():
    """Attributes in plain text, also where they have a default; classes in Markdown, not in reStructuredText."""
    schema = TemporisIngestComponent.get_model_cls().model_json_schema()
    own = {name: kind for name, kind in schema["$defs"].items() if hasattr(temporis_dagster.components, name[:-5])}
    options = [ScheduleOptions, GapFillOptions, SeriesCheckOptions, RetryOptions]
    own |= {f"{kind.__name__}Model": schema["$defs"][f"{kind.__name__}Model"] for kind in options}
    assert len(own) == 7
    for name, kind in {"TemporisIngestComponent": schema, **own}.items():
        for field, said in kind["properties"].items():
            text = said.get("description") or ""
            assert text.endswith("."), (name, field)
            assert "`" not in text, (name, field)
    without = [name for name, said in schema["properties"].items() if "examples" not in said]
    assert without == [
        "define_data_source",
        "archive_check",
        "sql",
    ]  # the UI shows true or false, and those of the query
    for kind in (TemporisIngestComponent, SqlQuery, TimeColumn, PythonFunction, *options):
        assert not re.search(r"(?<!`)``(?!`)|\.\. code-block", kind.__doc__), kind


def test_the_password_is_nowhere(project, monkeypatch):
    """Neither definitions nor failures nor the log contain it, however the URL is given."""
    url = f"postgresql+psycopg://reader:{CANARY}@127.0.0.1:1/shop?sslpassword={CANARY}"
    monkeypatch.setenv("WAREHOUSE_URL", url)
    for said in (url, "{{ env.WAREHOUSE_URL }}"):
        ours = project({"partitions_def": DAYS}, sql={**SQL, "url": said})
        assert CANARY not in repr(ours.component)
        run = ours.run("2024-06-01", raise_on_error=False)
        failure = failure_of(run).step_failure_data
        assert "The query failed at postgresql+psycopg://127.0.0.1:1/shop" in failure.error.to_string()
        assert CANARY not in failure.error.to_string() + repr(failure.user_failure_data)
        assert CANARY not in repr(ours.instance.all_logs(run.run_id))


SECRETS = {  # the URL, the words of a driver, what of them may be seen
    "user": ("postgresql://scada_reader@h/shop", 'role "scada_reader" does not exist', 'role "***" does not exist'),
    "user in capitals": ("oracle://reader:x1y2@h/shop", "ORA-01017: READER denied", "ORA-01017: *** denied"),
    "a short user": (
        "mssql+pymssql://sa:x1y2@h/shop",
        "Login failed for user 'sa'. same",
        "Login failed for user '***'. same",
    ),
    "user and host": (
        "mysql://u1:x1y2@h/shop",
        "Access denied for 'u1'@'10.0.0.1'",
        "Access denied for '***'@'10.0.0.1'",
    ),
    "password": ("postgresql://u1:x1y2@h/shop", "pwdx1y2end", "pwd***end"),
    "encoded password": ("postgresql://u1:a%40b%2Fc@h/shop", "a@b/c or a%40b%2Fc or a%40b/c", "*** or *** or a%40b/c"),
    "quoted password": (
        "postgresql://u1:a'b%5Cc@h/shop",
        r"""'a\'b\\c' or a'b\c or "a'b\\c" or 'a''b\c'""",
        """'***' or *** or "***" or '***'""",
    ),
    "option": ("postgresql://u1:x1y2@h/shop?options=-c%20search_path%3Dsecret", "no schema secret", "no schema ***"),
    "odbc": ("mssql+pyodbc:///?odbc_connect=DSN%3Dd1%3BUID%3Dme%3BPWD%3Dhush", "me and hush", "*** and ***"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_nothing_of_the_url_but_its_place_is_repeated(case):
    """Whatever a driver's message repeats of user, password and options is hidden, in any spelling."""
    url, said, shown = SECRETS[case]
    engine = SimpleNamespace(url=sa.make_url(url))
    hidden = without_secrets(said, engine)
    assert hidden == shown


def test_a_host_that_may_be_the_tail_of_a_password_is_not_shown():
    """An '@' after the question mark of a password leaves the host of the URL in its options."""
    engine = SimpleNamespace(url=sa.make_url("postgresql://u1:pass@word?x=y@h/shop"))
    assert place_of(engine) == "postgresql://***"
    assert without_secrets("failed to resolve host 'word'", engine) == "failed to resolve host '***'"


def test_the_user_is_in_no_failure(postgres, project, monkeypatch):
    """A real PostgreSQL names the role that it does not know."""
    url = sa.make_url(postgres).set(username="scada_reader")
    monkeypatch.setenv("WAREHOUSE_URL", url.render_as_string(hide_password=False))
    ours = project({"partitions_def": DAYS}, sql=SQL)
    run = ours.run("2024-06-01", raise_on_error=False)
    assert "does not exist" in failure_of(run).step_failure_data.error.to_string()
    assert "scada_reader" not in failure_of(run).step_failure_data.error.to_string()
    assert "scada_reader" not in repr(ours.instance.all_logs(run.run_id))


def test_the_environment_is_read_by_runs_not_by_definitions(project, monkeypatch):
    """Definitions load without the variable, and none contains its value; a run says what is missing."""
    monkeypatch.delenv("WAREHOUSE_URL", raising=False)
    ours = project({"partitions_def": DAYS}, sql=SQL)
    assert ours.component.sql.url.variable == "WAREHOUSE_URL"
    failure = failure_of(ours.run("2024-06-01", raise_on_error=False)).step_failure_data
    assert "The environment variable WAREHOUSE_URL is not set" in failure.user_failure_data.description


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        (f"postgresql//reader:{CANARY}@host/shop", "The database's URL cannot be used"),
        (f"postgresql://reader:{CANARY}@host:{CANARY}/shop", "The database's URL cannot be used"),
        (f"nosuch://reader:{CANARY}@host/shop", "The database's URL cannot be used"),
        (f"oracle+oracledb://reader:{CANARY}@host/shop", "The database driver is not installed"),
        (f"postgresql+psycopg://reader:pass@{CANARY}@host/shop", "has more than one '@'"),
        (f"postgresql+psycopg://reader:pass@{CANARY}/x@host/shop", "has more than one '@'"),
        (f"postgresql+psycopg://rea/der:{CANARY}@host/shop", "has more than one '@'"),
    ],
)
def test_a_url_that_cannot_be_used_is_not_shown(project, monkeypatch, url, complaint):
    """It may hold a password even if it cannot be parsed."""
    monkeypatch.setenv("WAREHOUSE_URL", url)
    failure = failure_of(project({"partitions_def": DAYS}, sql=SQL).run("2024-06-01", raise_on_error=False))
    assert complaint in failure.step_failure_data.user_failure_data.description
    assert CANARY not in failure.step_failure_data.error.to_string()


@pytest.mark.parametrize(
    ("query", "time_column", "complaint"),
    [
        (QUERY.replace("FROM orders", "FROM ordes"), {"stored_as": "epoch"}, "no such table: ordes"),
        (QUERY, {"stored_as": "timestamptz"}, "sqlite has no timestamptz"),
        (QUERY, {"stored_as": "naive", "timezone": "UTC"}, "seconds since 1970"),  # numbers sort before any text
        (
            "SELECT '20 June' AS timestamp, items FROM orders WHERE at >= :start AND at < :end",
            {"stored_as": "epoch", "unit": "s"},
            "is not a timestamp",
        ),
        (
            "SELECT '20 June' AS timestamp, 1 AS n WHERE '' < :start AND '' < :end",
            {"stored_as": "text", "timezone": "UTC", "format": "%Y-%m-%d"},
            "text in the form %Y-%m-%d",
        ),
        (
            "SELECT '2024-06-01T00:00' AS timestamp, 1 AS n WHERE '' < :start AND '' < :end",
            {"stored_as": "naive", "timezone": "UTC"},
            "text in the form %Y-%m-%d %H:%M:%S",
        ),
    ],
)
def test_a_failing_query_says_what_to_do(project, warehouse, query, time_column, complaint):
    """The failure has the database's message, or what the column was declared to be; nothing is stored."""
    ours = project({"partitions_def": DAYS}, sql={**SQL, "query": query, "time_column": time_column})
    run = ours.run("2024-06-01", raise_on_error=False)
    assert complaint in failure_of(run).step_failure_data.error.to_string()
    assert ours.stored().empty


BROKEN = {
    "sub_second": ("SELECT CAST(:start AS REAL) + 0.5 AS timestamp, 'a' AS name, 1 AS value WHERE :end", {}),
    "on_invalid": ("SELECT :start AS timestamp, 'a' AS name, 9e999 AS value WHERE :end UNION ALL SELECT 0, 'a', 1", {}),
    "on_conflict": (
        "SELECT :start AS timestamp, 'a' AS name, 1 AS value WHERE :end UNION ALL SELECT :start, 'a', 2",
        {"on_conflict": "raise"},
    ),
    "allow_future": ("SELECT :start + 4000000000 AS timestamp, 'a' AS name, 1 AS value WHERE :end", {}),
}
ADVISED = {"sub_second": "floor", "on_invalid": "drop", "on_conflict": "last", "allow_future": "true"}


@pytest.mark.parametrize("option", BROKEN)
def test_advice_about_an_option_is_an_attribute_in_yaml(project, warehouse, option):
    """What a run of a component says can be pasted into its file, and then does what was promised."""
    query, more = BROKEN[option]
    sql = {**SQL, "query": query}
    failed = project({"partitions_def": DAYS}, sql=sql, **more).run("2024-06-01", raise_on_error=False)
    said = failure_of(failed).event_specific_data.user_failure_data.description
    assert f" {option}: {ADVISED[option]} (attribute of the component)" in said
    assert "asset metadata" not in said
    more = {**more, option: ADVISED[option], "outside_partition": "allow"}
    assert project({"partitions_def": DAYS}, sql=sql, **more).run("2024-06-01").success


def test_advice_about_a_missing_value_of_a_query_names_the_condition(project, warehouse):
    """A NULL is left out where it is selected; where a function fills the component, its frame is what to correct."""
    query = "SELECT :start AS timestamp, 'a' AS name, NULL AS value WHERE :end"
    failed = project({"partitions_def": DAYS}, sql={**SQL, "query": query}).run("2024-06-01", raise_on_error=False)
    said = failure_of(failed).event_specific_data.user_failure_data.description
    assert "leave the row out, with '... IS NOT NULL' in the query" in said
    failed = project(function=function("missing")).run(raise_on_error=False)
    said = failure_of(failed).event_specific_data.user_failure_data.description
    assert "leave the row out" in said
    assert "query" not in said
    assert "on_invalid: drop (attribute of the component)" in said


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"series": ["other"]}, "or add the others with series (attribute of the component)."),
        ({}, "Delete them with ghost_rows: delete (attribute of the component), or with `temporis delete`."),
    ],
    ids=["series", "ghost_rows"],
)
def test_advice_about_what_is_stored_is_an_attribute_in_yaml(project, warehouse, attributes, said):
    """Not only advice about the frame: what a run may write, and what it finds to be gone, as well."""
    project({"partitions_def": DAYS}, sql=SQL).run("2024-06-01")
    ours = project({"partitions_def": DAYS}, sql={**SQL, "query": f"{QUERY} AND items > 3"}, **attributes)
    run = ours.run("2024-06-01", raise_on_error=False)
    logged = [entry.user_message for entry in ours.instance.all_logs(run.run_id)]
    failed = [] if run.success else [failure_of(run).event_specific_data.user_failure_data.description]
    assert any(said in line for line in [*logged, *failed])


def test_every_option_that_advice_can_name_is_an_attribute():
    """Advice of a component never names an option that its file cannot have."""
    for surface in (ComponentFrameOptions(), QueryFrameOptions()):
        spelled = [surface.spelled(option).split(" ")[0] for option in ObservationOptions.__dataclass_fields__]
        assert set(spelled) <= set(IngestOptions.model_fields)


def test_an_option_that_cannot_be_meant_is_named_as_in_yaml(tmp_path):
    """When the code is loaded, too."""
    with (
        pytest.raises(ConfigurationError, match=re.escape("timezone: Nowhere (attribute of the component)")),
        Project(tmp_path, {"function": function("once"), "timezone": "Nowhere"}) as made,
    ):
        made.asset.specs  # noqa: B018  builds it


def test_digits_survive_a_null_in_their_column(project, warehouse):
    """An integer of 53 bits next to a NULL is stored exactly, and the NULL is not an observation."""
    query = """
        SELECT :start AS timestamp, 9007199254740991 AS many, 1 AS few WHERE :end > 0
        UNION ALL SELECT :start + 60, NULL, 2
    """
    ours = project({"partitions_def": DAYS}, sql={**SQL, "query": query})
    ours.run("2024-06-01")
    assert ours.stored()["value"].tolist() == [1.0, 9_007_199_254_740_991.0, 2.0]


def test_rows_that_the_query_was_not_asked_for_are_refused(project, warehouse):
    """A query that shifts its times fails; it never fills a neighbouring partition."""
    ours = project({"partitions_def": DAYS}, sql={**SQL, "query": QUERY.replace("SELECT at", "SELECT at + 3600")})
    run = ours.run("2024-06-01", raise_on_error=False)
    assert "outside the run's partitions" in failure_of(run).step_failure_data.user_failure_data.description


def test_the_only_beta_feature_is_the_backfill_policy(tmp_path, warehouse):
    """The only warning that a user sees is the one asserted here by name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Project(tmp_path, {"asset": {"key": "load", "partitions_def": DAYS}, "sql": SQL}):
            pass
    ours = [warning for warning in caught if issubclass(warning.category, dg.BetaWarning | dg.PreviewWarning)]
    assert all("backfill_policy" in str(warning.message) for warning in ours)


def test_dg_finds_one_component():
    """The entry point shows the component and nothing else that dg would list."""
    names = dir(temporis_dagster.components)
    found = [name for name in names if hasattr(getattr(temporis_dagster.components, name), "__dg_package_entry__")]
    assert found == ["TemporisIngestComponent"]


CHANGES = {  # a change of each clock, in Unix seconds: an hour, half an hour, and the day that Samoa left out
    "America/New_York": 1_730_613_600,
    "Europe/London": 1_729_990_800,
    "Australia/Lord_Howe": 1_712_415_600,
    "Pacific/Apia": 1_325_239_200,
    "UTC": 0,
}
NEAR = st.integers(-3_600, 3_600) | st.integers(-100_000, 100_000)
LENGTHS = st.integers(1, 7_200) | st.integers(1, 200_000)


@example(zone="America/New_York", off=-1_800, length=7_200, inside=0.5)  # begins before the clock goes back
@example(zone="America/New_York", off=-7_200, length=9_000, inside=0.79)  # ends after it
@given(zone=st.sampled_from([*CHANGES]), off=NEAR, length=LENGTHS, inside=st.floats(0, 1, exclude_max=True))
def test_bounds_of_a_wall_clock_cover_the_window(zone, off, length, inside):
    """Whatever the clock does in the window, a row in it has a wall clock between the bounds, in every form."""
    start = CHANGES[zone] + off
    moment = start + int(inside * length)
    wall = pd.Timestamp(moment, unit="s", tz="UTC").tz_convert(zone).tz_localize(None).to_pydatetime()
    naive = TimeColumn(stored_as="naive", timezone=zone)
    bounds = naive.bounds(start, start + length, dialect="postgresql")
    assert bounds.start <= wall < bounds.end
    for dialect_form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"):
        bounds = naive.bounds(start, start + length, dialect="sqlite")
        assert bounds.start <= wall.strftime(dialect_form) < bounds.end
    for form in ("%Y%m%d", "%Y-%m-%dT%H", "%Y-%m-%d %H:%M", "%Y-%j"):
        bounds = TimeColumn(stored_as="text", timezone=zone, format=form).bounds(start, start + length, dialect="x")
        assert bounds.start <= wall.strftime(form) < bounds.end


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%y-%m-%d", "%Y-%m", "%Y-%b-%d", "%Y-%m-%d %I:%M", "%Y-%m-%d %z", "%H:%M"]
)
def test_text_that_does_not_sort_as_time_is_refused(form):
    """Bounds on it would silently miss rows."""
    with pytest.raises(ValueError, match="does not sort as time does"):
        TimeColumn(stored_as="text", timezone="UTC", format=form)


def test_python_builds_it_too(tmp_path, warehouse):
    """Without YAML, it is the same component, and a dg.EnvVar may be the URL."""
    component = TemporisIngestComponent(
        data_source="grid_load",
        asset=dg.AssetSpec("load", partitions_def=dg.DailyPartitionsDefinition("2024-06-01")),
        sql=SqlQuery(url=dg.EnvVar("WAREHOUSE_URL"), query=QUERY, time_column=TimeColumn(stored_as="epoch")),
    )
    assert component.sql.url.variable == "WAREHOUSE_URL"
    with pytest.raises(ConfigurationError, match="cannot be called"):
        PythonFunction(call=once).ensure_takes(window=True)


# The code version


@reads_yaml
def test_the_code_version_follows_the_query_the_function_and_the_options(tmp_path, warehouse):
    """What changes what is stored changes it; the URL of the database, the pool and empty options do not."""

    def version(folder, **attributes):
        with Project(tmp_path, {"asset": {"key": "load", "partitions_def": DAYS}, **attributes}) as project:
            (spec,) = project.asset.specs
            return spec.code_version

    query = version("a", sql=SQL)
    assert query == version("b", sql={**SQL, "url": "sqlite:///elsewhere.db"}, pool="heavy", plot=True, timezone=None)
    others = [
        version("c", sql={**SQL, "query": QUERY + " AND items > 0"}),
        version("d", sql={**SQL, "time_column": {"stored_as": "epoch", "unit": "ms"}}),
        version("e", sql=SQL, on_invalid="drop"),
        version("f", function=function()),
        version("g", function=function(series="returns")),
    ]
    assert len({query, *others}) == 6
    assert version("h", function=function()) == others[3]


@reads_yaml
def test_a_code_version_in_the_yaml_file_takes_precedence(tmp_path, warehouse):
    """It is the user's own."""
    asset = {"key": "load", "partitions_def": DAYS, "code_version": "v7"}
    with Project(tmp_path, {"asset": asset, "sql": SQL}) as project:
        (spec,) = project.asset.specs
    assert spec.code_version == "v7"


@reads_yaml
def test_the_code_version_of_a_subclass_that_fetches_itself_is_that_of_its_code(tmp_path):
    """Of two subclasses with the same options, each has its own."""

    class One(TemporisIngestComponent):
        def execute(self, context):
            return fetch(*context.partition_time_window)

    class Other(TemporisIngestComponent):
        def execute(self, context):
            return fetch(*context.partition_time_window, series="returns")

    asset = {"key": "load", "partitions_def": DAYS}
    found = []
    for kind in (One, Other, One):
        with Project(tmp_path, {"asset": asset}, kind=kind) as project:
            (spec,) = project.asset.specs
            found.append(spec.code_version)
    assert found[0] == found[2] != found[1]
