"""A SQL query as the source of observations: run once for each stretch of time, its result as a frame.

Comes in: a database's URL, a query, windows of time. Goes out: frames that ``DataSource.upsert`` takes.
Never: writes to the database it reads, changes a value on the way, or shows the URL.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import dagster as dg
import pandas as pd
from pydantic import ConfigDict, Field, field_validator, model_validator

from temporis_dagster.components.database_url import (
    DatabaseUrl,
    database_url,
    engine_of,
    place_of,
    resolve_url,
    without_secrets,
)
from temporis_dagster.components.time_column import Bounds, TimeColumn
from temporis_dagster.errors import TemporisError
from temporis_dagster.failures import printable

if TYPE_CHECKING:
    import sqlalchemy as sa

WINDOW = {"start", "end"}
Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Fetched:
    """What a query found.

    Attributes:
        frame: Its rows.
        exact: Whether it was asked for nothing but the window; else rows beside the window are to be left out.
    """

    frame: pd.DataFrame
    exact: bool


class SqlQuery(dg.Resolvable, dg.Model):
    """A query whose rows are observations.

    A partitioned asset's query compares its time column with ``:start`` and ``:end``, the end left out. A run over a
    range of partitions runs it once for the whole range.

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
            description="SQLAlchemy's URL of the database. As '{{ env.NAME }}' it is read when a run needs it, and "
            "never shown.",
            examples=["{{ env.WAREHOUSE_URL }}"],
        ),
    ] = Field(repr=False)
    query: str = Field(
        description="One SELECT. Its columns are read as those of any frame: see layout, timestamp, name_column, "
        "value. With partitions it compares its time column with :start and :end."
    )
    time_column: TimeColumn | None = Field(
        default=None, description="The form of the column that is compared with :start and :end."
    )

    @field_validator("url", mode="before")
    @classmethod
    def _url(cls, said: object) -> object:
        return database_url(said)

    @field_validator("query")
    @classmethod
    def _known_parameters(cls, query: str) -> str:
        said = _parameters(query)
        if not query.strip():
            raise ValueError("The query is empty. Give one SELECT.")
        if said not in (set(), WINDOW):
            raise ValueError(
                f"The query has the parameters {', '.join(f':{name}' for name in sorted(said))}. It takes :start and "
                ":end, both or none. Write a colon that is none as \\:."
            )
        return query

    @model_validator(mode="after")
    def _complete(self) -> "SqlQuery":
        if self.has_window != (self.time_column is not None):
            raise ValueError(
                "The query has :start and :end, so say how their column is stored, as in 'time_column: {stored_as: "
                "timestamptz}'."
                if self.has_window
                else "There is a time_column, but no :start and :end in the query. Compare that column with them, as "
                "in 'WHERE at >= :start AND at < :end'."
            )
        return self

    @property
    def has_window(self) -> bool:
        """Whether the query is about a window of time."""
        return bool(_parameters(self.query))

    def fetch(self, spans: Spans | None, timestamp: str) -> Fetched:
        """Run the query, once for each span of time.

        Args:
            spans: [start, end) in Unix seconds; None for a query without a window.
            timestamp: The result's column of timestamps.

        Raises:
            ConfigurationError: The URL or the time column is not what it is said to be.
            Failure: The database failed. What may pass, such as a lost connection, leaves retries to the asset.
        """
        engine = engine_of(self.url)
        with _failing_clearly(self.query, engine):
            windows = self._windows(spans, engine.dialect.name)
            with engine.connect() as connection:
                frames = [self._select(connection, bounds, timestamp) for bounds in windows]
        frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        return Fetched(frame, exact=all(bounds is None or bounds.exact for bounds in windows))

    def _windows(self, spans: Spans | None, dialect: str) -> list[Bounds | None]:
        if spans is None or self.time_column is None:
            return [None]
        return [self.time_column.bounds(*span, dialect=dialect) for span in spans]

    def _select(self, connection: "sa.Connection", bounds: Bounds | None, timestamp: str) -> pd.DataFrame:
        import sqlalchemy as sa

        result = connection.execute(sa.text(self.query), {"start": bounds.start, "end": bounds.end} if bounds else {})
        names, rows = list(result.keys()), result.fetchall()
        columns = [_column([row[place] for row in rows]) for place in range(len(names))]
        if self.time_column is not None and names.count(timestamp) == 1:
            place = names.index(timestamp)
            columns[place] = self.time_column.read(columns[place])
        frame = pd.concat(columns, axis="columns") if columns else pd.DataFrame()
        return frame.set_axis(names, axis="columns")


def _parameters(query: str) -> set[str]:
    import sqlalchemy as sa

    return set(sa.text(query).compile().params)


def _column(values: list[Any]) -> pd.Series:
    """Values as they are: next to a NULL, pandas would make floats of integers and lose digits."""
    column = pd.Series(values, dtype=object)
    return column if column.isna().any() else column.infer_objects()


@contextmanager
def _failing_clearly(query: str, engine: "sa.Engine") -> Iterator[None]:
    """Turn what the database says into a failure that names the query, and not the password."""
    import sqlalchemy as sa

    try:
        yield
    except (TemporisError, dg.Failure):
        raise
    except Exception as error:  # noqa: BLE001  # a driver may raise anything
        passing = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError)
        said = without_secrets(str(getattr(error, "orig", None) or error), engine)
        raise dg.Failure(
            printable(
                f"The query failed at {place_of(engine)}: {said.strip()}\n"
                f"{'Check that the database can be reached, then' if passing else 'Mend the query, then'} run the "
                "asset again. Nothing was written."
            ),
            metadata={"temporis/query": dg.MetadataValue.md(f"```sql\n{query}\n```")},
            allow_retries=passing,
        ) from None
    finally:
        engine.dispose()
