"""The SQL data source: the whole data model of data sources in one SQLite file.

Comes in: a URL, then tallies, names and time windows. Goes out: settled tallies, frames, archive states.
Never: knows the frame that observations came from, or HTTP.
"""

from temporis_dagster.data_source.store.store import SqlStore

__all__ = ["SqlStore"]
