"""Builds the example's operational database: one SQLite file with the tables `flights` and `weather`.

In: the two committed CSV files. Out: a complete SQLite file or none; building again replaces the whole file.
Never: aggregates or corrects anything; that is up to the assets. Times are Unix seconds, this database's own choice.

    python -m nyc_airports.operational_db
"""

import os
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from nyc_airports import settings

SCHEMA = """
CREATE TABLE flights (scheduled_at INTEGER NOT NULL, origin TEXT NOT NULL, dep_delay_min INTEGER);
CREATE TABLE weather (
    observed_at INTEGER NOT NULL, origin TEXT NOT NULL,
    temp_f REAL, dewpoint_f REAL, humidity_pct REAL, wind_dir_deg REAL, wind_speed_mph REAL, wind_gust_mph REAL,
    precip_in REAL, pressure_hpa REAL, visibility_mi REAL
);
CREATE INDEX flights_by_time ON flights (scheduled_at);
CREATE INDEX weather_by_time ON weather (observed_at);
"""


def build(path: Path, data: Path = settings.DATA) -> Path:
    """Write a new file next to the old one, then rename it: readers see the old database or the new one, never half."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.unlink(missing_ok=True)
        _fill(partial, data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _fill(path: Path, data: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for statement in SCHEMA.split(";"):
            connection.exec_driver_sql(statement)
        _flights(data).to_sql("flights", connection, if_exists="append", index=False)
        _weather(data).to_sql("weather", connection, if_exists="append", index=False)
    engine.dispose()


def _flights(data: Path) -> pd.DataFrame:
    """Return one row per scheduled flight; a flight without a delay was cancelled."""
    flights = pd.read_csv(data / "departures.csv.xz", dtype={"dep_delay_min": "Int64"})
    return flights.assign(scheduled_at=_unix_seconds(flights.pop("scheduled_utc")))


def _weather(data: Path) -> pd.DataFrame:
    """Return one row per airport and hour; a measure that the station did not report is NULL.

    Values are read as text and then converted: the CSV reader of pandas 2 gets some last digits wrong.
    """
    text = pd.read_csv(data / "weather.csv.xz", dtype=str).set_index(["observed_utc", "origin"])
    weather = text.astype("float64").reset_index()
    return weather.assign(observed_at=_unix_seconds(weather.pop("observed_utc")))


def _unix_seconds(utc: "pd.Series[str]") -> "pd.Series[int]":
    return pd.to_datetime(utc, utc=True).dt.as_unit("s").astype("int64")


if __name__ == "__main__":
    print(build(settings.operational_db()))
