"""``build_archive_state_checks``: blocking checks that each data source is in the expected state, active or archived.

Comes in: a resource, and the expected state of each data source. Goes out: asset check definitions, and findings.
Never: writes an observation, or puts two data sources in one step: a failed step stops everything downstream of it.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import dagster as dg

from temporis_dagster.asset_options import ensure_data_source
from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.checks.unchecked import report_unchecked
from temporis_dagster.data_source.local_service import to_manage
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.data_source_page import place
from temporis_dagster.errors import ConfigurationError, DataSourceNotFoundError, TemporisError, UnavailableError
from temporis_dagster.metadata_keys import DATA_SOURCE, EXPECTED
from temporis_dagster.resource import TemporisResource, temporis_of

CHECK_NAME = "archive_state_check"

ExpectedStates: TypeAlias = Mapping[str, ArchiveState] | Collection[str]
"""The expected state of each data source, by name. Data sources given as a list are expected to be active."""

QUEUED_WITHIN_S = 5.0
"""How long to wait for an answer if a mirror queues. The answer decides nothing then: the rows are kept in any case."""

REMEDIES = {
    ArchiveState.ACTIVE: (
        "Unarchive it {}. The next ticks of a trailing-window schedule and of a gap sensor then fill what was left "
        "out; without these, backfill it. If it is to stay archived, expect ArchiveState.ARCHIVED and remove its "
        "writers."
    ),
    ArchiveState.ARCHIVED: (
        "Something may be writing to a data source that should be frozen. Archive it {}. If it is in use again, expect "
        "ArchiveState.ACTIVE."
    ),
}
"""What to do about a data source that is not in the expected state, with a placeholder for how to change it."""

STOPPED = "The archive check of data source %r failed, so assets of this run that depend on it do not run. %s"

UNKNOWN_WARNING = (
    "The service does not reveal the state: it refuses the empty ingest that would show it. The check passes, because "
    "one that always fails would stop automation for good. If the data source is archived, the write itself fails."
)

NONE_YET = (
    "The data source does not exist yet. The check passes, because the first write creates it (create_missing=True)."
)

QUEUED = (
    "The service cannot be reached: {}. The check passes, because the mirror keeps what is written until it is "
    "delivered (on_unavailable='queue')."
)


def build_archive_state_checks(
    *, data_sources: ExpectedStates, resource_key: str = "temporis", pool: str | None = None
) -> Sequence[dg.AssetChecksDefinition]:
    """Build blocking checks that each data source is in the expected state: active or archived.

    The checks belong to the external assets of ``data_source_spec``. In a job whose selection is ``gated_selection``, a
    check runs before the assets that write to its data source; if it fails, their bodies do not run. The check passes
    with a warning if the service does not reveal the state. It fails, without affecting other checks, if the data
    source cannot be asked, unless a mirror queues what cannot be delivered (``on_unavailable="queue"``): then it passes
    with a warning after a few seconds. Asking writes nothing.

    Unlike Dagster's own factories, this one returns one definition, and so one step, per data source. In a shared step,
    one archived data source would stop the writers of all of them (observed with Dagster 1.13).

    Args:
        data_sources: The expected state of each data source by name, ``ArchiveState.ACTIVE`` or
            ``ArchiveState.ARCHIVED``; or a list of names, which are expected to be active.
        resource_key: The key of the ``TemporisResource``.
        pool: The pool of the steps that ask.

    Raises:
        ConfigurationError: There is no data source, a name breaks the rule for names of data sources, or a state
            cannot be expected.

    Examples:
        .. code-block:: python

            import dagster as dg

            from temporis_dagster import ArchiveState, TemporisResource, build_archive_state_checks, data_source_spec

            states = {"store_metrics": ArchiveState.ACTIVE, "legacy": ArchiveState.ARCHIVED}
            defs = dg.Definitions(
                assets=[data_source_spec(name) for name in states],
                asset_checks=build_archive_state_checks(data_sources=states),
                resources={"temporis": TemporisResource(url="sqlite:////var/lib/temporis.db")},
            )
    """
    states = checked_states(data_sources)
    return [_archive_state_check(name, state, resource_key, pool) for name, state in states.items()]


def _archive_state_check(
    data_source: str, expected: ArchiveState, resource_key: str, pool: str | None
) -> dg.AssetChecksDefinition:
    key = archive_check_key(data_source)
    spec = dg.AssetCheckSpec(
        key.name,
        asset=key.asset_key,
        blocking=True,
        description=f"Data source {data_source!r} is {expected.value}.",
        metadata={DATA_SOURCE: data_source, EXPECTED: expected.value},
    )

    @dg.multi_asset_check(
        name=f"archive_state_check_of_{data_source}",
        specs=[spec],
        required_resource_keys={resource_key},
        can_subset=True,
        pool=pool,
    )
    def archive_state_check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        finding = find_state(temporis_of(context, resource_key), data_source, expected)
        if not finding.passed:
            report_unchecked(context, data_source)
            context.log.error(STOPPED, data_source, finding.description)  # the evaluation itself is logged as DEBUG
        return finding.result(key, dg.AssetCheckSeverity.ERROR)

    return archive_state_check


def archive_check_key(data_source: str) -> dg.AssetCheckKey:
    """Return the key of the archive check of a data source.

    Raises:
        ConfigurationError: The name breaks the rule for names of data sources.
    """
    return dg.AssetCheckKey(data_source_key(data_source), CHECK_NAME)


def checked_states(data_sources: object) -> dict[str, ArchiveState]:
    """Validate the argument, and return the expected state of each data source by name.

    Raises:
        ConfigurationError: There is no data source, a name breaks the rule for names of data sources, or a state
            cannot be expected.
    """
    if isinstance(data_sources, Collection) and not isinstance(data_sources, str | bytes | Mapping):
        data_sources = dict.fromkeys(data_sources, ArchiveState.ACTIVE)
    if not isinstance(data_sources, Mapping) or not data_sources:
        raise ConfigurationError(
            f"data_sources must name at least one data source, got {data_sources!r}. Pass a list of those that are in "
            "use, such as ['store_metrics'], or the state of each, such as {'store_metrics': ArchiveState.ACTIVE}."
        )
    for name, state in data_sources.items():
        ensure_data_source(name)
        if state not in tuple(REMEDIES):
            raise ConfigurationError(
                f"The expected state of data source {name!r} must be ArchiveState.ACTIVE or ArchiveState.ARCHIVED, got "
                f"{state!r}."
            )
    return dict(data_sources)


def find_state(temporis: TemporisResource, data_source: str, expected: ArchiveState) -> Finding:
    """Ask one data source for its state, and compare it with the expected one. Errors of the tree are findings, too.

    If a mirror queues what cannot be delivered, a service that cannot be reached must not hold anything up: it is asked
    for a few seconds only, and the state is then unknown, as with a service that does not reveal it.

    Args:
        temporis: The resource.
        data_source: The name of the data source.
        expected: The state that it should have.
    """
    facts: Facts = {}
    try:
        with _asking(temporis, data_source) as source:
            facts = place(source)
            return _found(source, expected, facts, temporis.account)
    except TemporisError as error:
        return _no_answer(temporis, expected, error, facts)


@contextmanager
def _asking(temporis: TemporisResource, data_source: str) -> Iterator[DataSource]:
    if temporis.queues:
        with temporis.asking(give_up_after_s=QUEUED_WITHIN_S) as connection:
            yield connection.data_source(data_source)
    else:
        yield temporis.data_source(data_source)


def _no_answer(temporis: TemporisResource, expected: ArchiveState, error: TemporisError, facts: Facts) -> Finding:
    if expected is ArchiveState.ACTIVE:
        if isinstance(error, DataSourceNotFoundError) and temporis.create_missing:
            return Finding(passed=True, expected=expected.value, found="none yet", warning=NONE_YET, facts=facts)
        if isinstance(error, UnavailableError) and temporis.queues:
            warning = QUEUED.format(str(error).rstrip("."))
            return Finding(passed=True, expected=expected.value, found="unknown", warning=warning, facts=facts)
    return could_not_ask(error, expected.value, facts)


def _found(source: DataSource, expected: ArchiveState, facts: Facts, account: str) -> Finding:
    state = source.archive_state()
    known = state is not ArchiveState.UNKNOWN
    passed = state is expected or not known
    return Finding(
        passed,
        expected=expected.value,
        found=state.value,
        what_to_do="" if passed else REMEDIES[expected].format(_how(source, expected, account)),
        warning="" if known else UNKNOWN_WARNING,
        facts=facts,
    )


def _how(source: DataSource, expected: ArchiveState, account: str) -> str:
    """Return the end of a sentence that says how to bring a data source into the expected state."""
    command = f"sources {'unarchive' if expected is ArchiveState.ACTIVE else 'archive'} {source.name}"
    if source.url.startswith(("http:", "https:")):
        return to_manage(source.url, command)
    whose = "" if account == "default" else f" --account {shlex.quote(account)}"
    return f"with: temporis {command} --store {shlex.quote(source.url)}{whose}"
