"""As what an input wants its observations: a frame of pandas, Arrow or polars, by the annotation of the input.

Comes in: Dagster's context of an input; rows. Goes out: a frame, or a reader of batches.
Never: imports Arrow or polars before such a frame is asked for: the annotation's class is known by its name.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin

import dagster as dg
import pandas as pd

from temporis_dagster.data_source.reading import Rows, arrow_reader, formed
from temporis_dagster.errors import ConfigurationError

Kind: TypeAlias = Literal["pandas", "arrow", "polars", "lazy polars", "reader"]

KINDS: dict[tuple[str, str], Kind] = {
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "lazy polars",
    ("pyarrow", "Table"): "arrow",
    ("pyarrow", "RecordBatchReader"): "reader",
}
"""What an annotation asks for, by the library and the name of its class."""

ANYTHING = (Any, object, inspect.Parameter.empty)


@dataclass(frozen=True)
class InputForm:
    """As what an input wants its observations.

    Attributes:
        kind: What each of its frames is.
        apart: Whether there is one for each partition.
    """

    kind: Kind = "pandas"
    apart: bool = False

    def frame(self, rows: Rows) -> object:
        """Return the rows as such a frame."""
        if self.kind == "lazy polars":
            return formed(rows, "polars").lazy()
        return arrow_reader([rows]) if self.kind == "reader" else formed(rows, self.kind)

    @staticmethod
    def reader(batches: Iterable[Rows]) -> object:
        """Return a reader of the batches, which are read when it is asked for them."""
        return arrow_reader(batches)


def input_form(context: dg.InputContext) -> InputForm:
    """Return what the annotation of an input asks for; without one, a pandas DataFrame.

    Args:
        context: Dagster's context of the input.

    Raises:
        ConfigurationError: The observations cannot be had as what it asks for. The message says as what they can.
    """
    wanted = _not_optional(getattr(context.dagster_type, "typing_type", Any))
    if wanted is dict:
        return InputForm(apart=True)
    if get_origin(wanted) is not dict:
        return InputForm(_kind(wanted, wanted, context))
    key, each = get_args(wanted)
    if key is not str and key not in ANYTHING:
        raise _unservable(wanted, context)
    return InputForm(_kind(_not_optional(each), wanted, context), apart=True)


def _not_optional(wanted: object) -> object:
    """Return what ``Optional`` stands around: what is read is never None."""
    if get_origin(wanted) is Union:
        others = [each for each in get_args(wanted) if each is not type(None)]
        return others[0] if len(others) == 1 else wanted
    return wanted


def _kind(each: object, wanted: object, context: dg.InputContext) -> Kind:
    """Return what a class asks for, which is the annotation or stands in it."""
    if each in ANYTHING:
        return "pandas"
    if not inspect.isclass(each):
        raise _unservable(wanted, context)
    library = each.__module__.partition(".")[0]
    if (library, each.__name__) in KINDS:
        return KINDS[library, each.__name__]
    # A class that a pandas DataFrame is of, or that is derived from it, of which Dagster's own check decides.
    if _holds(pd.DataFrame, each) or issubclass(each, pd.DataFrame):
        return "pandas"
    raise _unservable(wanted, context)


def _holds(frame: type, wanted: type) -> bool:
    try:
        return issubclass(frame, wanted)
    except TypeError:  # a protocol with attributes: only an object can be asked
        return True


def _unservable(wanted: object, context: dg.InputContext) -> ConfigurationError:
    shown = cast("type", wanted).__qualname__ if inspect.isclass(wanted) else str(wanted).replace("typing.", "")
    library = f"{wanted.__module__.partition('.')[0]}." if inspect.isclass(wanted) else ""
    library = "" if library == "builtins." else library
    return ConfigurationError(
        f"The input of {context.asset_key.to_user_string()} is annotated {library}{shown}, which observations cannot be"
        " loaded as. Annotate it as pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table or pa.RecordBatchReader (of"
        " pandas, polars and pyarrow), or as a dict[str, ...] of one of these for each partition by itself."
    )
