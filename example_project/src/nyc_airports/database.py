"""The resource through which assets ask the operational database for a window of time.

In: SQL with `:start` and `:end`, and a Dagster time window. Out: a pandas frame. Never: writes.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import sqlalchemy as sa


class OperationalDatabase(dg.ConfigurableResource["OperationalDatabase"]):
    """The airports' operational database: an SQLite file whose times are Unix seconds."""

    path: str

    def query(self, sql: str, window: dg.TimeWindow) -> pd.DataFrame:
        """One query for the whole window, of one partition or of a range.

        The bounds are bound as UTC instants: local days have 23 to 25 hours, Unix seconds do not care.
        """
        bounds = {"start": int(window.start.timestamp()), "end": int(window.end.timestamp())}
        with self._engine().connect() as connection:
            return pd.read_sql(sa.text(sql), connection, params=bounds)

    def _engine(self) -> sa.Engine:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"{self.path} is not there yet: python -m nyc_airports.operational_db makes it")
        return sa.create_engine(f"sqlite:///{self.path}", poolclass=sa.NullPool)
