"""Archive states, expected and found: one question a data source, and what its answer means.

Comes in: a resource, and the state that each data source should have. Goes out: findings.
Never: writes an observation, or lets one data source's failure reach another's finding.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import dagster as dg

from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.finding import Facts, Finding, could_not_ask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError, DataSourceNotFoundError, TemporisError, UnavailableError
from temporis_dagster.event_metadata import place
from temporis_dagster.resource import TemporisResource

CHECK_NAME = "archive_state_check"

ExpectedStates: TypeAlias = Mapping[str, ArchiveState] | Collection[str]
"""The state expected of each data source by name; of those in a list, that they are in use."""

QUEUED_WITHIN_S = 5.0
"""How long to ask where a mirror queues: the answer decides nothing, as the rows are kept in any case."""

WHAT_TO_DO = {
    ArchiveState.ACTIVE: (
        "Unarchive it, in the Temporis dashboard or with DataSource.unarchive() where it is embedded; what was missed "
        "can then be backfilled. If it is to stay archived, expect ArchiveState.ARCHIVED and remove its writers."
    ),
    ArchiveState.ARCHIVED: (
        "Something may write to what should be frozen. Archive it, in the Temporis dashboard or with "
        "DataSource.archive() where it is embedded; if it is in use again, expect ArchiveState.ACTIVE."
    ),
}
"""What mends a data source that is not in the state expected."""

UNKNOWN_WARNING = (
    "The service does not tell: it refuses the empty ingest that would show the state. The check passes, because one "
    "that always fails would stop automation for good; should the data source be archived, the write itself fails."
)

NONE_YET = (
    "There is no such data source yet. The check passes, because create_missing=True lets the first write make it."
)

QUEUED = (
    "The service is out of reach: {}. The check passes, because the mirror keeps what is written until it is delivered "
    "(on_unavailable='queue')."
)


def archive_check_key(data_source: str) -> dg.AssetCheckKey:
    """The key of the check of a data source's archive state.

    Raises:
        ConfigurationError: No data source can have this name.
    """
    return dg.AssetCheckKey(data_source_key(data_source), CHECK_NAME)


def checked_states(data_sources: object) -> dict[str, ArchiveState]:
    """The state expected of each data source. Those of a list are expected to be in use.

    Raises:
        ConfigurationError: There are none, no data source can have such a name, or nothing can be in such a state.
    """
    if isinstance(data_sources, Collection) and not isinstance(data_sources, str | bytes | Mapping):
        data_sources = dict.fromkeys(data_sources, ArchiveState.ACTIVE)
    if not isinstance(data_sources, Mapping) or not data_sources:
        raise ConfigurationError(
            f"data_sources={data_sources!r} names none. Pass a list of those that are in use, such as "
            "['store_metrics'], or the state of each, such as {'store_metrics': ArchiveState.ACTIVE}."
        )
    for name, state in data_sources.items():
        data_source_key(name)
        if state not in tuple(WHAT_TO_DO):
            raise ConfigurationError(
                f"{state!r} cannot be expected of data source {name!r}. Expect ArchiveState.ACTIVE or .ARCHIVED."
            )
    return dict(data_sources)


def find_state(temporis: TemporisResource, data_source: str, expected: ArchiveState) -> Finding:
    """Ask one data source for its state, and compare. Whatever it answers, errors included, is a finding.

    Where a mirror queues what cannot be delivered, a service that is out of reach holds up nothing: it is asked for a
    few seconds only, and the state is unknown, as it is where the service does not tell.

    Args:
        temporis: The connection.
        data_source: Its name.
        expected: The state it should have.
    """
    facts: Facts = {}
    try:
        with _asking(temporis, data_source) as source:
            facts = place(source)
            return _found(source, expected, facts)
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
            warning = QUEUED.format(error)
            return Finding(passed=True, expected=expected.value, found="unknown", warning=warning, facts=facts)
    return could_not_ask(error, expected.value, facts)


def _found(source: DataSource, expected: ArchiveState, facts: Facts) -> Finding:
    state = source.archive_state()
    known = state is not ArchiveState.UNKNOWN
    passed = state is expected or not known
    return Finding(
        passed,
        expected=expected.value,
        found=state.value,
        what_to_do="" if passed else WHAT_TO_DO[expected],
        warning="" if known else UNKNOWN_WARNING,
        facts=facts,
    )
