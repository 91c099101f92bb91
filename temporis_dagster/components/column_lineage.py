"""Where the columns of a query come from, as far as its SQL says it.

Comes in: a query, and the assets that its asset depends on. Goes out: Dagster's column lineage.
Never: connects, or guesses: a table that no dependency is named after has no lineage, and neither has a column that
may be of several tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from temporis_dagster.components.column_sample import DIALECTS


@dataclass(frozen=True)
class FrameColumns:
    """The columns that a frame is read by.

    Attributes:
        timestamp: That of timestamps.
        name: That of series names, in a long frame.
        value: That of values, in a long frame.
    """

    timestamp: str = "timestamp"
    name: str = "name"
    value: str = "value"

    def shown(self, column: str, *, long: bool) -> str | None:
        """Return the column or the series that a query's column becomes; None if it is not stored."""
        if column == self.timestamp:
            return "timestamp"
        if long:
            return {self.name: "name", self.value: "value"}.get(column)
        return column


def column_lineage(
    query: str, dialect: str, deps: Iterable[dg.AssetKey], columns: FrameColumns, layout: str | None
) -> dg.TableColumnLineage | None:
    """Return from which columns of which assets a query computes its columns; None if its SQL does not say it.

    A table of the query is the asset of a dependency if the parts of its name end the key, or the other way around:
    ``orders`` and ``public.orders`` are ``shop/public/orders``.

    Args:
        query: The query of a component.
        dialect: SQLAlchemy's name of the database; empty if it is not known.
        deps: The assets that the asset depends on.
        columns: The columns that the frame is read by.
        layout: ``"long"``, ``"wide"``, or whatever the columns tell.

    Examples:
        >>> query = "SELECT o.at AS timestamp, sum(o.price) AS revenue FROM public.orders AS o GROUP BY o.at"
        >>> deps = [dg.AssetKey(["shop", "public", "orders"])]
        >>> found = column_lineage(query, "postgresql", deps, FrameColumns(), None)
        >>> [(dep.asset_key.to_user_string(), dep.column_name) for dep in found.deps_by_column["revenue"]]
        [('shop/public/orders', 'price')]
    """
    keys = list(deps)
    if not keys:
        return None
    import sqlglot
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    language = DIALECTS.get(dialect, dialect)
    language = language if language in sqlglot.Dialect.classes else ""
    try:
        tree: Any = sqlglot.parse_one(query.replace("\\:", ":"), dialect=language or None)
        names = tree.named_selects
        scope = build_scope(qualify(tree.copy(), dialect=language or None, validate_qualify_columns=False))
        origins = [] if scope is None else [_deps(scope, place, keys) for place in range(len(names))]
    except Exception:  # noqa: BLE001  # SQL that only its own database can read: definitions load all the same
        return None
    long = layout != "wide" and {columns.name, columns.value} <= set(names)
    found = {columns.shown(name, long=long): deps for name, deps in zip(names, origins, strict=False)}
    known = {column: deps for column, deps in found.items() if column is not None and deps}
    return dg.TableColumnLineage(known) if known else None


def _deps(scope: Any, place: int, keys: Sequence[dg.AssetKey]) -> list[dg.TableColumnDep]:
    """Return the columns that one column of a query is computed from, each once."""
    origins = ((table, column) for table, column in _origins(scope, place) if column != "*")
    found = {(key, column) for table, column in origins for key in _named(table, keys)}
    return [dg.TableColumnDep(key, column) for key, column in sorted(found, key=lambda dep: (dep[0].path, dep[1]))]


def _origins(scope: Any, place: int) -> Iterator[tuple[Any, str]]:
    """Yield the tables and columns from which a SELECT computes its column at a place, through all its subqueries."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import find_all_in_scope

    united = getattr(scope, "set_operation_scopes", None) or getattr(scope, "union_scopes", None)  # until sqlglot 28
    if united:
        for part in united:
            yield from _origins(part, place)
        return
    selected = scope.expression.selects[place]
    for column in find_all_in_scope(selected, exp.Column):
        only = len(scope.sources) == 1 and not column.table
        source = next(iter(scope.sources.values())) if only else scope.sources.get(column.table)
        yield from _origins_in(source, column.name)
    inside = {id(node) for node in selected.walk()}
    for nested in scope.subquery_scopes:
        if id(nested.expression) in inside:
            yield from _origins(nested, 0)


def _origins_in(source: Any, column: str) -> Iterator[tuple[Any, str]]:
    """Yield the tables and columns from which a table or a subquery has a column of this name."""
    from sqlglot import exp

    if isinstance(source, exp.Table):
        yield source, column
    elif source is not None and column in source.expression.named_selects:
        yield from _origins(source, source.expression.named_selects.index(column))
    elif source is not None and source.expression.is_star and len(source.sources) == 1:
        yield from _origins_in(next(iter(source.sources.values())), column)


def _named(table: Any, keys: Sequence[dg.AssetKey]) -> Iterator[dg.AssetKey]:
    """Yield the one asset that a table may be; nothing if several may be."""
    parts = [part.name.lower() for part in table.parts]
    fitting = [key for key in keys if _ends_alike(parts, [part.lower() for part in key.path])]
    if len(fitting) == 1:
        yield fitting[0]


def _ends_alike(one: list[str], other: list[str]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]
