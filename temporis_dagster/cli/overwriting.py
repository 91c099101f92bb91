"""Overwriting: which files the list of invalid rows may replace.

Comes in: a path to write to, and what must survive. Goes out: nothing, or an error before a byte is written.
Never: lets a store, a mirror, their companions, the file being ingested or an unrelated file be overwritten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from temporis_dagster.errors import ConfigurationError

COMPANIONS = ("", "-wal", "-shm", "-journal")
"""The suffixes of the files that belong to one SQLite database."""

SQLITE = b"SQLite format 3\0"


def ensure_replaceable(path: str, source: str, urls: Iterable[str | None], beginning: bytes) -> None:
    """Check that a list of invalid rows may be written to a path.

    Args:
        path: Where to write.
        source: The file that is ingested, or - for stdin.
        urls: The URLs of stores and mirrors; None for those that are not set.
        beginning: The first bytes of a file that may be replaced. An empty file may be replaced, too.

    Raises:
        ConfigurationError: The path must not be written to. Nothing was written.
    """
    target = Path(path)
    if _is_source(target, source):
        _refuse(path, "is the file being ingested")
    for url in urls:
        if url is not None and url.startswith("sqlite") and any(_same(target, file) for file in _files_of(url)):
            _refuse(path, f"belongs to {url}")
    for companion in COMPANIONS[1:]:
        if target.name.endswith(companion) and _begins(Path(path.removesuffix(companion)), SQLITE):
            _refuse(path, "belongs to a SQLite database")
    if target.is_file() and target.stat().st_size and not _begins(target, beginning):
        _refuse(path, "exists and is not a list of invalid rows")


def _refuse(path: str, what: str) -> None:
    raise ConfigurationError(f"--invalid-rows {path} {what}. Pass another file.")


def _files_of(url: str) -> list[Path]:
    from sqlalchemy.engine import make_url

    from temporis_dagster.data_source.store import SqlStore

    try:
        base = Path(str(make_url(SqlStore(url).url).database))
    except ConfigurationError:  # reported when the command opens the URL
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
    with suppress(OSError, ValueError, AttributeError):  # stdin is closed, or has no file descriptor
        return os.path.samestat(target.stat(), os.fstat(sys.stdin.fileno())) and target.is_file()
    return False


def _begins(file: Path, beginning: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(beginning)) == beginning
    except OSError:
        return False
