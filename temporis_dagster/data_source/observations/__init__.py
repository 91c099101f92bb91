"""From a DataFrame to observations: the only room that knows pandas dtypes, time zones and NaN."""

from temporis_dagster.data_source.observations.future import AllowFuture
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
    Unit,
)

__all__ = [
    "AllowFuture",
    "Ambiguous",
    "Layout",
    "Nonexistent",
    "ObservationArguments",
    "ObservationOptions",
    "Observations",
    "OnInvalid",
    "SubSecond",
    "Unit",
    "observe",
]
