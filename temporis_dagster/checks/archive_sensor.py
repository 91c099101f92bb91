"""``build_archive_state_sensor``: the archive checks, evaluated at an interval of their own and without runs.

Comes in: the expected state of each data source. Goes out: a sensor that records check evaluations.
Never: launches a run, writes an observation to a data source, or waits longer than a tick may take.
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
from temporis_dagster.wording import counted


def build_archive_state_sensor(
    *,
    data_sources: ExpectedStates,
    resource_key: str = "temporis",
    name: str = "archive_state_sensor",
    minimum_interval_seconds: int = 300,
    answer_within_s: float = 30.0,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Build a sensor that evaluates the checks of ``build_archive_state_checks`` without runs.

    Each tick asks every data source for its state and records one evaluation per data source, so that the UI and
    automation conditions (``all_deps_blocking_checks_passed``) reflect within one interval that it was archived,
    unarchived or cannot be reached. The state is also recorded as an observation on the page of the data source. If a
    data source does not answer in time, its check fails as if it had answered with an error; other checks do not.

    Every tick adds two events per data source to the event log and, over HTTP, costs one request per data source. An
    interval of five minutes means 288 ticks per day.

    Args:
        data_sources: The expected state of each data source, or a list of those that should be active, as for
            ``build_archive_state_checks``.
        resource_key: The key of the ``TemporisResource``.
        name: The name of the sensor.
        minimum_interval_seconds: The minimum number of seconds between ticks.
        answer_within_s: How many seconds to wait for all answers together. Dagster ends a tick after 60 seconds.
        default_status: Whether the sensor runs before a user starts it in the UI.

    Raises:
        ConfigurationError: There is no data source, a name breaks the rule for names of data sources, a state cannot be
            expected, or ``answer_within_s`` is not positive.

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
        raise ConfigurationError(f"answer_within_s must be positive, got {answer_within_s!r}.")

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
            asset_events=[*evaluations, *_observations(temporis, findings)], skip_reason=_summary(findings)
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
    """Observations for the pages of the data sources, except of those that could not be asked."""
    states = {state.value: state for state in ArchiveState}
    for source, finding in findings.items():
        if finding.found in states and not temporis.dry_run:
            yield data_source_observation(temporis.data_source(source), states[finding.found])


def _summary(findings: Mapping[str, Finding]) -> str:
    """The text that the list of ticks shows."""
    failed = [source for source, finding in findings.items() if not finding.passed]
    return f"Asked {counted(len(findings), 'data source')}. " + (
        f"Failed: {', '.join(failed)}." if failed else "All passed."
    )


def _no_answer(temporis: TemporisResource, expected: ArchiveState, answer_within_s: float) -> Finding:
    silence = f"The data source gave no answer within {answer_within_s:g} s"
    if temporis.queues and expected is ArchiveState.ACTIVE:
        return Finding(passed=True, expected=expected.value, found="unknown", warning=QUEUED.format(silence))
    return Finding(
        passed=False,
        expected=expected.value,
        found=silence,
        what_to_do="Check that its service or database can be reached. The next tick asks again.",
    )
