"""The SQL data source: the whole data model of data sources in one SQLite file or PostgreSQL database.

Comes in: a URL, then tallies, names and time windows. Goes out: settled tallies, frames, archive states.
Never: knows the frame that observations came from, or HTTP.

The rooms, from the face down to the databases
----------------------------------------------
``store``     SqlStore, one method per operation: what the rest of the package uses
``opening``   which database a URL names
``upsert``    one upsert: observations in chunks, each chunk in one transaction
``delete``    one delete, in chunks as well
``compare``   observations compared with what is stored: new, changed, unchanged, ghosts
``planning``  what the store and the mirror answer from that
``stored``    what these ask of the stored rows of a database
``tokens``    the access tokens of an account
``token_uses``    when each of them was last used
``overview``      a line about each data source; this and the next four are for the dashboard
``series_pages``  some series at a time, with sparklines
``plotting``      series as lines of few points
``newest``        the newest observations of a range
``row_counts``    how many observations there are, counted in the background
``database``  what all of these ask of a database: the protocol of the two folders
``sqlite``    one file, of which the mirror uses the rooms as well
``postgres``  one database on a server
``idle``      connections between transactions
``sources``   data sources by name; ``archived`` is set here and looked at by every chunk
``read``      frames and digests of what is stored
``chunks``    the observations of one transaction
``views``     what is said where the SQL views, for other programs, could not be made
``errors``    the driver's exceptions become errors of the tree, with advice
"""

from temporis_dagster.data_source.store.store import SqlStore

__all__ = ["SqlStore"]
