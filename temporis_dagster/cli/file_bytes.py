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
FOREIGN = {
    b"PK\x03\x04": "is a zip archive or an Excel workbook. Unpack it, or save the sheet as CSV in UTF-8",
    b"\xfd7zXZ\x00": "is compressed with xz. Unpack it: xz -dc FILE | temporis ingest -",
    b"BZh": "is compressed with bzip2. Unpack it: bzip2 -dc FILE | temporis ingest -",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd. Unpack it: zstd -dc FILE | temporis ingest -",
    b"SQLite format 3\0": "is a SQLite database. Export its rows as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook in the old format. Save the sheet as CSV in UTF-8",
    b"\xff\xfe": "is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 FILE | temporis ingest -",
    b"\xfe\xff": "is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 FILE | temporis ingest -",
}
"""The first bytes of other formats, and what to do about them."""


def bytes_of(path: str) -> bytes:
    """Return the bytes of a file, unpacked if it is gzip.

    Args:
        path: A file, or - for stdin.

    Raises:
        ConfigurationError: The file cannot be read.
        InvalidObservationsError: The file has another format, or is empty.
    """
    content = _unpacked(_read(path))
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
