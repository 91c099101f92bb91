"""The pandera schema of an asset: what its frame has to look like before it is read as observations.

Comes in: a ``DataFrameSchema`` or ``DataFrameModel``, and the frame that an asset returned. Goes out: what the schema
refuses, for ``observe`` to report with everything else; or the error about a frame that has another shape.
Never: imports pandera for an asset without a schema, or changes a frame: what is stored is what the asset returned.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations import Found
from temporis_dagster.errors import ConfigurationError, InvalidObservationsError
from temporis_dagster.metadata_keys import SCHEMA

REFUSED = "the asset's schema refuses it: {}"


class SchemaText(str):
    """A schema in metadata, which hold text: for Dagster it is a text, for the IO manager also the schema.

    Attributes:
        schema: The ``DataFrameSchema``.
    """

    __slots__ = ("schema",)
    schema: Any

    @classmethod
    def of(cls, schema: Any) -> "SchemaText":
        """Return the text that shows a schema, with the schema."""
        text = cls(f"pandera: {', '.join(map(str, schema.columns))}")
        text.schema = schema
        return text


def schema_text(given: object) -> SchemaText:
    """Return a schema as metadata of an asset.

    Args:
        given: A ``DataFrameSchema``, or a class of ``DataFrameModel``.

    Raises:
        ConfigurationError: It is neither, pandera is not installed, or the schema drops rows, changes values or leaves
            out some of what it refuses.
    """
    if find_spec("pandera") is None:
        raise ConfigurationError("schema needs pandera. Install it: pip install 'temporis-dagster[pandera]'.")
    import pandera.pandas as pandera

    schema: object = given
    if isinstance(given, type) and issubclass(given, pandera.DataFrameModel):
        schema = given.to_schema()
    if not isinstance(schema, pandera.DataFrameSchema):
        raise ConfigurationError(
            f"schema must be a DataFrameSchema or a DataFrameModel of pandera.pandas, got {given!r:.80}."
        )
    if schema.drop_invalid_rows:
        raise ConfigurationError(
            "schema drops invalid rows by itself (drop_invalid_rows=True), and no report would count them. Leave that"
            " out, and pass on_invalid='drop' to the asset."
        )
    parts = [schema, *schema.columns.values(), *getattr(schema.index, "indexes", [schema.index])]
    if any(getattr(part, "parsers", None) for part in parts):
        raise ConfigurationError(
            "schema has parsers: its checks would see parsed values, but what is stored is what the asset returned."
            " Parse the frame in the asset's body, and leave them out."
        )
    if any(check.n_failure_cases is not None for part in parts for check in getattr(part, "checks", None) or ()):
        raise ConfigurationError(
            "schema has a check with n_failure_cases, so pandera would not name all rows that it refuses, and the rest"
            " would be stored. Leave n_failure_cases out: a failure lists the first rows only, anyway."
        )
    return SchemaText.of(schema)


def ensure_schema_text(given: object) -> SchemaText | None:
    """Return the schema in an asset's metadata; None if it has none.

    Raises:
        ConfigurationError: There is only its text.
    """
    if given is None or isinstance(given, SchemaText):
        return given
    raise ConfigurationError(
        f"{SCHEMA} must be the asset's schema, got {given!r:.80}. Pass it as @temporis_asset(schema=...)."
    )


def refused_by(text: SchemaText | None, frame: object) -> list[Found]:
    """Return the cells and rows that a schema refuses.

    Args:
        text: The schema; None refuses nothing.
        frame: What the asset returned.

    Raises:
        InvalidObservationsError: It does not have the columns or the dtypes of the schema.
    """
    if text is None:
        return []
    import pandera.errors

    if not isinstance(frame, pd.DataFrame):
        raise _shape(f"it must be a DataFrame, got {type(frame).__name__}")
    if frame.index.nlevels > 1:
        raise _shape("its index has several levels. Turn them into columns with reset_index()")
    try:
        text.schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases: pd.DataFrame = errors.failure_cases
        of_frame = cases[cases["index"].isna() | cases["check"].astype(str).str.startswith("dtype(")]
        if len(of_frame):
            raise _shape("; ".join(dict.fromkeys(_in_words(case) for case in of_frame.itertuples()))) from errors
        found = list(_found(cases, frame))
        if lost := [some.reason for some in found if not len(some.rows)]:  # what it refuses may not be stored unseen
            raise _shape(lost[0]) from errors
        return found
    except Exception as error:  # pandera's own: it cannot check every schema if labels repeat
        repeated = "" if frame.index.is_unique else "; the labels of its rows repeat, so try reset_index(drop=True)"
        raise _shape(f"pandera could not check it: {type(error).__name__}: {error}{repeated}") from error
    return []


def _shape(what: str) -> InvalidObservationsError:
    return InvalidObservationsError(
        f"The frame does not fit the asset's schema, so nothing was sent: {what}. Correct the frame or the schema.",
        rows=pd.DataFrame({name: [] for name in ("position", "label", "column", "value", "reason")}),
    )


def _in_words(case: Any) -> str:
    return f"{case.check} ({'' if pd.isna(case.column) else f'column {case.column!r}, '}{case.failure_case!r:.60})"


def _found(cases: pd.DataFrame, frame: pd.DataFrame) -> Iterator[Found]:
    """Yield what a schema refuses. A check of whole rows, which names all of their columns, is reported once."""
    of_rows = cases["schema_context"] == "DataFrameSchema"
    cases = pd.concat([cases[~of_rows], cases[of_rows].drop_duplicates(["check", "index"])])
    for (context, column, check), some in cases.groupby(
        ["schema_context", "column", "check"], dropna=False, sort=False
    ):
        of_index = column not in frame.columns
        values = frame.index.to_series() if of_index else frame[column]
        rows = frame.index.isin(some["index"])
        if not frame.index.is_unique:  # labels alone do not tell which of the rows it was
            rows &= values.isin(some["failure_case"]).to_numpy()
        cell = context == "Column" and not of_index
        yield Found(None if of_index else column, np.flatnonzero(rows), REFUSED.format(check), whole_row=not cell)
