"""Fetches observations from a Python function, called with the window of a run.

Comes in: ``my_module.fetch``, or ``.my_module.fetch`` for a module next to the YAML file. Goes out: what it returns.
Never: passes Dagster's context on: a function that takes it is an asset already, see ``@temporis_asset``.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any, cast

import dagster as dg
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from temporis_dagster.components.resolvers import described
from temporis_dagster.errors import ConfigurationError


def resolve_function(context: dg.ResolutionContext, given: object) -> Callable[..., Any]:
    """Import the function with this name; a name with a leading dot is relative to the YAML file's folder."""
    if callable(given):
        return given
    module, _, name = str(given).rpartition(".")
    if not module:
        raise ConfigurationError(f"{given!r} does not name the function's module. Write it as my_module.{given}.")
    if module.startswith("."):
        load = dg.ComponentLoadContext.from_resolution_context(context)
        module = f"{load.defs_relative_module_name(load.path)}{module}"
    try:
        function: object = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"There is no module {error.name}, so the function {given} cannot be imported."
        ) from None
    except AttributeError:
        raise ConfigurationError(f"The module {module} has no function {name}.") from None
    if not callable(function):
        raise ConfigurationError(f"{given} must be a function, got {type(function).__name__}.")
    return function


def resolve_clock(context: dg.ResolutionContext, given: object) -> Callable[[], float] | None:
    """Import the function that tells the time; None for the clock of the machine."""
    return None if given is None else resolve_function(context, given)


class PythonFunction(dg.Resolvable, dg.Model):
    """A function that returns a frame of observations.

    It is called as `function(start, end)` with the window of the run as datetimes in UTC, the end excluded; without
    partitions, as `function()`. So it can be called and tested without Dagster.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    call: Annotated[
        Callable[..., Any],
        dg.Resolver(
            resolve_function,
            model_field_type=str,
            description="Import path of the function: 'my_module.fetch', or '.my_module.fetch' for a module next to "
            "the YAML file.",
            examples=["my_module.fetch"],
        ),
    ]
    arguments: Annotated[
        Mapping[str, Any], described("Further keyword arguments of the function.", examples=[{"station": "KLGA"}])
    ] = Field(default_factory=dict)

    def ensure_takes(self, *, window: bool) -> None:
        """Refuse a function that cannot be called with the window and the arguments.

        Args:
            window: Whether the function is called with start and end.

        Raises:
            ConfigurationError: The function takes other arguments.
        """
        names = [*(["start", "end"] if window else []), *self.arguments]
        try:
            signature = inspect.signature(self.call)
            signature.bind(*([None, None] if window else []), **self.arguments)
        except TypeError as error:
            raise ConfigurationError(
                f"{getattr(self.call, '__name__', self.call)}{signature} cannot be called with ({', '.join(names)}): "
                f"{error}. With partitions, the function must take start and end, without them neither; and in both "
                "cases the given arguments."
            ) from None

    def fetch(self, spans: Sequence[tuple[int, int]] | None) -> Any:
        """Call the function once per span of time; several results become one frame.

        Args:
            spans: [start, end) in Unix seconds; None for an asset without partitions.
        """
        if spans is None:
            return self.call(**self.arguments)
        results = [self.call(_utc(start), _utc(end), **self.arguments) for start, end in spans]
        return results[0] if len(results) == 1 else pd.concat(results)


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, timezone.utc)


def resolve_python_function(context: dg.ResolutionContext, given: object) -> PythonFunction:
    """Accept a function's name alone, or a mapping of 'call' and 'arguments'."""
    if isinstance(given, PythonFunction):
        return given
    if isinstance(given, BaseModel):
        return cast("PythonFunction", PythonFunction.resolve_from_model(context, given))
    return PythonFunction(call=resolve_function(context, given))
