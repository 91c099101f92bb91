"""What `defs.yaml` takes from Python."""

import dagster as dg
from nyc_airports import settings
from nyc_airports.dataset import WEATHER_SERIES


@dg.template_var
def weather_series() -> list[str]:
    """The names of all nine measures at all three airports."""
    return WEATHER_SERIES


@dg.template_var
def operational_db_url() -> str:
    """No secret in it. One with a password stands in the YAML as `{{ env.NAME }}`, and no definition ever holds it."""
    return f"sqlite:///{settings.operational_db()}"
