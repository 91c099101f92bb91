"""Output: print what commands have to say, and handle a stdout or stderr that cannot be written.

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
"""This includes a bare CR, which the csv module of Python 3.11 does not quote, so that it would be lost on reading."""


class OutputError(click.ClickException):
    """Stdout or a file cannot be written, for example because the disk is full or stdout is closed."""


def say(text: str) -> None:
    """Print a line on stdout.

    Raises:
        OutputError: Stdout cannot be written.
    """
    with _stdout():
        click.echo(text)


def send(frame: pd.DataFrame) -> None:
    """Print a frame as CSV on stdout: times in ISO 8601, numbers and texts so that they are read back exactly.

    Raises:
        OutputError: Stdout cannot be written.
    """
    with _stdout():
        sys.stdout.buffer.write((",".join(map(quoted, frame.columns)) + "\n").encode())
        for start in range(0, len(frame), ROWS_PER_WRITE):
            part = frame.iloc[start : start + ROWS_PER_WRITE]
            cells = [_texts(part[column]) for column in part.columns]
            sys.stdout.buffer.write("".join(",".join(row) + "\n" for row in zip(*cells, strict=True)).encode())
        sys.stdout.buffer.flush()


def tell(text: str) -> None:
    """Print a line on stderr. If stderr cannot be written, ignore that: there is nowhere left to report it."""
    with suppress(OSError):
        click.echo(text, err=True)


def quoted(text: str) -> str:
    """Return a text as a field of CSV.

    >>> quoted("orders"), quoted("a,b")
    ('orders', '"a,b"')
    """
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def unwritable(error: OSError) -> OutputError:
    """Return the error for a stdout that cannot be written, and redirect stdout to nowhere."""
    with suppress(OSError, ValueError, AttributeError):  # otherwise Python itself complains when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputError(f"Standard output cannot be written: {error.strerror}.")


@contextmanager
def _stdout() -> Iterator[None]:
    if sys.stdout is None:
        raise OutputError("Standard output is closed.")
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:  # as with `| head`: click exits without a word
            raise
        raise unwritable(error) from None


def _texts(column: pd.Series[Any]) -> list[str]:
    import numpy as np

    if column.dtype.kind == "M":
        seconds = column.dt.tz_convert(None).to_numpy().astype("datetime64[s]")
        return [str(text) for text in np.datetime_as_string(seconds, timezone="UTC")]
    return [quoted(cell) if isinstance(cell, str) else repr(cell) for cell in column.tolist()]
