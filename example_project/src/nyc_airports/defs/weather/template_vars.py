"""Values that `defs.yaml` takes from Python."""

import dagster as dg
from nyc_airports import settings
from nyc_airports.dataset import WEATHER

from temporis_dagster import Series


@dg.template_var
def weather_series() -> list[Series]:
    """Return what is stated about all nine measures at all three airports."""
    return WEATHER


@dg.template_var
def operational_db_url() -> str:
    """Return the database's URL, which holds no secret.

    Write a URL with a password into the YAML as `{{ env.NAME }}` instead: then no definition ever holds it.
    """
    return f"sqlite:///{settings.operational_db()}"
