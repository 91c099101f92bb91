"""A sample of the column that a query compares with ``:start`` and ``:end``, taken when the query finds nothing.

Comes in: a query and an open connection. Goes out: a few values of each column that the query compares.
Never: reads more than the first rows, waits long, or fails the run by itself.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

ROWS = 100
WITHIN_S = 5.0
COLUMNS = 3
DIALECTS = {"postgresql": "postgres", "mssql": "tsql", "mariadb": "mysql"}
FROM_KEYS = ("from_", "from", "joins", "laterals")
ZONED = ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")


@dataclass(frozen=True)
class Compared:
    """A column that a query compares with its window.

    Attributes:
        text: The column, or the expression, in SQL.
        select: The SELECT that samples its first values.
        cast: The type to which the query casts the bound; empty if it does not.
    """

    text: str
    select: str
    cast: str = ""


def compared_columns(query: str, dialect: str) -> list[Compared]:
    """Return the columns that a query compares with its window, as far as its SQL can be parsed.

    If the query computes something from a bound (``to_timestamp(:start)``), the result has a form of its own, so that
    comparison is left out.

    Args:
        query: SQL with ``:start`` and ``:end``.
        dialect: SQLAlchemy's name of the database.

    Examples:
        >>> [found] = compared_columns("SELECT at, v FROM m WHERE at >= :start AND at < :end", "sqlite")
        >>> found.text, found.select
        ('at', 'SELECT at FROM m LIMIT 100')
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    language = DIALECTS.get(dialect, dialect)
    language = language if language in sqlglot.Dialect.classes else ""
    try:
        tree = sqlglot.parse_one(query.replace("\\:", ":"), dialect=language or None)
        found = {one.text: one for one in _compared(tree, language)}
    except (SqlglotError, RecursionError):  # SQL that only its own database can parse
        return []
    return list(found.values())[:COLUMNS]


def _compared(tree: Any, language: str) -> Iterator[Compared]:
    from sqlglot import exp

    for bound in [*tree.find_all(exp.Placeholder), *tree.find_all(exp.Parameter)]:
        comparison = bound.find_ancestor(exp.GTE, exp.GT, exp.LTE, exp.LT, exp.Between)
        select = bound.find_ancestor(exp.Select)
        if comparison is None or select is None or not _is_bound(bound):
            continue
        sides = [comparison.this, comparison.args.get("expression") or comparison.args.get("low")]
        mine = next((side for side in sides if side is not None and bound in set(side.find_all(type(bound)))), None)
        other = next((side for side in sides if side is not mine and side is not None), None)
        if mine is None or other is None or not _plain(mine, bound):
            continue
        sample = _sample(tree, select, other)
        if sample is not None:
            cast = mine.args["to"].sql() if isinstance(mine, exp.Cast) else ""
            yield Compared(other.sql(language), sample.sql(language), cast.upper())


def _is_bound(bound: Any) -> bool:
    return str(bound.name) in ("start", "end")


def _plain(side: Any, bound: Any) -> bool:
    """Tell whether a side is the bound itself, in brackets or cast; anything else has a form of its own."""
    from sqlglot import exp

    while isinstance(side, exp.Paren | exp.Cast):
        side = side.this
    return side is bound


def _sample(tree: Any, select: Any, column: Any) -> Any:
    """Return a SELECT of a column's first values, from the same tables, without conditions; None without a table."""
    from sqlglot import exp

    sample = exp.Select(expressions=[column.copy()])
    for key in FROM_KEYS:
        if select.args.get(key):
            part = select.args[key]
            sample.set(key, [one.copy() for one in part] if isinstance(part, list) else part.copy())
    tables = {table.name for table in sample.find_all(exp.Table)}
    if not tables:
        return None
    for key in ("with_", "with"):
        ctes = (tree.args.get(key) or select.args.get(key)) if select.args.get(key) is None else select.args[key]
        if ctes is not None and tables & {cte.alias for cte in ctes.find_all(exp.CTE)}:
            sample.set(key, ctes.copy())
    if any(map(_is_bound, [*sample.find_all(exp.Placeholder), *sample.find_all(exp.Parameter)])):
        return None
    return sample.limit(ROWS)


def first_values(connection: "sa.Connection", column: Compared) -> list[object] | None:
    """Return a column's first values, without NULLs and empty text; None if they cannot be read quickly.

    Args:
        connection: A connection to the database, whose transaction may fail.
        column: The column to sample.
    """
    import sqlalchemy as sa

    try:
        _bound_in_time(connection)
        rows = connection.execute(sa.text(re.sub(r"(?<!\\):", r"\\:", column.select))).fetchmany(ROWS)
    except Exception:  # noqa: BLE001  # a driver may raise anything, and sampling must not fail a run
        return None
    return [row[0] for row in rows if row[0] is not None and row[0] != ""]


def _bound_in_time(connection: "sa.Connection") -> None:
    """Limit how long sampling may take: for its first rows, a view may compute a whole table."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(WITHIN_S * 1_000)}")
    elif connection.dialect.name == "sqlite":
        until = time.monotonic() + WITHIN_S
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: time.monotonic() > until, 100_000)
