"""Archive checks, the gate and the sensor, through real Dagster runs: nothing fights an archived data source."""

import logging
import re
import shlex
import sqlite3
import threading
from concurrent import futures
from contextlib import closing

import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner

from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    TemporisIOManager,
    TemporisResource,
    ask_all,
    build_archive_state_checks,
    build_archive_state_sensor,
    connect,
    data_source_spec,
    gated_selection,
    temporis_asset,
)
from temporis_dagster.checks import archive_state
from temporis_dagster.cli import main
from temporis_dagster.testing import FakeService, answer, cut, held
from tests.support.dagster_harness import key_range

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`:dagster.BetaWarning"),  # Dagster's own tester's
]

ACTIVE, ARCHIVED = ArchiveState.ACTIVE, ArchiveState.ARCHIVED
DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-04")
SOURCE = dg.AssetKey(["temporis", "store_metrics"])
CHECK = dg.AssetCheckKey(SOURCE, "archive_state_check")
BOTH = {"store_metrics": ACTIVE, "legacy": ARCHIVED}


@pytest.fixture
def store(url):
    """The store, seen through another connection than that of the runs: store_metrics is in use, legacy is archived."""
    with connect(url) as temporis:
        temporis.create_data_source("store_metrics")
        temporis.create_data_source("legacy").archive()
        yield temporis


def writer(ran, data_source="store_metrics", **arguments):
    """An asset with an expensive body, which leaves a trace in ``ran``."""

    @temporis_asset(data_source=data_source, name=f"write_{data_source}", **arguments)
    def write(context):
        ran.append(data_source)
        start = context.partition_time_window.start if context.has_partition_key else "2024-06-01"
        return pd.DataFrame({data_source: [1.0]}, index=pd.DatetimeIndex([pd.Timestamp(start)], name="timestamp"))

    return write


def definitions(url, *assets, states=BOTH, selection=None, token=None, create_missing=False, **more):
    temporis = TemporisResource(url=url, token=token, create_missing=create_missing)
    return dg.Definitions(
        assets=[*assets, *map(data_source_spec, states)],
        asset_checks=[*build_archive_state_checks(data_sources=states), *more.pop("asset_checks", ())],
        jobs=[dg.define_asset_job("ingest", selection=selection or gated_selection(*assets))],
        resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
        executor=dg.in_process_executor,
        **more,
    )


def run(defs, instance=None, **arguments):
    return defs.resolve_job_def("ingest").execute_in_process(raise_on_error=False, instance=instance, **arguments)


def checked(url, states, token=None):
    """Run the archive checks alone; the evaluation of each data source, by name."""
    checks = build_archive_state_checks(data_sources=states)
    defs = definitions(url, states=states, selection=dg.AssetSelection.checks(*checks), token=token)
    return {one.asset_key.path[-1]: one for one in run(defs).get_asset_check_evaluations()}


def plain(evaluation):
    return {key.removeprefix("temporis/"): entry.value for key, entry in evaluation.metadata.items()}


# The gate


@pytest.mark.parametrize("partitions", [None, DAYS], ids=["unpartitioned", "range"])
def test_an_archived_data_source_stops_the_run_before_the_expensive_body(url, store, instance, partitions):
    """Archived: the check is red and the body never ran. Unarchived: the same job runs it, and the check is green."""
    ran = []
    options = {"partitions_def": partitions, "timezone": "UTC"}
    if partitions:
        options["backfill_policy"] = dg.BackfillPolicy.single_run()
    defs = definitions(url, writer(ran, outside_partition="allow", **options))
    tags = key_range("2024-06-01", "2024-06-03") if partitions else {}
    source = store.data_source("store_metrics")

    source.archive()
    result = run(defs, instance, tags=tags)
    (red,) = result.get_asset_check_evaluations()
    assert (result.success, red.passed, red.blocking, ran) == (False, False, True, [])
    assert red.severity is dg.AssetCheckSeverity.ERROR

    source.unarchive()
    result = run(defs, instance, tags=tags)
    (green,) = result.get_asset_check_evaluations()
    assert (result.success, green.passed, ran) == (True, True, ["store_metrics"])
    assert len(source.read()) == 1


def test_only_a_selected_check_gates(url, store):
    """The reason for gated_selection: Dagster leaves the check out of a plain selection, so the body runs in vain."""
    ran = []
    write = writer(ran, timezone="UTC")
    store.data_source("store_metrics").archive()
    result = run(definitions(url, write, selection=dg.AssetSelection.assets(write)))
    assert (result.success, ran, result.get_asset_check_evaluations()) == (False, ["store_metrics"], [])


def test_one_archived_data_source_stops_only_its_own_writers(url, store):
    """In one job, the writers of the other data sources run all the same."""
    ran = []
    assets = [writer(ran, name, timezone="UTC") for name in ("legacy", "store_metrics")]
    result = run(definitions(url, *assets, states=dict.fromkeys(BOTH, ACTIVE)))
    assert (result.success, ran) == (False, ["store_metrics"])
    assert {one.asset_key.path[-1]: one.passed for one in result.get_asset_check_evaluations()} == {
        "legacy": False,
        "store_metrics": True,
    }


def test_a_red_freshness_check_of_the_data_source_does_not_block_the_writer_that_cures_it(url, store):
    """Of the data source's checks, the gate selects only the archive check, even if another one is blocking as well."""
    ran = []

    @dg.asset_check(asset=SOURCE, blocking=True)
    def fresh():
        return dg.AssetCheckResult(passed=False)

    defs = definitions(url, writer(ran, timezone="UTC"), asset_checks=[fresh])
    result = run(defs)
    assert (result.success, ran) == (True, ["store_metrics"])
    assert [one.asset_check_key for one in result.get_asset_check_evaluations()] == [CHECK]


def test_gates_assets_of_a_multi_asset(url, store):
    """Every asset of a multi-asset is gated by its data source."""

    def several(*deps):
        metadata = {"temporis/data_source": "store_metrics"}
        specs = [dg.AssetSpec("a", deps=[SOURCE], metadata=metadata), dg.AssetSpec("b", deps=deps, metadata=metadata)]

        @dg.multi_asset(specs=specs)
        def both(): ...

        return both

    assert gated_selection(several(SOURCE)) == gated_selection(several(data_source_spec("store_metrics")))
    with pytest.raises(ConfigurationError, match="'b' writes to data source 'store_metrics' but does not depend on it"):
        gated_selection(several())


def ungated():
    @dg.asset(metadata={"temporis/data_source": "store_metrics"})
    def orders(): ...

    return orders


def homeless():
    @dg.asset(deps=[SOURCE])
    def orders(): ...

    return orders


@pytest.mark.parametrize(
    ("assets", "words"),
    [
        ([ungated], r"does not depend on it.*deps=\[data_source_spec\('store_metrics'\)\]"),
        ([homeless], "does not name its data source"),
        ([lambda: "orders"], "takes asset definitions"),
        ([], "nothing to gate"),
    ],
)
def test_what_would_run_ungated_is_refused(assets, words):
    """An asset that would not wait for the check never gets into a gated job."""
    with pytest.raises(ConfigurationError, match=words):
        gated_selection(*(asset() for asset in assets))


def test_a_gate_without_its_check_does_not_load(url):
    """If the check of a data source is not defined, the job does not load; the error names the check and the fix."""
    defs = dg.Definitions(
        assets=[writer([]), data_source_spec("store_metrics")],
        jobs=[dg.define_asset_job("ingest", selection=gated_selection(writer([])))],
        resources={"temporis_io_manager": TemporisIOManager(temporis=TemporisResource(url=url))},
    )
    words = (
        r"gated by the archive check of data source 'store_metrics'.*"
        r"build_archive_state_checks\(data_sources=\['store_metrics'\]"
    )
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="ingest") as refusal:
        defs.resolve_job_def("ingest")
    assert re.search(words, str(refusal.value.__cause__))
    assert "archive_check: false" in str(refusal.value.__cause__)


@pytest.mark.parametrize("add", [lambda gate, other: gate | other, lambda gate, other: other | gate])
def test_a_gated_selection_is_an_asset_selection_like_any_other(url, store, add):
    """It can be combined with other selections, and can be the target of a schedule or a sensor."""
    ran = []
    write = writer(ran, timezone="UTC")

    @dg.asset
    def other() -> None: ...

    selection = add(gated_selection(write), dg.AssetSelection.assets(other))
    schedule = dg.ScheduleDefinition("nightly", target=gated_selection(write), cron_schedule="@daily")
    defs = definitions(url, write, other, selection=selection, schedules=[schedule])
    assert dg.Definitions.validate_loadable(defs) is None
    done = run(defs)
    assert {key.to_user_string() for key in done.job_def.asset_layer.executable_asset_keys} == {
        "write_store_metrics",
        "other",
    }
    assert (done.success, ran, len(done.get_asset_check_evaluations())) == (True, ["store_metrics"], 1)
    job = defs.get_repository_def().get_job(schedule.job_name)
    assert len(job.execute_in_process(raise_on_error=False).get_asset_check_evaluations()) == 1


@pytest.mark.parametrize(
    "given", [["legacy", "store_metrics"], ("legacy", "store_metrics"), dict.fromkeys(BOTH).keys()]
)
def test_a_list_of_data_sources_means_those_in_use(url, store, given):
    """Names without states are expected to be active, by the checks and by the sensor."""
    names = given
    assert {name: one.passed for name, one in checked(url, names).items()} == {"legacy": False, "store_metrics": True}
    assert {name: one.passed for name, one in ticked(url, names).items()} == {"legacy": False, "store_metrics": True}


# An outage, with a mirror


@pytest.mark.parametrize("fault", [lambda: answer(503, "busy"), lambda: answer(429, "later", retry_after="9"), cut])
def test_where_a_mirror_queues_a_service_out_of_reach_holds_up_nothing(tmp_path, monkeypatch, fault):
    """The check soon passes with a warning, however long the connection would retry; an upsert keeps the rows."""
    monkeypatch.setattr(archive_state, "QUEUED_WITHIN_S", 0.2)
    ran = []
    with FakeService(script=lambda _: fault()) as service:
        mirror = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue"}
        temporis = TemporisResource(url=service.url, token=service.token, **mirror)
        write = writer(ran, timezone="UTC")
        states = {"store_metrics": ACTIVE}
        finding = archive_state.find_state(temporis, "store_metrics", ACTIVE)
        assert (finding.passed, finding.found) == (True, "unknown")
        assert "The service cannot be reached" in finding.warning
        assert not archive_state.find_state(temporis, "store_metrics", ARCHIVED).passed
        impatient = TemporisResource(url=service.url, token=service.token, give_up_after_s=1e-9, **mirror)
        defs = dg.Definitions(
            assets=[write, data_source_spec("store_metrics")],
            asset_checks=build_archive_state_checks(data_sources=states),
            jobs=[dg.define_asset_job("ingest", selection=gated_selection(write))],
            resources={"temporis": impatient, "temporis_io_manager": TemporisIOManager(temporis=impatient)},
            executor=dg.in_process_executor,
        )
        done = run(defs)
        assert (done.success, ran) == (True, ["store_metrics"])
        with connect(service.url, service.token, **mirror) as connection:
            assert connection.data_source("store_metrics").pending().rows == 1


@pytest.mark.parametrize("status", [401, 404, 409])
def test_what_is_no_outage_is_red_with_a_mirror_too(tmp_path, status):
    """A wrong token, a missing data source and an archived one are reported as without a mirror."""
    with FakeService(script=lambda _: answer(status, "no")) as service:
        mirror = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue"}
        temporis = TemporisResource(url=service.url, token=service.token, **mirror)
        assert not archive_state.find_state(temporis, "store_metrics", ACTIVE).passed
        assert len(service.requests) == 1


def test_each_data_source_has_a_step_of_its_own():
    """In the order given, with the resource and the pool asked for."""
    checks = build_archive_state_checks(data_sources=BOTH, resource_key="cloud", pool="asking")
    assert [list(check.check_keys) for check in checks] == [
        [dg.AssetCheckKey(dg.AssetKey(["temporis", name]), "archive_state_check")] for name in BOTH
    ]
    assert {check.op.pool for check in checks} == {"asking"}
    assert all(check.op.required_resource_keys == {"cloud"} for check in checks)


def test_the_first_run_makes_the_data_source_that_it_is_gated_by(url):
    """With create_missing, a data source that does not exist yet passes with a warning, unless it must be archived."""
    ran = []
    asset = writer(ran, timezone="UTC")
    expected = {"store_metrics": ACTIVE, "ghost": ARCHIVED}
    for states, found in ((expected, "none yet"), ({"store_metrics": ACTIVE}, "active")):
        result = run(definitions(url, asset, states=states, create_missing=True))
        said = next(one for one in result.get_asset_check_evaluations() if one.asset_key == SOURCE)
        assert (said.passed, plain(said)["found"], "warning" in plain(said)) == (True, found, found == "none yet")
    assert ran == ["store_metrics"] * 2
    checks = build_archive_state_checks(data_sources=expected)
    defs = definitions(url, states=expected, selection=dg.AssetSelection.checks(*checks), create_missing=True)
    assert [one.asset_key.path[-1] for one in run(defs).get_asset_check_evaluations() if not one.passed] == ["ghost"]


# What the checks say


def test_says_what_was_expected_and_found_and_what_to_do(url, store):
    """A check's metadata: expected, found, what to do, and where the data source is."""
    right, wrong = checked(url, BOTH), checked(url, {"store_metrics": ARCHIVED, "legacy": ACTIVE})
    where = {"dagster/uri": store.url, "dagster/table_name": "temporis.legacy"}
    assert plain(right["legacy"]) == {"expected": "archived", "found": "archived", **where}
    assert right["legacy"].passed
    assert right["store_metrics"].passed
    said = plain(wrong["legacy"])
    how = "with: temporis sources {} --store {}"
    assert said.pop("what_to_do").startswith(
        f"Unarchive it {how.format('unarchive legacy', store.url)}. The next ticks"
    )
    assert said == {"expected": "active", "found": "archived", **where}
    assert "something may be writing" in (more := plain(wrong["store_metrics"])["what_to_do"].lower())
    assert f"archive it {how.format('archive store_metrics', store.url)}." in more
    assert not any(one.passed for one in wrong.values())


def test_the_command_that_a_failed_check_names_makes_it_pass(url, store, instance):
    """It is an error in the log of the run, too, where Dagster itself only says that a blocking check failed."""
    store.data_source("store_metrics").archive()
    defs = definitions(url, writer([], timezone="UTC"), states=["store_metrics"])
    stopped = run(defs, instance)
    (said,) = [
        entry.user_message
        for entry in instance.all_logs(stopped.run_id)
        if entry.level == logging.ERROR and entry.user_message.startswith("The archive check of data source 'store_")
    ]
    (command,) = re.findall(r"with: temporis (.*?)\. The next", said)
    assert CliRunner().invoke(main, shlex.split(command)).exit_code == 0
    assert run(defs, instance).success


def test_the_command_names_the_account_and_a_service_its_dashboard(url):
    """A data source of another account is found by the command; what a service has, its own store archives."""
    with connect(url, account="north wind") as temporis:
        temporis.create_data_source("store_metrics").archive()
    found = archive_state.find_state(TemporisResource(url=url, account="north wind"), "store_metrics", ACTIVE)
    (command,) = re.findall(r"with: temporis (.*?)\. The next", found.what_to_do)
    assert CliRunner().invoke(main, shlex.split(command)).exit_code == 0
    with FakeService() as service:
        service.archive("store_metrics")
        temporis = TemporisResource(url=service.url, token=service.token)
        found = archive_state.find_state(temporis, "store_metrics", ACTIVE)
        temporis.close()
    assert "Unarchive it with: temporis sources unarchive store_metrics --store URL-OF-ITS-STORE." in found.what_to_do


def test_a_data_source_that_cannot_be_asked_fails_alone(url, store):
    """A missing data source, or a service error for one, fails that check only; the message says what to do."""
    said = checked(url, {"ghost": ACTIVE, "store_metrics": ACTIVE})
    assert {name: one.passed for name, one in said.items()} == {"ghost": False, "store_metrics": True}
    assert "with create_data_source('ghost')" in said["ghost"].description

    script = lambda request: answer(501, "Not here") if request.data_source == "broken" else None  # noqa: E731
    with FakeService(("store_metrics", "broken"), script=script) as service:
        said = checked(service.url, {"broken": ACTIVE, "missing": ACTIVE, "store_metrics": ACTIVE}, service.token)
    assert {name: one.passed for name, one in said.items()} == {
        "broken": False,
        "missing": False,
        "store_metrics": True,
    }
    assert "Not here" in plain(said["broken"])["found"]
    assert "DataSourceNotFoundError" in plain(said["missing"])["found"]
    assert service.token not in str(said)


def test_nothing_to_connect_to_is_a_red_check(monkeypatch):
    """Without a URL, the check reports that instead of raising an error."""
    monkeypatch.delenv("TEMPORIS_URL", raising=False)
    monkeypatch.delenv("TEMPORIS_TOKEN", raising=False)
    (one,) = checked(None, {"store_metrics": ACTIVE}).values()
    assert not one.passed
    assert "There is no URL to connect to" in one.description


def test_a_state_that_nobody_tells_passes_with_a_warning():
    """A service that refuses an empty ingest leaves the state unknown: green, and the metadata says why."""
    with FakeService(refuses_empty=True) as service:
        (one,) = checked(service.url, {"store_metrics": ARCHIVED}, service.token).values()
    assert one.passed
    assert plain(one)["found"] == "unknown"
    assert "refuses the empty ingest" in plain(one)["warning"]


@pytest.mark.parametrize(
    ("archived", "refuses_empty", "requested"), [(False, False, 1), (True, False, 0), (False, True, 1)]
)
def test_automation_goes_on_unless_the_data_source_is_archived(instance, archived, refuses_empty, requested):
    """Archived holds automation back, unknown does not."""
    condition = dg.AutomationCondition.missing() & dg.AutomationCondition.all_deps_blocking_checks_passed()
    with FakeService({"store_metrics": archived}, refuses_empty=refuses_empty) as service:
        write = writer([], automation_condition=condition)
        only_checks = dg.AssetSelection.checks(CHECK)
        states = {"store_metrics": ACTIVE}
        defs = definitions(service.url, write, states=states, selection=only_checks, token=service.token)
        assert dg.evaluate_automation_conditions(defs, instance).total_requested == 0, "before the first check"
        run(defs, instance)
    assert dg.evaluate_automation_conditions(defs, instance).total_requested == requested


def test_checking_writes_nothing(url, store):
    """Checking writes nothing: no transaction changes the file, and no record is sent."""
    source = store.data_source("store_metrics")
    source.upsert(pd.DataFrame({"timestamp": [0], "name": "orders", "value": 1.0}))
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as watching:
        before = source.content_digest(), watching.execute("PRAGMA data_version").fetchone()
        checked(url, {**BOTH, "ghost": ACTIVE})
        ticked(url, {**BOTH, "ghost": ACTIVE})
        assert (source.content_digest(), watching.execute("PRAGMA data_version").fetchone()) == before
        source.upsert(pd.DataFrame({"timestamp": [0], "name": "orders", "value": 2.0}))
        assert watching.execute("PRAGMA data_version").fetchone() != before[1], "the watch would see a write"
    with FakeService() as service:
        checked(service.url, {"store_metrics": ACTIVE}, service.token)
    assert (service.writes, service.content, service.complaints, len(service.requests)) == ([], {}, [], 1)


@pytest.mark.parametrize("build", [build_archive_state_checks, build_archive_state_sensor])
@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({}, "must name at least one data source"),
        ("store_metrics", "must name at least one data source"),
        ([], "must name at least one data source"),
        (["Store"], "cannot name a data source"),
        ({"Store": ACTIVE}, "cannot name a data source"),
        ({"store_metrics": ArchiveState.UNKNOWN}, "must be ArchiveState.ACTIVE or ArchiveState.ARCHIVED"),
        ({"store_metrics": []}, "must be ArchiveState.ACTIVE or ArchiveState.ARCHIVED"),
        ({"store_metrics": "active"}, "got 'active'"),
    ],
)
def test_states_that_cannot_be_expected_are_refused(build, states, words):
    """A mistake shows when the code is loaded."""
    with pytest.raises(ConfigurationError, match=words):
        build(data_sources=states)


# The sensor


def ticked(url, states, token=None, **options):
    """One tick of the sensor; its evaluations by data source."""
    made = build_archive_state_sensor(data_sources=states, **options)
    resources = {"temporis": TemporisResource(url=url, token=token)}
    with dg.build_sensor_context(resources=resources) as context:
        result = made.evaluate_tick(context)
    assert result.run_requests == []
    evaluations = [event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    failed = ", ".join(event.asset_key.path[-1] for event in evaluations if not event.passed)
    assert result.skip_message.endswith(f"Failed: {failed}." if failed else "All passed.")
    observed = {event.asset_key.path[-1]: event for event in result.asset_events if event not in evaluations}
    found = {event.asset_key.path[-1]: plain(event)["found"] for event in evaluations}
    told = {name: state for name, state in found.items() if state in [one.value for one in ArchiveState]}
    assert {name: plain(one)["archive_state"] for name, one in observed.items()} == told
    assert all("dagster/uri" in one.metadata for one in observed.values())
    return {event.asset_key.path[-1]: event for event in evaluations}


def test_the_sensor_records_what_the_checks_would(url, store):
    """A tick evaluates the same checks with the same texts, failures included, and launches nothing."""
    states = {**BOTH, "ghost": ACTIVE}
    by_run, by_tick = checked(url, states), ticked(url, states)
    assert list(by_tick) == list(states)
    for name in states:
        assert by_tick[name].asset_check_key == by_run[name].asset_check_key
        assert (by_tick[name].passed, by_tick[name].metadata) == (by_run[name].passed, by_run[name].metadata)
        assert (by_tick[name].description, by_tick[name].blocking) == (by_run[name].description, by_run[name].blocking)


def test_the_sensor_keeps_automation_current(url, store, instance):
    """Automation follows what a tick recorded: archived holds it back, unarchived lets it continue."""
    condition = dg.AutomationCondition.missing() & dg.AutomationCondition.all_deps_blocking_checks_passed()
    states = {"store_metrics": ACTIVE}
    defs = definitions(url, writer([], automation_condition=condition), states=states)
    source = store.data_source("store_metrics")
    for act, requested in ((source.archive, 0), (source.unarchive, 1)):
        act()
        (evaluation,) = ticked(url, states).values()
        instance.report_runless_asset_event(evaluation)
        assert dg.evaluate_automation_conditions(defs, instance).total_requested == requested


def test_a_data_source_that_never_answers_does_not_hold_up_a_tick(monkeypatch):
    """After the deadline, the tick records that there was no answer, and what the others answered."""
    release, waited = threading.Event(), []

    def until_one_answers(answers, timeout):
        waited.append(timeout)
        return futures.wait(answers, return_when=futures.FIRST_COMPLETED)

    monkeypatch.setattr(ask_all, "wait", until_one_answers)  # no clock: the other one is held for as long as it takes
    script = lambda request: held(release) if request.data_source == "slow" else None  # noqa: E731
    states = {"slow": ACTIVE, "store_metrics": ACTIVE}
    with FakeService(("slow", "store_metrics"), script=script) as service:
        try:
            said = ticked(service.url, states, service.token, answer_within_s=12.5)
        finally:
            release.set()
    assert {name: one.passed for name, one in said.items()} == {"slow": False, "store_metrics": True}
    assert plain(said["slow"])["found"] == "The data source gave no answer within 12.5 s"
    assert waited == [12.5]


def test_a_mistake_of_ours_is_not_a_finding(url, monkeypatch):
    """An error outside the tree fails the tick, instead of counting as an answer."""
    monkeypatch.setattr(TemporisResource, "data_source", lambda self, name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ticked(url, {"store_metrics": ACTIVE})


def test_the_sensor_takes_the_options_of_a_sensor():
    """Name, interval and status; and the deadline is validated."""
    made = build_archive_state_sensor(
        data_sources=BOTH,
        name="frozen",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        resource_key="cloud",
    )
    assert (made.name, made.minimum_interval_seconds) == ("frozen", 60)
    assert (made.default_status, made.required_resource_keys) == (dg.DefaultSensorStatus.RUNNING, {"cloud"})
    with pytest.raises(ConfigurationError, match="answer_within_s"):
        build_archive_state_sensor(data_sources=BOTH, answer_within_s=0)
