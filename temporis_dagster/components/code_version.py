"""The code version of a component's asset: another one as soon as something changes what its runs store.

Comes in: the query or the function, and the options. Goes out: a short text, the same in every process.
Never: contains the URL of the database, which differs between a laptop and production, or where a run waits.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from temporis_dagster.components.python_function import PythonFunction
from temporis_dagster.components.sql_query import SqlQuery

OF_THE_RUN = (
    *("uri", "io_manager_key", "pool", "plot", "retry_policy", "backfill_policy"),
    *("max_changed", "max_shift", "max_ghosts"),
)
"""Options that do not change what is stored."""


def code_version_of(
    sql: SqlQuery | None,
    function: PythonFunction | None,
    options: Mapping[str, Any],
    overridden: Callable[..., Any] | None,
) -> str:
    """Return the code version of an asset.

    Args:
        sql: The query, if there is one.
        function: The function, if there is one. Its own code counts, that of other functions that it calls does not.
        options: The arguments of ``@temporis_asset``. Those without a value do not count.
        overridden: The method of a subclass that fetches the observations instead.
    """
    said = {option: value for option, value in options.items() if value is not None and option not in OF_THE_RUN}
    parts: list[object] = [_texts(said)]
    if sql is not None:
        parts += [sql.query.strip(), sql.time_column]
    if function is not None:
        parts += [_code(function.call), _texts(function.arguments)]
    if overridden is not None:
        parts.append(_code(overridden))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((name, repr(value)) for name, value in values.items())


def _code(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the function's name and source; the source is empty if there is none, as for a function in C."""
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    try:
        return name, inspect.getsource(function)
    except (OSError, TypeError):
        return name, ""
