"""The parameters that docs/dagster_reference.md must list, read from the code.

Comes in: the public Dagster names. Goes out: for each one its parameters, their types and their defaults, as the page
shows them. ``python -m tests.support.dagster_reference`` prints the rows to copy.
Never: says what a parameter means; the page does.
"""

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, Union, get_args, get_origin

import dagster as dg
from dagster_pipes import PipesContext
from typing_extensions import Unpack

import temporis_dagster
from temporis_dagster import components, pipes, testing
from temporis_dagster.checks.archive_state import ExpectedStates
from temporis_dagster.components.automation import GapFillOptions, ScheduleOptions, SeriesCheckOptions
from temporis_dagster.components.ingest_options import RetryOptions
from temporis_dagster.components.series_options import SeriesOptions
from temporis_dagster.schedules.selection import FillTarget

Row = tuple[str, str, str]
FUNCTIONS = (
    "temporis_asset",
    "data_source_spec",
    "gated_selection",
    "build_archive_state_checks",
    "build_archive_state_sensor",
    "build_series_checks",
    "build_trailing_window_schedule",
    "build_gap_fill_sensor",
    "build_mirror_flush_schedule",
)
METHODS = ("materialize", "run_pipes", "pipes_extras", "pipes_results")
"""Of ``TemporisResource``."""
EXTERNAL = ("upsert", "report_upsert", "windows", "partition_keys")
"""In an external process of Dagster Pipes."""
MODELS: tuple[Any, ...] = (
    temporis_dagster.TemporisResource,
    temporis_dagster.TemporisIOManager,
    components.TemporisIngestComponent,
    components.SqlQuery,
    components.TimeColumn,
    components.PythonFunction,
    RetryOptions,
    ScheduleOptions,
    GapFillOptions,
    SeriesCheckOptions,
    SeriesOptions,
)
FOR_TESTS = (
    "FakeService",
    "Fault",
    "answer",
    "at_random",
    "cut",
    "held",
    "html_page",
    "in_sequence",
    "silence",
    "sample_frame",
)
LOCAL = {"Self": Any, "timedelta": timedelta, "Fault": testing.Fault, "PipesContext": PipesContext, "Unpack": Unpack}
NAMED = {FillTarget: "`FillTarget`", ExpectedStates: "`ExpectedStates`"}
"""Unions too long for a cell, which the page explains once."""


def reference() -> dict[str, list[Row]]:
    """The rows of each heading, in the order of the code."""
    return {
        **{model.__name__: of_model(model) for model in MODELS},
        **{name: of_function(getattr(temporis_dagster.TemporisResource, name)) for name in METHODS},
        **{name: of_function(getattr(temporis_dagster, name)) for name in FUNCTIONS},
        **{name: of_function(getattr(pipes, name)) for name in EXTERNAL},
        **{name: of_function(getattr(testing, name)) for name in FOR_TESTS},
    }


def of_function(function: Callable[..., Any]) -> list[Row]:
    """The parameters of a function, or of a class that is called."""
    subject = function.__init__ if inspect.isclass(function) else function  # type: ignore[misc]
    hints = typing.get_type_hints(subject, localns=LOCAL)
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        (
            stars.get(each.kind, "") + each.name,
            type_of(hints[each.name]),
            "" if each.kind in stars else default_of(each.default),
        )
        for each in inspect.signature(function).parameters.values()
        if each.name != "self"
    ]


def of_model(model: Any) -> list[Row]:
    """The fields of a resource, or the attributes of a component."""
    if issubclass(model, dg.ConfigurableResource):
        return [
            (name, type_of(field.annotation), default_of(field.get_default(call_default_factory=True)))
            for name, field in model.model_fields.items()
        ]
    hints = typing.get_type_hints(model)
    rows = []
    for name in (*model.__dataclass_fields__,) if dataclasses.is_dataclass(model) else model.model_fields:
        field = model.model_fields[name]
        required = field.is_required()
        default = inspect.Parameter.empty if required else field.get_default(call_default_factory=True)
        rows.append((name, type_of(hints[name]), default_of(default)))
    return rows


def type_of(annotation: Any) -> str:
    """A type as the page writes it: no bars, which would end a cell of a table."""
    if _hashable(annotation) and annotation in NAMED:
        return NAMED[annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [type_of(one) for one in get_args(annotation) if one is not type(None)]
        return " or ".join([*dict.fromkeys(parts), *(["`None`"] if type(None) in get_args(annotation) else [])])
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value!r}`" for value in get_args(annotation))
    return f"`{_plain(annotation)}`"


def _hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def _plain(annotation: Any) -> str:
    """A type in one piece: unions inside brackets stay as Python writes them, with ``or``."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_plain(one) for one in get_args(annotation))
    if isinstance(annotation, list):
        return f"[{', '.join(map(_plain, annotation))}]"
    if annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if origin := get_origin(annotation):
        return f"{_plain(origin)}[{', '.join(map(_plain, get_args(annotation)))}]"
    name = getattr(annotation, "__qualname__", None) or str(annotation).removeprefix("typing.")
    module = getattr(annotation, "__module__", "")
    prefix = "dg." if module.startswith("dagster.") else "pd.offsets." if module.endswith("tslibs.offsets") else ""
    return prefix + name


def default_of(value: Any) -> str:
    """A default as the page writes it."""
    if value is inspect.Parameter.empty or type(value).__name__ == "PydanticUndefinedType":
        return "required"
    if isinstance(value, enum.Enum):
        return f"`dg.{type(value).__name__}.{value.name}`"
    if callable(value):
        return f"`{value.__module__}.{value.__name__}`" if value.__name__ != "<lambda>" else "`...`"
    shown = repr(value).removeprefix("datetime.")
    return "" if shown == "<factory>" else f"`{shown}`"


if __name__ == "__main__":
    for heading, rows in reference().items():
        sys.stdout.write(f"\n## {heading}\n\n")
        sys.stdout.writelines(f"| `{name}` | {kind} | {default} | |\n" for name, kind, default in rows)
