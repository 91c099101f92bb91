"""``@temporis_asset`` and ``data_source_spec``: assets with all that is easy to forget.

Comes in: what ``dagster.asset`` and ``dagster.AssetSpec`` take, and the asset's data source. Goes out: plain Dagster
definitions. Never: does I/O, or has behaviour of its own: the IO manager has it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from temporis_dagster.asset_options import FRAME_OPTIONS, NAMESPACE, OutsidePartition, frame_options, own_series
from temporis_dagster.contract import DATA_SOURCE_NAME_RULE, is_data_source_name
from temporis_dagster.data_source.observations import Layout, OnInvalid, SubSecond
from temporis_dagster.errors import ConfigurationError

AssetDecorator: TypeAlias = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def temporis_asset(
    *,
    data_source: str,
    series: str | Sequence[str] | None = None,
    outside_partition: OutsidePartition | None = None,
    layout: Layout | None = None,
    timestamp: str | None = None,
    name_column: str | None = None,
    value: str | None = None,
    timezone: str | None = None,
    ambiguous: bool | str | None = None,
    nonexistent: str | None = None,
    sub_second: SubSecond | None = None,
    on_invalid: OnInvalid | None = None,
    **asset_arguments: Any,
) -> AssetDecorator: ...
