"""Resolvers, with which Dagster describes the attributes of YAML files, checks them and reads them.

Comes in: descriptions, as Markdown. Goes out: resolvers for ``Annotated``.
Never: decides what an attribute means.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import UnionType
from typing import Any, TypeAlias, cast

import dagster as dg
import pandas as pd
from dagster.components.resolved.core_models import AssetAttributesModel
from dagster.components.utils.translation import TranslatorResolvingInfo
from pydantic import BaseModel, StrictFloat, StrictInt

from temporis_dagster.checks.spacing import spacing
from temporis_dagster.data_source.observations import Interval
from temporis_dagster.errors import ConfigurationError

Bound: TypeAlias = StrictFloat | StrictInt | str | None
Translation: TypeAlias = Callable[[dg.AssetSpec, Mapping[str, object]], dg.AssetSpec]
"""From the spec of an asset so far, and what templates may use besides it, to the spec of the asset."""


def described(description: str, *, examples: list[Any] | None = None) -> dg.Resolver:
    """Return a resolver for a value of the annotated type.

    Use it for fields with a default: for these, Dagster drops the description in pydantic's ``Field``.

    Args:
        description: The text that the UI and editors show.
        examples: Values that the field may have.
    """
    return cast("dg.Resolver", dg.Resolver.default(description=description, examples=examples))


def count(description: str) -> dg.Resolver:
    """Return a resolver for an integer; it refuses YAML's ``true``, which Python would accept as 1."""
    return _resolver(_given, StrictInt | str, description)


def optional_count(description: str) -> dg.Resolver:
    """Return a resolver for an integer or null."""
    return _resolver(_given, StrictInt | str | None, description)


def number(description: str) -> dg.Resolver:
    """Return a resolver for a number; it refuses YAML's ``true``."""
    return _resolver(_given, StrictFloat | StrictInt | str, description)


def optional_number(description: str, *, examples: list[Any] | None = None) -> dg.Resolver:
    """Return a resolver for a number or null."""
    return _resolver(_given, StrictFloat | StrictInt | str | None, description, examples)


def share(description: str, *, examples: list[Any]) -> dg.Resolver:
    """Return a resolver for a number of rows (an integer) or a share of them (a float), or null."""
    return _resolver(_given, StrictInt | StrictFloat | str | None, description, examples)


def text_or_count(description: str) -> dg.Resolver:
    """Return a resolver for text or null; what YAML reads as an integer, such as the unit 1, becomes text."""
    return _resolver(_text, str | StrictInt | None, description)


def pairs(description: str, *, examples: list[Any]) -> dg.Resolver:
    """Return a resolver for pairs of numbers by name."""
    return _resolver(_given, Mapping[str, list[Bound]] | str | None, description, examples)


def length(description: str) -> dg.Resolver:
    """Return a resolver for a length of time, such as ``3h``, ``15min`` or ``7D``."""
    return dg.Resolver(_length, model_field_type=str | None, description=description, inject_before_resolve=False)


def interval(description: str) -> dg.Resolver:
    """Return a resolver for a length of time, or a step of the calendar such as ``B`` or ``W-MON``."""
    return dg.Resolver(_interval, model_field_type=str | None, description=description, inject_before_resolve=False)


def translated(description: str, *, examples: list[Any]) -> dg.Resolver:
    """Return a resolver for the attribute that Dagster's own components call ``translation``."""
    return dg.Resolver(
        _translation,
        model_field_type=cast("UnionType", AssetAttributesModel | str | None),
        description=description,
        examples=examples,
        inject_before_resolve=False,
    )


def _translation(context: dg.ResolutionContext, given: "str | BaseModel | None") -> Translation | None:
    if given is None:
        return None
    info = TranslatorResolvingInfo(asset_attributes=given, resolution_context=context, model_key="translation")
    return lambda spec, known: info.get_asset_spec(spec, {**known, "spec": spec})


def _resolver(read: Any, kind: Any, description: str, examples: list[Any] | None = None) -> dg.Resolver:
    return dg.Resolver(read, model_field_type=cast("UnionType", kind), description=description, examples=examples)


def _given(context: dg.ResolutionContext, given: object) -> Any:
    return context.resolve_value(given, as_type=object)


def _text(context: dg.ResolutionContext, given: object) -> str | None:
    value = _given(context, given)
    return None if value is None else str(value)


def _length(context: dg.ResolutionContext, given: object) -> timedelta | None:
    value = _given(context, given)
    if value is None or isinstance(value, timedelta):
        return value
    found = None if str(value).strip().isdigit() else _timedelta(str(value))
    if found is None:
        raise ConfigurationError(
            f"A length of time must have a number and a unit, as in 90s, 15min, 3h or 7D, got {value!r}."
        )
    return found


def _timedelta(text: str) -> timedelta | None:
    try:
        found = pd.Timedelta(text)
    except ValueError:
        return None
    return found.to_pytimedelta() if found == found else None  # noqa: PLR0124  pandas reads "NaT" as well


def _interval(context: dg.ResolutionContext, given: object) -> Interval | None:
    value = _given(context, given)
    spacing(value, None)
    return cast("Interval | None", value)
