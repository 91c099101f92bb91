"""Progress: a bar, or the caller's own function, for calls that take a while.

Comes in: what to show and the number of observations. Goes out: a function to call as they are settled.
Never: prints unless the caller asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from temporis_dagster.data_source.report import Progress


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Progress]:
    """Show a tqdm bar, on a terminal or in a notebook, while the block runs."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=" observations", unit_scale=True) as bar:
        yield lambda settled: void(bar.update(settled))


def shown(
    progress: bool | Progress | None, description: str, total: int | None
) -> AbstractContextManager[Progress | None]:
    """Show progress as the caller asked: True draws a bar, a function is called, anything else shows nothing."""
    return progress_bar(description, total) if progress is True else nullcontext(progress or None)


def void(_: object) -> None:
    """Drop a result that a caller must not see."""
