"""The ghost check: stored rows that were missing from the frames with which their partitions were last written.

Comes in: Dagster's event log. Goes out: a finding.
Never: reads observations: only the write knows what its frame had.
"""

from collections.abc import Mapping

import dagster as dg

from temporis_dagster.checks.expectations import GHOSTS, Expectations, Writer
from temporis_dagster.checks.finding import Finding
from temporis_dagster.checks.latest_written import latest_written
from temporis_dagster.checks.spacing import in_words
from temporis_dagster.metadata_keys import GHOST_PARTITIONS, GHOST_ROWS, HORIZON
from temporis_dagster.metadata_values import SHOWN_ROWS
from temporis_dagster.wording import counted

NEVER_COUNTED = (
    "Not checked: no materialization says how many ghost rows there are. They are counted where the data source can be "
    "read: a SQLite file, PostgreSQL, or a mirror in front of a service."
)
NOT_MATERIALIZED = "Not checked: nothing was materialized."
NO_PARTITION = "Not checked: no partition within the last {} was materialized."
WHAT_TO_DO = (
    "If they vanished upstream for good, delete them: with ghost_rows of the asset set to 'delete' and another run of "
    "these partitions, or with `temporis delete`; over HTTP, overwrite their values. If the extract was incomplete, "
    "materialize the partitions again. The check adds up what the latest materialization of each partition counted."
)


def find_ghosts(instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, now: float) -> Finding:
    """Add up the ghost rows that the latest materializations report.

    Args:
        instance: The Dagster instance that records materializations.
        writer: The asset that writes.
        expectations: How far back to look; only the time partitions of that time count.
        now: The time, in Unix seconds.
    """
    expected = expectations.descriptions[GHOSTS].rstrip(".")
    timed = writer.partitions_def is not None
    within = f" within the last {in_words(expectations.horizon)}" if timed else ""
    facts = {HORIZON: dg.MetadataValue.text(in_words(expectations.horizon))} if timed else {}
    latest = latest_written(instance, writer, now - expectations.horizon.total_seconds())
    counts = {key: count for key, one in latest.items() if (count := _count(one)) is not None}
    if not counts:
        missing = NO_PARTITION.format(in_words(expectations.horizon)) if timed else NOT_MATERIALIZED
        warning = NEVER_COUNTED if latest else missing
        return Finding(passed=True, expected=expected, found="Nothing was counted", warning=warning, facts=facts)
    total, affected = sum(counts.values()), {key: count for key, count in counts.items() if count}
    some = {key: affected[key] for key in sorted(affected)[-SHOWN_ROWS:] if key}
    return Finding(
        passed=not total,
        expected=expected,
        found=f"{counted(total, 'ghost row')}{_in_partitions(affected)}{within}",
        what_to_do=WHAT_TO_DO if total else "",
        facts={
            **facts,
            GHOST_ROWS: dg.MetadataValue.int(total),
            **({GHOST_PARTITIONS: dg.MetadataValue.json(some)} if some else {}),
        },
    )


def _in_partitions(affected: Mapping[str, int]) -> str:
    partitions = [key for key in affected if key]
    return f" in {counted(len(partitions), 'partition')}" if partitions else ""


def _count(materialization: dg.AssetMaterialization) -> int | None:
    value = materialization.metadata.get(GHOST_ROWS)
    return value.value if isinstance(value, dg.IntMetadataValue) else None
