"""From a DataFrame to observations: the only room that knows pandas dtypes, time zones and NaN."""

from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.observations.observe import observe
from temporis_dagster.data_source.observations.options import (
    Ambiguous,
    Layout,
    Nonexistent,
    ObservationArguments,
    ObservationOptions,
    OnInvalid,
    SubSecond,
)

__all__ = [
    "Ambiguous",
    "Layout",
    "Nonexistent",
    "ObservationArguments",
    "ObservationOptions",
    "Observations",
    "OnInvalid",
    "SubSecond",
    "observe",
]
