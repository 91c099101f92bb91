"""A data source: the one face over every target.

``source.py`` has the face, ``upserting.py`` the way of a frame or stream up to the report, ``arguments.py`` what says
which observations are meant, and ``abilities.py`` what a target can do besides storing.
"""

from temporis_dagster.data_source.source.abilities import manageable
from temporis_dagster.data_source.source.source import DataSource
from temporis_dagster.data_source.source.upserting import rejection

__all__ = ["DataSource", "manageable", "rejection"]
