"""Fetches observations with a SQL query, run once per span of time.

Comes in: a database's URL, a query, windows of time. Goes out: frames that ``DataSource.upsert`` takes, and a remark on
why one may be empty.
Never: writes to the database it reads, changes a value, or shows the URL.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import dagster as dg
import pandas as pd
from pydantic import ConfigDict, Field, field_validator, model_validator

from temporis_dagster.components.column_sample import ZONED, Compared, compared_columns, first_values
from temporis_dagster.components.database_url import (
    DatabaseUrl,
    database_url,
    engine_of,
    place_of,
    resolve_url,
    without_secrets,
)
from temporis_dagster.components.resolvers import described
from temporis_dagster.components.time_column import Bounds, TimeColumn
from temporis_dagster.components.value_forms import shown
from temporis_dagster.errors import ConfigurationError, TemporisError
from temporis_dagster.metadata_keys import QUERY
from temporis_dagster.metadata_values import printable

if TYPE_CHECKING:
    import sqlalchemy as sa

WINDOW = {"start", "end"}
CAST_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?=::)")
Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Fetched:
    """What a query found.

    Attributes:
        frame: Its rows.
        exact: Whether its bounds covered the window and nothing else; if not, rows outside the window are to be left
            out.
        remark: If it found nothing, what its time column holds.
        suspicious: Whether some of these values do not fit the declaration.
    """

    frame: pd.DataFrame
    exact: bool
    remark: str = ""
    suspicious: bool = False


class SqlQuery(dg.Resolvable, dg.Model):
    """A query whose rows are observations.

    The query of a partitioned asset compares its time column with `:start` and `:end`; the end is excluded. In a run
    over a range of partitions, it runs once for the whole range.

    Examples:
        >>> SqlQuery(
        ...     url="sqlite:///shop.db",
        ...     query="SELECT placed AS timestamp, items FROM orders WHERE placed >= :start AND placed < :end",
        ...     time_column=TimeColumn(stored_as="epoch"),
        ... ).has_window
        True
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Annotated[
        DatabaseUrl,
        dg.Resolver(
            resolve_url,
            model_field_type=str,
            inject_before_resolve=False,
            description="SQLAlchemy URL of the database. '{{ env.NAME }}' is only read when a run needs it, and is "
            "never shown.",
            examples=["{{ env.WAREHOUSE_URL }}"],
        ),
    ] = Field(repr=False)
    query: str = Field(
        description="One SELECT. Its columns are read like those of any frame: see 'layout', 'timestamp', "
        "'name_column' and 'value'. With partitions, it compares its time column with ':start' and ':end'.",
        examples=["SELECT at AS timestamp, items FROM orders WHERE at >= :start AND at < :end"],
    )
    time_column: Annotated[
        TimeColumn | None,
        described(
            "How the column that is compared with ':start' and ':end' holds time. Required where the query has them.",
            examples=[{"stored_as": "timestamptz"}],
        ),
    ] = None

    @field_validator("url", mode="before")
    @classmethod
    def _url(cls, given: object) -> object:
        return database_url(given)

    @field_validator("query")
    @classmethod
    def _known_parameters(cls, query: str) -> str:
        names = _parameters(query)
        if not query.strip():
            raise ValueError("The query is empty. Write one SELECT.")
        if names not in (set(), WINDOW):
            raise ValueError(
                "The parameters of the query must be both :start and :end, or none, got "
                f"{', '.join(f':{name}' for name in sorted(names))}. Write a colon that does not begin a parameter as "
                "\\:."
            )
        return query

    @model_validator(mode="after")
    def _complete(self) -> "SqlQuery":
        if self.has_window != (self.time_column is not None):
            raise ValueError(
                "The query has :start and :end, so it needs a time_column that declares how the column it compares "
                "with them is stored, as in 'time_column: {stored_as: timestamptz}'."
                if self.has_window
                else "There is a time_column, but the query has no :start and :end. Compare that column with them, as "
                "in 'WHERE at >= :start AND at < :end'."
            )
        return self

    @property
    def has_window(self) -> bool:
        """Whether the query selects a window of time."""
        return bool(_parameters(self.query))

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database; empty if only the environment of a run knows it."""
        return "" if self.url.variable else self.url.text.split(":", 1)[0].split("+", 1)[0]

    def fetch(self, spans: Spans | None, timestamp: str) -> Fetched:
        """Run the query, once per span of time.

        Args:
            spans: [start, end) in Unix seconds; None for a query without a window.
            timestamp: The name of the result's timestamp column.

        Raises:
            ConfigurationError: The URL cannot be used, or the time column is not what it is declared to be.
            Failure: The database failed. If that may pass, as for a lost connection, the asset's retry policy decides.
        """
        engine = engine_of(self.url)
        with _failing_clearly(self.query, engine):
            windows = self._windows(spans, engine.dialect.name)
            with engine.connect() as connection:
                frames = [self._select(connection, bounds, timestamp) for bounds in windows]
                found_any = any(len(frame) for frame in frames)
                if found_any and self._has_zone_undeclared(frames, timestamp):
                    self._remark(connection, "The query may have missed rows")
                remark, suspicious = ("", False) if found_any else self._remark(connection)
        frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        exact = all(bounds is None or bounds.exact for bounds in windows)
        return Fetched(frame, exact=exact, remark=remark, suspicious=suspicious)

    def _has_zone_undeclared(self, frames: list[pd.DataFrame], timestamp: str) -> bool:
        """Tell whether a column declared without a zone gave moments with one.

        Then either the query converts them, or the window missed rows.
        """
        if self.time_column is None or self.time_column.stored_as != "naive":
            return False
        columns = [frame[timestamp] for frame in frames if len(frame) and list(frame.columns).count(timestamp) == 1]
        return any(isinstance(column.dtype, pd.DatetimeTZDtype) for column in columns)

    def _remark(self, connection: "sa.Connection", found: str = "The query found nothing") -> tuple[str, bool]:
        """Return why a query may have found nothing, and whether its column seems not to be what it is declared to be.

        Raises:
            ConfigurationError: The column is certainly not what it is declared to be.
        """
        dialect = connection.dialect.name
        columns = compared_columns(self.query, dialect) if self.time_column is not None else []
        remarks = [self._remark_on(column, first_values(connection, column), dialect, found) for column in columns]
        if not remarks:
            return "The query found nothing. The values of its time column could not be sampled.", False
        return " ".join(["The query found nothing.", *(words for words, _ in remarks)]), any(odd for _, odd in remarks)

    def _remark_on(self, column: Compared, values: list[object] | None, dialect: str, found: str) -> tuple[str, bool]:
        if values is None:
            return f"The values of {column.text} could not be sampled.", False
        if not values:
            return f"The first rows of its tables have no values of {column.text}, so its form is unknown.", False
        declared = self.time_column
        if declared is None or (column.cast and not (declared.stored_as == "timestamptz" and column.cast in ZONED)):
            return f"{column.text} holds {shown(values[0])}.", False
        misfit = declared.misfit(values, dialect=dialect)
        if misfit is None:
            return f"{column.text} is as declared ({declared}): it holds {shown(values[0])}.", False
        if misfit.certain:
            raise ConfigurationError(
                f"{found}, and {column.text} cannot be compared with the window: {misfit.words} Nothing was written."
            )
        return f"{column.text} has values of several forms: {misfit.words} Rows of another form are missed.", True

    def _windows(self, spans: Spans | None, dialect: str) -> list[Bounds | None]:
        if spans is None or self.time_column is None:
            return [None]
        return [self.time_column.bounds(*span, dialect=dialect) for span in spans]

    def _select(self, connection: "sa.Connection", bounds: Bounds | None, timestamp: str) -> pd.DataFrame:
        window = {"start": bounds.start, "end": bounds.end} if bounds else {}
        result = connection.execute(_statement(self.query), window)
        names, rows = list(result.keys()), result.fetchall()
        columns = [_column([row[place] for row in rows]) for place in range(len(names))]
        if self.time_column is not None and names.count(timestamp) == 1:
            place = names.index(timestamp)
            columns[place] = self.time_column.read(columns[place])
        frame = pd.concat(columns, axis="columns") if columns else pd.DataFrame()
        return frame.set_axis(names, axis="columns")


def _parameters(query: str) -> set[str]:
    return set(_statement(query).compile().params)


def _statement(query: str) -> "sa.TextClause":
    """Parse the query's parameters. Of ``:start::timestamptz``, SQLAlchemy alone would make ``:star``."""
    import sqlalchemy as sa

    return sa.text(CAST_BOUND.sub(r":\1 ", query))


def _column(values: list[Any]) -> pd.Series:
    """Keep values unchanged: next to a NULL, pandas would turn integers into floats and lose digits."""
    column = pd.Series(values, dtype=object)
    return column if column.isna().any() else column.infer_objects()


@contextmanager
def _failing_clearly(query: str, engine: "sa.Engine") -> Iterator[None]:
    """Turn a database error into a failure that shows the query but not the password."""
    import sqlalchemy as sa

    try:
        yield
    except (TemporisError, dg.Failure):
        raise
    except Exception as error:  # noqa: BLE001  # a driver may raise anything
        passing = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError)
        message = without_secrets(str(getattr(error, "orig", None) or error), engine)
        raise dg.Failure(
            printable(
                f"The query failed at {place_of(engine)}: {message.strip()}\n"
                f"{'Check that the database can be reached, then' if passing else 'Fix the query, then'} run the "
                "asset again. Nothing was written."
            ),
            metadata={QUERY: dg.MetadataValue.md(f"```sql\n{query}\n```")},
            allow_retries=passing,
        ) from None
    finally:
        engine.dispose()
