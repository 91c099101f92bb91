"""Output: what commands print, and what becomes of it where it cannot be written.

Comes in: lines and frames. Goes out: text and CSV on stdout, remarks on stderr.
Never: takes a full disk or a closed stdout for a success, or lets an unwritable stderr stop a command.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

ROWS_PER_WRITE = 50_000
NEEDS_QUOTES = re.compile('[,"\r\n]')
"""Also a bare CR, which Python 3.11's csv leaves as it is, so that no reader would get it back."""


class OutputError(click.ClickException):
    """Stdout takes nothing: the disk is full, or it is closed."""


def say(text: str) -> None:
    """Print a line on stdout.

    Raises:
        OutputError: It cannot be written.
    """
    with _stdout():
        click.echo(text)


def send(frame: pd.DataFrame) -> None:
    """Print a frame as CSV on stdout: times in ISO 8601, numbers with every bit, texts that come back as they are.

    Raises:
        OutputError: It cannot be written.
    """
    with _stdout():
        sys.stdout.buffer.write((",".join(map(quoted, frame.columns)) + "\n").encode())
        for start in range(0, len(frame), ROWS_PER_WRITE):
            part = frame.iloc[start : start + ROWS_PER_WRITE]
            cells = [_texts(part[column]) for column in part.columns]
            sys.stdout.buffer.write("".join(",".join(row) + "\n" for row in zip(*cells, strict=True)).encode())
        sys.stdout.buffer.flush()


def tell(text: str) -> None:
    """Print a line on stderr, if that takes it: there is nowhere left to say that it does not."""
    with suppress(OSError):
        click.echo(text, err=True)


def quoted(text: str) -> str:
    """A text as a field of CSV.

    >>> quoted("orders"), quoted("a,b")
    ('orders', '"a,b"')
    """
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def unwritable(error: OSError) -> OutputError:
    """What is said of an stdout that cannot be written, which is then left alone."""
    with suppress(OSError, ValueError, AttributeError):  # else Python itself complains of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputError(f"Standard output cannot be written: {error.strerror}.")


@contextmanager
def _stdout() -> Iterator[None]:
    if sys.stdout is None:
        raise OutputError("Standard output is closed.")
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:  # `| head`: click ends in silence
            raise
        raise unwritable(error) from None


def _texts(column: pd.Series[Any]) -> list[str]:
    import numpy as np

    if column.dtype.kind == "M":
        seconds = column.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
        return [str(text) for text in np.datetime_as_string(seconds, timezone="UTC")]
    return [quoted(cell) if isinstance(cell, str) else repr(cell) for cell in column.tolist()]
