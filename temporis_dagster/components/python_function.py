"""A Python function as the source of observations: called with the window of a run, its result as it is.

Comes in: ``my_module.fetch`` or ``.module_beside_the_yaml.fetch``. Goes out: what it returns.
Never: hands Dagster's context on: such a function is an asset already, see ``@temporis_asset``.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any, cast

import dagster as dg
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from temporis_dagster.components.fields import described
from temporis_dagster.errors import ConfigurationError


def resolve_function(context: dg.ResolutionContext, said: object) -> Callable[..., Any]:
    """The function of that name; one that starts with a dot is looked for beside the YAML file."""
    if callable(said):
        return said
    module, _, name = str(said).rpartition(".")
    if not module:
        raise ConfigurationError(f"{said!r} does not say where the function is. Give it as my_module.{said}.")
    if module.startswith("."):
        load = dg.ComponentLoadContext.from_resolution_context(context)
        module = f"{load.defs_relative_module_name(load.path)}{module}"
    try:
        function: object = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"There is no module {error.name}, so no function {said}.") from None
    except AttributeError:
        raise ConfigurationError(f"The module {module} has no function {name}.") from None
    if not callable(function):
        raise ConfigurationError(f"{said} is a {type(function).__name__}, not a function.")
    return function


class PythonFunction(dg.Resolvable, dg.Model):
    """A function that returns a frame of observations.

    It is called as `function(start, end)` with the window of the run as datetimes in UTC, where the end is excluded;
    without partitions as `function()`. So it can be called and tested without Dagster.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    call: Annotated[
        Callable[..., Any],
        dg.Resolver(
            resolve_function,
            model_field_type=str,
            description="Import path of the function: 'my_module.fetch', or '.my_module.fetch' for a module beside "
            "the YAML file.",
            examples=["my_module.fetch"],
        ),
    ]
    arguments: Annotated[
        Mapping[str, Any], described("Further keyword arguments of the function.", examples=[{"station": "KLGA"}])
    ] = Field(default_factory=dict)

    def ensure_takes(self, *, window: bool) -> None:
        """Refuse a function that cannot be called so.

        Raises:
            ConfigurationError: It takes something else.
        """
        names = [*(["start", "end"] if window else []), *self.arguments]
        try:
            signature = inspect.signature(self.call)
            signature.bind(*([None, None] if window else []), **self.arguments)
        except TypeError as error:
            raise ConfigurationError(
                f"{getattr(self.call, '__name__', self.call)}{signature} cannot be called with ({', '.join(names)}): "
                f"{error}. With partitions it takes start and end, without it takes neither; then come the arguments."
            ) from None

    def fetch(self, spans: Sequence[tuple[int, int]] | None) -> Any:
        """What the function returns, called once for each span of time; several results become one frame.

        Args:
            spans: [start, end) in Unix seconds; None for an asset without partitions.
        """
        if spans is None:
            return self.call(**self.arguments)
        results = [self.call(_utc(start), _utc(end), **self.arguments) for start, end in spans]
        return results[0] if len(results) == 1 else pd.concat(results)


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, timezone.utc)


def resolve_python_function(context: dg.ResolutionContext, said: object) -> PythonFunction:
    """A function's name alone, or with its arguments."""
    if isinstance(said, PythonFunction):
        return said
    if isinstance(said, BaseModel):
        return cast("PythonFunction", PythonFunction.resolve_from_model(context, said))
    return PythonFunction(call=resolve_function(context, said))
