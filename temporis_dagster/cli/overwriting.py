"""Overwriting: which files a command may replace with its own.

Comes in: a path to write to, and what must survive. Goes out: nothing, or an error before a byte is written.
Never: lets a store, a mirror, their companions, the file that is ingested or somebody else's file be overwritten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from temporis_dagster.errors import ConfigurationError

COMPANIONS = ("", "-wal", "-shm", "-journal")
"""What SQLite appends to the name of a file for those that belong to it."""

SQLITE = b"SQLite format 3\0"


def ensure_replaceable(path: str, source: str, urls: Iterable[str | None], beginning: bytes) -> None:
    """Return if a file of invalid rows may be written to a path.

    Args:
        path: Where to write.
        source: The file that is ingested, or - for stdin.
        urls: Stores and mirrors, those of them that are set.
        beginning: What a file that may be replaced begins with; an empty one may be, too.

    Raises:
        ConfigurationError: It may not. Nothing was written.
    """
    target = Path(path)
    if _is_source(target, source):
        _refuse(path, "is the file that is ingested")
    for url in urls:
        if url is not None and url.startswith("sqlite") and any(_same(target, file) for file in _files_of(url)):
            _refuse(path, f"belongs to {url}")
    for companion in COMPANIONS[1:]:
        if target.name.endswith(companion) and _begins(Path(path.removesuffix(companion)), SQLITE):
            _refuse(path, "belongs to a SQLite database")
    if target.is_file() and target.stat().st_size and not _begins(target, beginning):
        _refuse(path, "exists and holds something else than invalid rows")


def _refuse(path: str, what: str) -> None:
    raise ConfigurationError(f"--invalid-rows {path} {what}. Pass another file.")


def _files_of(url: str) -> list[Path]:
    from sqlalchemy.engine import make_url

    from temporis_dagster.data_source.store import SqlStore

    try:
        base = Path(str(make_url(SqlStore(url).url).database))
    except ConfigurationError:  # whoever opens it says so
        return []
    return [base.with_name(base.name + companion) for companion in COMPANIONS]


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def _is_source(target: Path, source: str) -> bool:
    if not target.exists():
        return False
    if source != "-":
        return target.samefile(source)
    with suppress(OSError, ValueError, AttributeError):  # stdin is closed, or no file
        return os.path.samestat(target.stat(), os.fstat(sys.stdin.fileno())) and target.is_file()
    return False


def _begins(file: Path, beginning: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(beginning)) == beginning
    except OSError:
        return False
