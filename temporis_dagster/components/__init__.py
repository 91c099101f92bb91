"""YAML components for ``dg``, which imports this package to list them.

===================  ===============================================================================================
``ingest``           ``TemporisIngestComponent``: from its attributes to Dagster definitions
``ingest_options``   the attributes that are options of ``@temporis_asset``
``series_options``     the attribute ``series``: names and contracts
``code_version``     what tells Dagster that the query, the function or an option has changed
``automation``       the attributes that add a schedule, a gap sensor and checks
``resolvers``        how Dagster describes, checks and reads the attributes
``scaffolder``       the files that ``dg scaffold defs`` writes
``python_function``  fetching: a function of the project
``sql_query``        fetching: a query on a database
``database_url``     of a query: where the database is, and what of its URL may be shown
``time_column``      of a query: the declared form of its time column, and the bounds of a window in that form
``value_forms``      of a query that found nothing: what values look like, and whether they fit the declaration
``column_lineage``   of a query: where its columns come from
``column_sample``    of a query that found nothing: a few values of the column that it compares
===================  ===============================================================================================

Importing it is cheap enough for every ``dg`` command: SQLAlchemy and sqlglot are only imported when a query is checked
or runs.
"""

from temporis_dagster.components.ingest import TemporisIngestComponent
from temporis_dagster.components.python_function import PythonFunction
from temporis_dagster.components.sql_query import SqlQuery
from temporis_dagster.components.time_column import TimeColumn

__all__ = ["PythonFunction", "SqlQuery", "TemporisIngestComponent", "TimeColumn"]
