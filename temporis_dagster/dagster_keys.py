"""Dagster's own metadata keys and tags that this package sets: of the catalog, of row counts, of data versions.

Comes in: nothing. Goes out: the keys, as constants.
Never: holds a key of this package, or imports Dagster.
"""

TABLE_NAME = "dagster/table_name"
STORAGE_KIND = "dagster/storage_kind"
URI = "dagster/uri"
COLUMN_SCHEMA = "dagster/column_schema"
COLUMN_LINEAGE = "dagster/column_lineage"
ROW_COUNT = "dagster/row_count"
PARTITION_ROWS = "dagster/partition_row_count"
DATA_VERSION = "dagster/data_version"
"""The tag under which Dagster keeps the data version of a materialization or observation."""

STORAGE = "temporis"
"""The kind of storage, whatever database or service holds the data source."""


def table_name(data_source: str) -> str:
    """Return the name of a data source as a table: qualified, because Dagster matches tables by their names alone.

    >>> table_name("store_metrics")
    'temporis.store_metrics'
    """
    return f"{STORAGE}.{data_source}"
