"""Plain values of metadata as Dagster's own.

Comes in: values of ``metadata_values``. Goes out: ``dagster.MetadataValue``.
Never: makes a value of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from temporis_dagster.metadata_values import Value, Values


def _table(given: Mapping[str, Any]) -> dg.MetadataValue:
    columns = given["columns"]
    schema = columns and dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(record) for record in given["records"]], schema)


_MAKERS: Mapping[str, Callable[[Any], dg.MetadataValue]] = {
    "text": dg.MetadataValue.text,
    "int": dg.MetadataValue.int,
    "float": dg.MetadataValue.float,
    "bool": dg.MetadataValue.bool,
    "timestamp": dg.MetadataValue.timestamp,
    "json": dg.MetadataValue.json,
    "md": dg.MetadataValue.md,
    "asset": lambda key: dg.MetadataValue.asset(dg.AssetKey(key)),
    "table": _table,
    "native": lambda given: given,
}


def for_dagster(values: Values) -> dict[str, dg.MetadataValue]:
    """Return each value as Dagster's own."""
    return {key: value_for_dagster(value) for key, value in values.items()}


def value_for_dagster(value: Value) -> dg.MetadataValue:
    """Return a value as Dagster's own."""
    return _MAKERS[value.type](value.raw)
