"""Where an error shows a secret: in its text, in what it was raised from, or in a variable of a traceback.

Comes in: an exception and secrets. Goes out: the places that show one.
Never: looks at the variables of the tests themselves.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

TESTS = str(Path(__file__).parents[1])


def showing(error: BaseException, *secrets: str) -> list[str]:
    """Name every place that shows one of these secrets; an empty list is what a test wants."""
    return [place for place, text in _texts(error) if any(secret in text for secret in secrets)]


def _texts(error: BaseException) -> Iterator[tuple[str, str]]:
    yield "pickled", repr(pickle.dumps(error))
    report = getattr(error, "report", None)
    if report is not None:
        yield "report", str(report) + report.unsent_rows.to_string() + report.unknown_rows.to_string()
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        kind = type(one).__name__
        yield f"{kind}: text", f"{one} {one!r} {one.args} {getattr(one, '__notes__', '')}"
        waiting += [one.__cause__, one.__context__]
        trace = one.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if not code.co_filename.startswith(TESTS):
                for name, value in trace.tb_frame.f_locals.items():
                    yield f"{kind}: {name} in {code.co_filename}:{trace.tb_lineno}", _shown(value)
            trace = trace.tb_next


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as failure:  # noqa: BLE001  # what a tool for tracebacks would show
        return repr(failure)
