"""The SQL data source: the whole data model of data sources in one SQLite file.

Comes in: a URL, then tallies, names and time windows. Goes out: settled tallies, frames, archive states.
Never: knows the frame that observations came from, or HTTP.

The rooms, from the face down to the file
-----------------------------------------
``store``    SqlStore, one method per operation: what the rest of the package uses
``upsert``   one upsert: observations in chunks, each chunk in one transaction
``read``     frames and digests of what is stored
``tokens``   the access tokens of an account
``write``    rows into ``temporis_observation``; the mirror, which has the same table, writes through it as well
``sources``  data sources and their series by name; ``archived`` is set here and looked at by every chunk
``sqlite``   one file: connections, transactions, locks, forks
``schema``   the tables, and the migrations between their versions
``errors``   the driver's exceptions become errors of the tree, with advice
"""

from temporis_dagster.data_source.store.store import SqlStore

__all__ = ["SqlStore"]
