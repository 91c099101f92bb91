"""The count check: whether the latest materialization of each partition has as many observations as expected.

Comes in: Dagster's event log. Goes out: a finding, with the partitions that have fewer.
Never: asks the data source. What a run wrote counts, also if all of it was stored before.
"""

from collections.abc import Mapping
from typing import cast

import dagster as dg
import pandas as pd

from temporis_dagster.checks.expectations import COUNT, Expectations, Writer
from temporis_dagster.checks.finding import Finding
from temporis_dagster.checks.latest_written import latest_written
from temporis_dagster.checks.spacing import in_words
from temporis_dagster.dagster_failures import offending_rows
from temporis_dagster.dagster_keys import PARTITION_ROWS, ROW_COUNT
from temporis_dagster.metadata_keys import ALL_PARTITION_ROWS, HORIZON
from temporis_dagster.wording import agreeing, counted

NOT_COUNTED = (
    "Not checked: {} of {} without a count. They were written in one run with others, and neither time nor a template, "
    "such as series=['load_{{partition}}'], tells which rows are whose; or they were reported by hand."
)


def find_count(instance: dg.DagsterInstance, writer: Writer, expectations: Expectations, now: float) -> Finding:
    """Compare the number of observations of each partition with ``min_observations``.

    Args:
        instance: The Dagster instance that records materializations.
        writer: The asset that writes.
        expectations: What is expected; ``min_observations`` is set. Only time partitions within ``horizon`` count.
        now: The time, in Unix seconds.
    """
    least, timed = expectations.min_observations or 0, writer.partitions_def is not None
    within = f" within the last {in_words(expectations.horizon)}" if timed else ""
    counts = _counts(latest_written(instance, writer, now - expectations.horizon.total_seconds()))
    known = {key: count for key, count in counts.items() if count is not None}
    few = {key: count for key, count in sorted(known.items()) if count < least}
    return Finding(
        passed=not few,
        expected=expectations.descriptions[COUNT].rstrip("."),
        found=_found(few, known) + within,
        what_to_do="Find out upstream why there are so few, and materialize again." if few else "",
        warning=_warning(len(counts) - len(known), len(counts), within),
        facts={
            **({HORIZON: dg.MetadataValue.text(in_words(expectations.horizon))} if timed else {}),
            **offending_rows("too_few", pd.DataFrame({"partition": list(few), "observations": list(few.values())})),
        },
    )


def _found(few: Mapping[str, int], known: Mapping[str, int]) -> str:
    if not known:
        return "No materialization states how many observations it has"
    if "" in known:
        return f"The latest materialization has {counted(known[''], 'observation')}"
    if not few:
        return f"The latest materialization of each of {counted(len(known), 'partition')} has enough"
    first = next(iter(few))
    return (
        f"{len(few):,} of {counted(len(known), 'partition')} {agreeing(len(few), 'has', 'have')} fewer, such as "
        f"{first!r} with {counted(few[first], 'observation')}"
    )


def _warning(unknown: int, total: int, within: str) -> str:
    if not total:
        return f"Not checked: {'no partition' if within else 'nothing'}{within} was materialized."
    return NOT_COUNTED.format(f"{unknown:,}", counted(total, "materialization")) if unknown else ""


def _counts(latest: Mapping[str, dg.AssetMaterialization]) -> Mapping[str, int | None]:
    """Return the number of observations of each partition, as its own event or a list of the run states it."""
    lists: dict[str, int] = {}
    for materialization in latest.values():  # the newest last: its list wins
        found = materialization.metadata.get(ALL_PARTITION_ROWS)
        lists |= cast("Mapping[str, int]", found.value) if found is not None else {}
    counts = {key: _number(one, PARTITION_ROWS if key else ROW_COUNT) for key, one in latest.items()}
    return {key: lists.get(key) if count is None else count for key, count in counts.items()}


def _number(materialization: dg.AssetMaterialization, key: str) -> int | None:
    value = materialization.metadata.get(key)
    return value.value if isinstance(value, dg.IntMetadataValue) else None
