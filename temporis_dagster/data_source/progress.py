"""A progress bar for long upserts.

Comes in: what to show and how many observations there are. Goes out: a function to call as they settle.
Never: prints where nobody asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from temporis_dagster.data_source.report import Progress


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Progress]:
    """A tqdm bar, on a terminal or in a notebook, for as long as the block lasts."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=" observations", unit_scale=True) as bar:
        yield lambda settled: void(bar.update(settled))


def shown(progress: bool | Progress | None, description: str, total: int) -> AbstractContextManager[Progress | None]:
    """What the caller of a long operation asked for: True is a bar, a function is itself, anything else is nothing."""
    return progress_bar(description, total) if progress is True else nullcontext(progress or None)


def void(_: object) -> None:
    """Drop a result that a caller must not see."""
