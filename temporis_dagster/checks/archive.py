"""``build_archive_state_checks``: blocking checks on data sources, one step each.

Comes in: the state that each data source should have. Goes out: asset checks definitions.
Never: puts two data sources in one step: a step that fails stops everything that waits for it.
"""

from collections.abc import Sequence

import dagster as dg

from temporis_dagster.checks.archive_state import ExpectedStates, archive_check_key, checked_states, find_state
from temporis_dagster.checks.unchecked import report_unchecked
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.metadata_keys import DATA_SOURCE, EXPECTED
from temporis_dagster.resource import temporis_of


def build_archive_state_checks(
    *, data_sources: ExpectedStates, resource_key: str = "temporis", pool: str | None = None
) -> Sequence[dg.AssetChecksDefinition]:
    """Blocking checks that each data source is in the state expected of it: in use, or archived.

    The checks sit on the external assets of ``data_source_spec``. In a job whose selection is ``gated_selection``, a
    check runs before the assets that write to its data source, and where it fails, their bodies never run. A data
    source that does not tell its state passes, with a warning; one that cannot be asked fails, alone, unless a mirror
    queues what cannot be delivered (``on_unavailable="queue"``): then it passes with a warning, within seconds. Asking
    writes nothing.

    Unlike Dagster's own factories this makes one definition, and so one step, a data source: in a step they shared,
    one archived data source would stop the writers of all (seen with Dagster 1.13).

    Args:
        data_sources: The state expected of each, ``ArchiveState.ACTIVE`` or ``ArchiveState.ARCHIVED``, by name; or a
            list of names, which are expected to be in use.
        resource_key: The key of the ``TemporisResource``.
        pool: The pool of the steps that ask.

    Raises:
        ConfigurationError: No data source can have such a name, or be expected in such a state.

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
        temporis = temporis_of(context, resource_key)
        finding = find_state(temporis, data_source, expected)
        if not finding.passed:
            report_unchecked(context, data_source)
        return finding.result(key, dg.AssetCheckSeverity.ERROR)

    return archive_state_check
