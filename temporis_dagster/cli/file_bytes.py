"""File bytes: read a file, unpack it, and refuse what cannot be a table.

Comes in: a path, or stdin. Goes out: unpacked bytes that are Parquet, or may be CSV in UTF-8.
Never: looks at a cell, or takes an empty file for an empty table.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path

from temporis_dagster.data_source.observations.layout import refuse
from temporis_dagster.errors import ConfigurationError

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
FOREIGN = {
    ZIP: "is a zip archive. Unpack it; or, if it is an Excel workbook, pass --format excel",
    b"\xfd7zXZ\x00": "is compressed with xz. Unpack it: xz -dc FILE | temporis ingest -",
    b"BZh": "is compressed with bzip2. Unpack it: bzip2 -dc FILE | temporis ingest -",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd. Unpack it: zstd -dc FILE | temporis ingest -",
    b"SQLite format 3\0": "is a SQLite database. Export its rows as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook in the old format. Pass --format excel",
    b"\xff\xfe": "is UTF-16. Pass --encoding utf-16",
    b"\xfe\xff": "is UTF-16. Pass --encoding utf-16",
}
"""The first bytes of other formats, and what to do about them."""


def raw_bytes_of(path: str) -> bytes:
    """Return the bytes of a file, unpacked if it is gzip, whatever they are.

    Args:
        path: A file, or - for stdin.

    Raises:
        ConfigurationError: The file cannot be read.
        InvalidObservationsError: It is gzip and cannot be unpacked.
    """
    return _unpacked(_read(path))


def text_of(content: bytes, encoding: str | None) -> bytes:
    """Return bytes that are Parquet, or may be text in UTF-8, to which another encoding is converted.

    Args:
        content: The bytes of a file.
        encoding: The encoding that the caller named; None for UTF-8.

    Raises:
        InvalidObservationsError: The file has another format or encoding, or is empty.
    """
    if encoding is not None:
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            refuse(f"The file is not in the encoding {encoding}: {error}. Pass another one with --encoding.")
    for beginning, what in FOREIGN.items():
        if content.startswith(beginning):
            refuse(f"The file {what}.")
    if content.startswith(PARQUET):
        return content
    if b"\0" in content:
        refuse("The file is binary: it contains NUL bytes. Pass CSV in UTF-8, or Parquet.")
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        refuse("The file is empty: it does not even have a line of column names. Check the program that wrote it.")
    return content


def _read(path: str) -> bytes:
    if path == "-" and sys.stdin is None:
        raise ConfigurationError("Standard input is closed. Pass a file, or pipe one in.")
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}. Pass another file.") from None


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        refuse(f"The file is gzip, but it cannot be unpacked: {error}. Check that it is complete.")
