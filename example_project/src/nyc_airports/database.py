"""The resource with which assets query the operational database for a window of time.

In: SQL with `:start` and `:end`, and a Dagster time window. Out: a pandas frame. Never: writes.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import sqlalchemy as sa


class OperationalDatabase(dg.ConfigurableResource["OperationalDatabase"]):
    """The airports' operational database: a SQLite file that holds times as Unix seconds."""

    path: str

    def query(self, sql: str, window: dg.TimeWindow) -> pd.DataFrame:
        """Run one query for the whole window, whether it is one partition or a range of them.

        `:start` and `:end` are bound as Unix seconds, so it does not matter that local days have 23 to 25 hours.
        """
        bounds = {"start": int(window.start.timestamp()), "end": int(window.end.timestamp())}
        with self._engine().connect() as connection:
            return pd.read_sql(sa.text(sql), connection, params=bounds)

    def _engine(self) -> sa.Engine:
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"{self.path} does not exist. Build it: python -m nyc_airports.operational_db")
        return sa.create_engine(f"sqlite:///{self.path}", poolclass=sa.NullPool)
