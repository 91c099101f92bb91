"""YAML components for ``dg``, which imports this package to list them: so nothing here is lazy or optional."""

from temporis_dagster.components.ingest import TemporisIngestComponent
from temporis_dagster.components.python_function import PythonFunction
from temporis_dagster.components.sql_query import SqlQuery
from temporis_dagster.components.time_column import TimeColumn

__all__ = ["PythonFunction", "SqlQuery", "TemporisIngestComponent", "TimeColumn"]
