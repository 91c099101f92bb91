"""The rules of one write: its options, the partitions of its run, their windows and series.

Comes in: nothing. Goes out: the type.
Never: imports Dagster, which only the surface that makes them needs, or looks at data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from temporis_dagster.data_source.observations import Series
from temporis_dagster.data_source.plan import Within
from temporis_dagster.series_of_parts import SeriesOfParts
from temporis_dagster.time_windows import PartitionWindows
from temporis_dagster.write_options import AssetOptions, ChangeOptions


@dataclass(frozen=True)
class WriteRules:
    """What applies to one write.

    Attributes:
        options: Those of the asset.
        changes: Which changes to stored rows it allows.
        is_asset: Whether an asset is written, and not just the output of an op.
        partitions: The partitions of the run, in the order of their definition; None if the asset has none.
        windows: Their time windows; None if they have no time.
        series: The series of each of them, if templates tell them apart.
        within: Which stored rows the write is about.
        parts: What is not time of the keys of these partitions, where neither time nor templates tell the asset's
            partitions apart; None where they do.
        contracts: What is stated about the series of these partitions.
        tags: The tags of the run.
    """

    options: AssetOptions
    changes: ChangeOptions
    is_asset: bool
    partitions: tuple[str, ...] | None
    windows: PartitionWindows | None
    series: SeriesOfParts | None
    within: Within
    parts: tuple[str, ...] | None
    contracts: tuple[Series, ...]
    tags: Mapping[str, str]
