"""From a DataFrame to observations: the only room that knows pandas dtypes, time zones and NaN."""

from temporis_dagster.data_source.observations.future import AllowFuture
from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.observations.observe import observe
from temporis_dagster.data_source.observations.options import (
    Ambiguous,
    Decimals,
    Layout,
    Nonexistent,
    ObservationArguments,
    ObservationOptions,
    OnConflict,
    OnInvalid,
    SubSecond,
    Unit,
)

__all__ = [
    "AllowFuture",
    "Ambiguous",
    "Decimals",
    "Layout",
    "Nonexistent",
    "ObservationArguments",
    "ObservationOptions",
    "Observations",
    "OnConflict",
    "OnInvalid",
    "SubSecond",
    "Unit",
    "observe",
]
