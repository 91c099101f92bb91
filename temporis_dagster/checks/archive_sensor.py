"""``build_archive_state_sensor``: the archive checks evaluated on a clock of their own, without runs.

Comes in: the state that each data source should have. Goes out: a sensor that records check evaluations.
Never: launches a run, writes an observation, or waits longer than a tick may take.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from temporis_dagster.ask_all import ask_all
from temporis_dagster.checks.archive_state import (
    QUEUED,
    ExpectedStates,
    archive_check_key,
    checked_states,
    find_state,
)
from temporis_dagster.checks.finding import Finding
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.data_source_page import data_source_observation
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.resource import TemporisResource, temporis_of


def build_archive_state_sensor(
    *,
    data_sources: ExpectedStates,
    resource_key: str = "temporis",
    name: str = "archive_state_sensor",
    minimum_interval_seconds: int = 300,
    answer_within_s: float = 30.0,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that evaluates the checks of ``build_archive_state_checks`` without runs.

    Each tick asks every data source for its state and records one evaluation for each, so that the UI and automation
    conditions (``all_deps_blocking_checks_passed``) follow within one interval when it is archived, unarchived or
    out of reach. The state that was found is also an observation on the page of the data source. A data source that
    gives no answer in time fails like one that answers with an error, and alone.

    Every tick adds two events per data source to the event log, and over HTTP costs one request each: an interval of
    five minutes makes 288 ticks a day.

    Args:
        data_sources: The state expected of each, or a list of those in use, as for ``build_archive_state_checks``.
        resource_key: The key of the ``TemporisResource``.
        name: The name of the sensor.
        minimum_interval_seconds: How long to wait between ticks.
        answer_within_s: How long a tick waits for answers, all together. Dagster ends a tick after 60 s.
        default_status: Whether it runs before somebody starts it in the UI.

    Raises:
        ConfigurationError: No data source can have such a name or be expected in such a state, or a time is not
            positive.

    Examples:
        .. code-block:: python

            import dagster as dg

            from temporis_dagster import (
                ArchiveState,
                TemporisResource,
                build_archive_state_checks,
                build_archive_state_sensor,
                data_source_spec,
            )

            states = {"store_metrics": ArchiveState.ACTIVE}
            defs = dg.Definitions(
                assets=[data_source_spec("store_metrics")],
                asset_checks=build_archive_state_checks(data_sources=states),
                sensors=[build_archive_state_sensor(data_sources=states)],
                resources={"temporis": TemporisResource(url="sqlite:////var/lib/temporis.db")},
            )
    """
    states = checked_states(data_sources)
    if not answer_within_s > 0:
        raise ConfigurationError(f"answer_within_s={answer_within_s!r} is not positive. Pass a larger number.")

    @dg.sensor(
        name=name,
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={resource_key},
        default_status=default_status,
        description=f"Evaluates the archive state of {', '.join(states)}.",
    )
    def archive_state_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        temporis = temporis_of(context, resource_key)
        findings = _findings(temporis, states, answer_within_s)
        evaluations = [finding.evaluation(archive_check_key(source)) for source, finding in findings.items()]
        return dg.SensorResult(
            asset_events=[*evaluations, *_observations(temporis, findings)], skip_reason=_in_short(findings)
        )

    return archive_state_sensor


def _findings(
    temporis: TemporisResource, states: Mapping[str, ArchiveState], answer_within_s: float
) -> dict[str, Finding]:
    answers = ask_all(lambda source: find_state(temporis, source, states[source]), states, answer_within_s)
    return {
        source: answers[source].result() if source in answers else _no_answer(temporis, expected, answer_within_s)
        for source, expected in states.items()
    }


def _observations(temporis: TemporisResource, findings: Mapping[str, Finding]) -> Iterator[dg.AssetObservation]:
    """What the page of each data source shows; nothing of those that could not be asked."""
    states = {state.value: state for state in ArchiveState}
    for source, finding in findings.items():
        if finding.found in states and not temporis.dry_run:
            yield data_source_observation(temporis.data_source(source), states[finding.found])


def _in_short(findings: Mapping[str, Finding]) -> str:
    """What the list of ticks shows."""
    failed = [source for source, finding in findings.items() if not finding.passed]
    return f"Asked {len(findings):,} data sources. " + (f"Failed: {', '.join(failed)}." if failed else "All passed.")


def _no_answer(temporis: TemporisResource, expected: ArchiveState, answer_within_s: float) -> Finding:
    silence = f"The data source gave no answer within {answer_within_s:g} s"
    if temporis.queues and expected is ArchiveState.ACTIVE:
        return Finding(passed=True, expected=expected.value, found="unknown", warning=QUEUED.format(silence))
    return Finding(
        passed=False,
        expected=expected.value,
        found=silence,
        what_to_do="Check that its service can be reached. The next tick asks again.",
    )
