"""Archive states, expected and found: one question a data source, and what its answer means.

Comes in: a resource, and the state that each data source should have. Goes out: findings.
Never: writes an observation, or lets one data source's failure reach another's finding.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.assets import data_source_key
from temporis_dagster.checks.finding import Finding, could_not_ask
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.errors import ConfigurationError, DataSourceNotFoundError, TemporisError
from temporis_dagster.materialization import place
from temporis_dagster.resource import TemporisResource

CHECK_NAME = "archive_state_check"

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


def archive_check_key(data_source: str) -> dg.AssetCheckKey:
    """The key of the check of a data source's archive state.

    Raises:
        ConfigurationError: No data source can have this name.
    """
    return dg.AssetCheckKey(data_source_key(data_source), CHECK_NAME)


def checked_states(data_sources: object) -> dict[str, ArchiveState]:
    """The states as they are.

    Raises:
        ConfigurationError: There are none, no data source can have such a name, or nothing can be in such a state.
    """
    if not isinstance(data_sources, Mapping) or not data_sources:
        raise ConfigurationError(
            "data_sources says nothing. Pass the state of each, such as {'store_metrics': ArchiveState.ACTIVE}."
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

    Args:
        temporis: The connection.
        data_source: Its name.
        expected: The state it should have.
    """
    try:
        source = temporis.data_source(data_source)
    except TemporisError as error:
        return could_not_ask(error, expected.value)
    return _found(source, expected, made_when_missing=temporis.create_missing)


def _found(source: DataSource, expected: ArchiveState, *, made_when_missing: bool) -> Finding:
    try:
        state = source.archive_state()
    except DataSourceNotFoundError as error:
        if made_when_missing and expected is ArchiveState.ACTIVE:
            return Finding(
                passed=True, expected=expected.value, found="none yet", warning=NONE_YET, facts=place(source)
            )
        return could_not_ask(error, expected.value, place(source))
    except TemporisError as error:
        return could_not_ask(error, expected.value, place(source))
    known = state is not ArchiveState.UNKNOWN
    passed = state is expected or not known
    return Finding(
        passed,
        expected=expected.value,
        found=state.value,
        what_to_do="" if passed else WHAT_TO_DO[expected],
        warning="" if known else UNKNOWN_WARNING,
        facts=place(source),
    )
