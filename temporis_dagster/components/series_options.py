"""The series of a component's asset, as YAML states them: a prefix, or names and contracts.

Comes in: a text, or a list of texts and mappings. Goes out: what ``@temporis_asset(series=...)`` takes.
Never: has a statement that ``Series`` lacks.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from temporis_dagster.components.resolvers import described, optional_number, text_or_count
from temporis_dagster.data_source.observations import Series
from temporis_dagster.data_source.observations.series import series_from
from temporis_dagster.errors import ConfigurationError


class SeriesOptions(dg.Resolvable, dg.Model):
    """A contract: what holds for a series, or for all series with a prefix. `Series` of Python."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Annotated[str | None, described("Exact name. Either this or 'prefix' must be given.")] = None
    prefix: Annotated[
        str | None,
        described(
            "How the names of a family of series begin. Those of all families of an asset begin with one prefix, which "
            "is stated as well: 'wind_' next to 'wind_power_' and 'wind_speed_'."
        ),
    ] = None
    unit: Annotated[str | None, text_or_count("Unit of the values, such as 'MW' or '1'. It is only shown.")] = None
    every: Annotated[
        str | None,
        described(
            "How far apart observations are: a length such as '15min', or a step of the calendar such as 'D' or 'B'. "
            "'series_checks' look for gaps that are longer.",
            examples=["1h"],
        ),
    ] = None
    minimum: Annotated[float | None, optional_number("Lowest value. Rows with a lower one are invalid.")] = None
    maximum: Annotated[float | None, optional_number("Highest value. Rows with a higher one are invalid.")] = None
    integer: Annotated[
        bool, described("Whether all values are whole numbers. Rows with another value are invalid.")
    ] = False
    monotone: Annotated[
        bool, described("Whether no value is lower than the one before it. If one is, nothing is stored.")
    ] = False
    description: Annotated[str | None, described("What the series is.")] = None


def resolve_series(context: dg.ResolutionContext, given: object) -> str | list[str | Series] | None:
    """Read a prefix, or a list of names and contracts."""
    value: Any = given if isinstance(given, list) else context.resolve_value(given, as_type=object)
    return [_one(context, each) for each in value] if isinstance(value, list) else value


def _one(context: dg.ResolutionContext, given: object) -> Any:
    value: Any = given if isinstance(given, BaseModel) else context.resolve_value(given, as_type=object)
    if isinstance(value, BaseModel):
        options = SeriesOptions.resolve_from_model(context, value).model_dump()
        value = {argument: said for argument, said in options.items() if said is not None and said is not False}
    if not isinstance(value, Mapping):
        return value  # a name, or a contract that a template variable holds; anything else is refused with the rest
    try:
        return series_from(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} In YAML: '- {{name: orders, minimum: 0}}'.") from None
