"""Automation conditions of @temporis_asset: they fire as a plain asset's do, and the archive check gates them."""

import itertools
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from dagster.components.testing.utils import component_defs

from temporis_dagster import TemporisIOManager, TemporisResource, data_source_spec, temporis_asset
from temporis_dagster.automation_conditions import without_waiting_for
from temporis_dagster.components import PythonFunction, TemporisIngestComponent

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`:dagster.BetaWarning"),  # Dagster's own tester's
]

AC = dg.AutomationCondition
DAYS = dg.DailyPartitionsDefinition("2024-06-01")
SOURCE = dg.AssetKey(["temporis", "grid"])
CHECK = dg.AssetCheckKey(SOURCE, "archive_state_check")
CONDITIONS = {"eager": AC.eager, "on_missing": AC.on_missing, "on_cron": lambda: AC.on_cron("0 * * * *")}
GATE = AC.all_deps_blocking_checks_passed


def resources():
    temporis = TemporisResource(url="sqlite:////nowhere/temporis.db")
    return {"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)}


def plain(condition, **arguments):
    @dg.asset(name="load", automation_condition=condition, **arguments)
    def load(): ...

    return load


def ours(condition, **arguments):
    @temporis_asset(data_source="grid", name="load", automation_condition=condition, **arguments)
    def load(): ...

    return load


def evaluated(instance, asset, *others, step, between=lambda _: None):
    """How many runs each of four evaluations asks for, half an hour past midnight and later."""
    defs = dg.Definitions(assets=[asset, *others], resources=resources())
    at, cursor, requested = datetime(2024, 6, 10, 0, 30, tzinfo=timezone.utc), None, []
    for turn in range(4):
        between(turn)
        result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor, evaluation_time=at)
        cursor, at = result.cursor, at + step
        requested.append(result.total_requested)
    return requested


def steps_of(condition):
    return timedelta(hours=1) if condition == "on_cron" else timedelta(days=1)


@pytest.mark.parametrize("with_spec", [True, False], ids=["with spec", "without spec"])
@pytest.mark.parametrize("partitions", [{}, {"partitions_def": DAYS}], ids=["unpartitioned", "daily"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_fires_as_it_does_for_a_plain_asset(condition, partitions, with_spec):
    """The dependency on the data source, which nothing materializes, holds up neither of Dagster's three conditions."""
    spec = [data_source_spec("grid")] if with_spec else []
    found = []
    for made, others in ((plain, []), (ours, spec)):
        asset = made(CONDITIONS[condition](), **partitions)
        with dg.DagsterInstance.ephemeral() as instance:
            found.append(evaluated(instance, asset, *others, step=steps_of(condition)))
    assert found[0] == found[1]
    assert sum(found[1]) > 0 or (not partitions and condition != "on_cron")


def check_of_source(passed):
    return dg.AssetCheckEvaluation(SOURCE, "archive_state_check", passed, metadata={}, blocking=True)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("green", [False, True])
def test_an_update_upstream_fires_unless_the_archive_check_is_red(instance, gated, green):
    """eager() follows its upstream; with the gate that docs/checks.md suggests, only while the check is green."""

    @dg.asset
    def upstream(): ...

    @dg.asset_check(asset=SOURCE, name="archive_state_check", blocking=True)
    def archive_state_check(): ...

    condition = AC.eager() & GATE() if gated else AC.eager()
    instance.report_runless_asset_event(dg.AssetMaterialization("upstream"))
    asset = ours(condition, deps=[upstream])
    defs = dg.Definitions([upstream, asset, data_source_spec("grid")], asset_checks=[archive_state_check])
    defs = dg.Definitions.merge(defs, dg.Definitions(resources=resources()))
    instance.report_runless_asset_event(check_of_source(green))
    first = dg.evaluate_automation_conditions(defs, instance)
    instance.report_runless_asset_event(dg.AssetMaterialization("upstream"))
    second = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert second.total_requested == int(green or not gated)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_is_observed_of_the_data_source_fires_nothing(condition):
    """A writer that observes its own data source after each write is not started by that: there is no loop."""
    found = []
    for observed in (False, True):
        with dg.DagsterInstance.ephemeral() as instance:

            def write(turn, instance=instance, observed=observed):
                if turn:
                    instance.report_runless_asset_event(dg.AssetMaterialization("load"))
                    if observed:
                        instance.report_runless_asset_event(dg.AssetObservation(SOURCE, metadata={"turn": turn}))

            made = ours(CONDITIONS[condition]())
            found.append(evaluated(instance, made, data_source_spec("grid"), step=steps_of(condition), between=write))
    assert found[0] == found[1]


def fetch():
    """A component's function."""


def test_a_component_fires_too(instance):
    """The condition of a component's asset is that of a @temporis_asset, gate and all."""
    component = TemporisIngestComponent(
        data_source="grid",
        asset=dg.AssetSpec("load", automation_condition=AC.on_cron("0 * * * *")),
        function=PythonFunction(call=fetch),
    )
    defs = component_defs(component=component, resources=resources())
    at, cursor, requested = datetime(2024, 6, 10, 0, 30, tzinfo=timezone.utc), None, 0
    for hour in range(3):
        result = dg.evaluate_automation_conditions(
            defs, instance, cursor=cursor, evaluation_time=at + timedelta(hours=hour)
        )
        cursor, requested = result.cursor, requested + result.total_requested
    assert requested > 0


WRITTEN = {
    "eager": AC.eager(),
    "on_cron": AC.on_cron("5 * * * *", "Europe/Berlin"),
    "gated": AC.eager() & GATE(),
    "not": ~AC.any_deps_missing(),
    "since": AC.any_deps_updated().since(AC.newly_requested()),
    "newly true": AC.any_deps_missing().newly_true(),
    "newly true inside": AC.missing() & ~AC.any_deps_missing().newly_true(),
    "labelled": (AC.any_deps_updated() | AC.missing()).with_label("mine"),
    "any match": AC.any_deps_match(AC.newly_updated() & ~AC.missing()),
    "ignoring another": AC.any_deps_updated().ignore(dg.AssetSelection.assets("other")),
    "allowing a group": AC.any_deps_updated().allow(dg.AssetSelection.groups("default")),
}
UNTOUCHED = {
    "gate": GATE(),
    "own gate": AC.all_deps_match(AC.all_checks_match(AC.check_passed(), blocking_only=True)),
    "no deps": AC.missing() & ~AC.in_progress(),
    "cron tick": AC.cron_tick_passed("0 * * * *").since_last_handled(),
    "asked for": AC.any_deps_updated().allow(dg.AssetSelection.assets(SOURCE)),
    "one asset": AC.asset_matches(SOURCE, AC.newly_updated()),
}


def deps_conditions(condition):
    return itertools.chain(
        [condition] if "DEPS_MATCH" in condition.name else [],
        *(deps_conditions(child) for child in condition.children),
    )


def ignores(condition):
    graph = dg.Definitions(assets=[data_source_spec("grid")]).resolve_asset_graph()
    selection = condition.ignore_selection
    return selection is not None and SOURCE in selection.resolve(graph, allow_missing=True)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_condition_about_dependencies_leaves_the_data_source_out(name):
    """However deep it stands, except what is about the checks of dependencies; names and labels stay."""
    made = without_waiting_for(WRITTEN[name], SOURCE)
    assert made.get_label() == WRITTEN[name].get_label()
    of_checks = [one for one in deps_conditions(made) if one.get_label() == "all_deps_blocking_checks_passed"]
    others = [one for one in deps_conditions(made) if one not in of_checks]
    assert others
    assert all(map(ignores, others))
    assert not any(map(ignores, of_checks))
    assert len(list(deps_conditions(made))) == len(list(deps_conditions(WRITTEN[name])))


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_not_about_waiting_stays_as_it_is(name):
    """Gates, conditions without dependencies, and what names the data source itself."""
    assert without_waiting_for(UNTOUCHED[name], SOURCE) == UNTOUCHED[name]
