"""Files for ``temporis ingest``: each is read as it is meant, or refused with a message that names the line."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import zipfile

import pandas as pd
import pytest
from click.testing import CliRunner

import temporis_dagster
from temporis_dagster.cli import main
from temporis_dagster.cli.cells import moments
from temporis_dagster.errors import InvalidObservationsError
from tests.support.cli_tools import LONG, ingest
from tests.support.service_fixture import content

PANDAS_WORDS = ("index_col", "C error", "tokeniz", "dtype", "Traceback")


def refused(done) -> str:
    """The one line of text with which a file was refused."""
    assert (done.exit_code, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert not [words for words in PANDAS_WORDS if words in done.stderr]
    return done.stderr


# Files without rows


@pytest.mark.parametrize(("file", "words"), [
    ("2024-06-20T08:00:00Z,orders,42\n", "is an observation, not the line of column names"),
    ("1718870400,orders,42\n", "is an observation"),
    ("2024-06-20T08:00:00Z,42\n2024-06-20T09:00:00Z,43\n", "is an observation"),
    ("2024-06-20 08:00:00 UTC,orders,42", "is an observation"),
    ("foo,bar\n", "Line 1 has no column 'timestamp'"), ("42\n", "is an observation"), ("x\n", "no column 'timestamp'"),
    ("<html><body>Sign in</body></html>\n", "is HTML or XML"),
    ("<!DOCTYPE html>\n<html>\n<p>Bad gateway, sorry</p>\n", "is HTML or XML"),
    ('\n  <?xml version="1.0"?><error/>', "is HTML or XML"),
    ('{"error": "unauthorized"}\n', "is JSON"), ('{"error": "no", "code": 401}', "is JSON"), ("[]\n", "is JSON"),
    ('{"timestamp": 0, "name": "a", "value": 1}\n', "is JSON"),
    ("", "is empty"), ("\n\n", "is empty"), ("   \n\t\n", "is empty"), ("\ufeff", "is empty"), ("\ufeff\n", "is empty"),
    ("# no data\n", "is a comment"), ("# source: scada\n# nothing\n", "is a comment"), ("// nothing\n", "is a comment"),
    ("timestamp\n2024-06-20T08:00Z\n", "no column besides the timestamps"), ("timestamp\n", "no column besides"),
    ("timestamp,name\n", "no column 'value'"), ("timestamp,value\n", "no column 'name'"),
    ("timestamp;name;value\n", "--delimiter ';'"), ("Unauthorized\n", "no column 'timestamp'"),
])  # fmt: skip
@pytest.mark.parametrize("on_invalid", ["raise", "drop"])
def test_a_file_without_a_line_of_column_names_is_refused(store, file, words, on_invalid):
    """One measurement without its header, a login page, an error in JSON, nothing at all: none of them is a success."""
    assert words in refused(ingest(store, file, "--on-invalid", on_invalid))
    assert content(store) == {}


@pytest.mark.parametrize(("file", "options"), [
    ("2024-06-20T08:00:00Z,orders,42\n", ["--timestamp", "time", "--name", "n", "--value", "v"]),
    ("timestamp,orders\n", ["--layout", "long"]), ("time,orders\n", ["--layout", "wide"]),
    ("timestamp,name,value\n", ["--value", "v"]),
])  # fmt: skip
def test_column_names_that_were_asked_for_must_be_there(store, file, options):
    """This also holds without rows: the options name columns that the file must have."""
    said = refused(ingest(store, file, *options))
    assert "no column" in said or "is an observation" in said


@pytest.mark.parametrize(("file", "options"), [
    ("timestamp,name,value\n", []), ("timestamp,name,value", []), ("\n\ntimestamp,name,value\r\n\r\n", []),
    ("timestamp,orders,revenue\n", []), ('"timestamp","name","value"\n', []), ("\ufefftimestamp,name,value\n", []),
    ("sep=;\ntimestamp;name;value\n", ["--delimiter", ";"]), ("t,orders\n", ["--timestamp", "t"]),
    (",orders\n", ["--timestamp", "Unnamed: 0"]), ("#timestamp,orders\n", ["--timestamp", "#timestamp"]),
])  # fmt: skip
def test_a_line_of_column_names_without_rows_is_no_error(store, file, options):
    """An export of a quiet hour has no rows: it stores nothing and succeeds."""
    done = ingest(store, file, *options)
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("columns", [["foo", "bar"], ["timestamp", "name"], []])
def test_a_parquet_file_without_rows_is_checked_too(store, tmp_path, columns):
    """The right columns are accepted, others are refused."""
    pytest.importorskip("pyarrow")
    pd.DataFrame({column: pd.Series(dtype="float64") for column in columns}).to_parquet(tmp_path / "a.parquet")
    send = ["--data-source", "store_metrics", "--url", store.url]
    assert "no column" in refused(CliRunner().invoke(main, ["ingest", str(tmp_path / "a.parquet"), *send]))
    good = pd.DataFrame({"timestamp": pd.Series(dtype="int64"), "orders": pd.Series(dtype="float64")})
    good.to_parquet(tmp_path / "b.parquet")
    assert CliRunner().invoke(main, ["ingest", str(tmp_path / "b.parquet"), *send]).exit_code == 0


@pytest.mark.parametrize(("columns", "words"), [
    ({"a": [[1, 2]]}, "ndarray is not a number"), ({"a": [{"x": 1}]}, "dict is not a number"),
    ({"a": ["1.5"]}, "text is not"),
    ({"a": [True]}, "write it as 1 or 0"), ({"a": [2**60]}, "beyond 2**53"),
    ({"timestamp": [b"2024"]}, "bytes is not"),
    ({"timestamp": [dt.time(8)]}, "time is not a timestamp"),
    ({"timestamp": [dt.date(2024, 6, 20)]}, "--timezone"),
    ({"timestamp": ["now"]}, "'now'"), ({"a": [dt.timedelta(1)]}, "number of seconds"),
    (["timestamp", "a", "a"], "more than once"),
])  # fmt: skip
def test_a_parquet_file_of_odd_types_is_refused(store, tmp_path, columns, words):
    """Lists, structs, text, bytes and times of day are named in the message, as for a frame."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    good = {"timestamp": [1718870400], "a": [1.0]}
    table = pa.table([[0], [1.0], [2.0]], names=columns) if isinstance(columns, list) else pa.table(good | columns)
    parquet.write_table(table, tmp_path / "odd.parquet")
    send = ["--data-source", "store_metrics", "--url", store.url]
    assert words in refused(CliRunner().invoke(main, ["ingest", str(tmp_path / "odd.parquet"), *send]))
    assert content(store) == {}


# Timestamps


@pytest.mark.parametrize("word", [
    "now", "today", "now ", " today", "Now", "TODAY", "yesterday", "tomorrow", "midnight", "noon", "12:30", "08:00:00",
    "Thursday", "Thu", "June", "Jun 2024", "Q1 2024", "2024Q1", "2024-W25", "06-20", "20 June", "now()", "T08:00Z",
    "+1 day", "-1h", "last monday", "NOW+00:00", "current_timestamp", "0 days", "24-06-20",
])  # fmt: skip
def test_no_word_becomes_the_moment_of_ingestion(store, word):
    """Text that is relative to a clock is refused, whatever the other cells hold; the message quotes the cell."""
    options = ["--timezone", "UTC", "--sub-second", "floor"]
    assert repr(word) in refused(ingest(store, f"timestamp,name,value\n{word},a,1\n", *options))
    assert content(store) == {}
    for others in (["2024-06-20T10:00Z"], ["1718877600"], ["2024-06-20T10:00", "2024-06-20 24:00 UTC"]):
        assert moments(pd.Series([*others, word], dtype=object)).tolist()[-1] == word


EXACT = [
    ("2024-06-20 08:00:00 UTC", 1718870400), ("2024-06-20 08:00:00.000000 UTC", 1718870400),
    ("2024-06-20T08:00 GMT", 1718870400), ("2024-06-20 08:00:00 +0000 UTC", 1718870400), ("2024-06-20 UTC", 1718841600),
    ("2024-06-20T24:00Z", 1718928000), ("2024-06-20 24:00:00+02:00", 1718920800), ("20240620T240000Z", 1718928000),
    ("2024-06-20T24:00:00.000 UTC", 1718928000), ("2024-12-31T24:00Z", 1735689600), ("2024-02-28T24Z", 1709164800),
    ("2024-06-20T08:00:00,000Z", 1718870400), ("20240620T080000,0Z", 1718870400),
    ("2024-06-20T08:00:00,0+02:00", 1718863200),
    ("2024/06/20 08:00:00Z", 1718870400), ("2024-06-20 10:00:00 +0200", 1718870400),
]  # fmt: skip


@pytest.mark.parametrize(("text", "second"), EXACT)
def test_exact_times_as_other_programs_write_them(store, text, second):
    """UTC in words (BigQuery, Go, Ruby), 24:00 as the end of a day, ISO 8601's decimal comma; also next to others."""
    done = ingest(store, f'timestamp,name,value\n"{text}",a,1\n')
    assert (done.exit_code, done.stderr, content(store)) == (0, "", {(second, "a"): 1})
    for beside in ("1718870460", "2024-06-20T08:01Z", "2024-06-20 09:00"):
        assert moments(pd.Series([beside, text], dtype=object)).tolist()[-1].timestamp() == second


@pytest.mark.parametrize(("text", "zone", "second"), [
    ("2024-06-20T24:00", "Europe/Berlin", 1718920800), ("2024-06-20 08:00:00,0", "UTC", 1718870400),
    ("2024-03-30 24:00", "Europe/Berlin", 1711839600),
])  # fmt: skip
def test_they_may_be_local_times(store, text, zone, second):
    """Midnight at the end of a day is midnight by the clock of the zone."""
    assert ingest(store, f'timestamp,name,value\n"{text}",a,1\n', "--timezone", zone).exit_code == 0
    assert content(store) == {(second, "a"): 1}


@pytest.mark.parametrize("text", [
    "2024-06-20T24:01Z", "2024-06-20T24:00:01Z", "2024-06-20T08:00 CEST", "2024-06-20T08:00 EST",
    "2024-06-20T08:00+02:00 UTC",
    "2024-06-20T08,5Z", "2024-06-20T08:00:00,,5Z", "9999-12-31T24:00Z", "2024-06-31T24:00Z", "2024-06-20T08:00:00,Z",
    "08:00 2024-06-20 UTC", "UTC", "24:00", "2024-06-20T24:30 UTC",
])  # fmt: skip
def test_what_only_looks_like_them_stays_refused(store, text):
    """A zone by abbreviation, an offset that contradicts UTC, a minute after the end of a day."""
    refused(ingest(store, f'timestamp,name,value\n"{text}",a,1\n'))
    assert content(store) == {}


def test_a_fraction_after_a_comma_is_a_fraction():
    """It is not cut off silently."""
    (moment,) = moments(pd.Series(["2024-06-20T08:00:00,5Z"], dtype=object))
    assert moment == pd.Timestamp("2024-06-20T08:00:00.5Z")


def test_iso_text_is_taken_from_parquet(store, tmp_path):
    """ISO text, also in categories, in the index, and with a blank or a number among it; a word stays refused."""
    pytest.importorskip("pyarrow")
    send = ["--data-source", "store_metrics", "--url", store.url]
    texts = ["2024-06-20T08:00Z", "2024-06-20 09:00:00 UTC"]
    frame = pd.DataFrame({"timestamp": texts, "orders": [1.0, 2.0]})
    for i, stored in enumerate((frame, frame.astype({"timestamp": "category"}), frame.set_index("timestamp"))):
        store.create_data_source(f"source_{i}")
        stored.to_parquet(tmp_path / "a.parquet")
        done = CliRunner().invoke(
            main, ["ingest", str(tmp_path / "a.parquet"), "--data-source", f"source_{i}", *send[2:]]
        )
        assert (done.exit_code, done.stderr) == (0, "")
        with temporis_dagster.connect(store.url) as temporis:
            read = temporis.data_source(f"source_{i}").read()
        assert [int(moment.timestamp()) for moment in read["timestamp"]] == [1718870400, 1718874000]
    frame.replace(texts[1], "today").to_parquet(tmp_path / "b.parquet")
    assert "'today'" in refused(CliRunner().invoke(main, ["ingest", str(tmp_path / "b.parquet"), *send]))


# Values


@pytest.mark.parametrize("cell", [
    "", " ", "\t", "NA", " NA", "na", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "NAN",
    "null",
    "NULL", "Null", "None", "NaT", "\\N", "1.#QNAN",
])  # fmt: skip
@pytest.mark.parametrize("timestamp", ["2024-06-20T08:00Z"])
def test_usual_signs_of_no_value(store, cell, timestamp):
    """In a wide file there is no observation; in a long one the row is invalid and can be dropped."""
    done = ingest(store, f"timestamp;a;b\n{timestamp};{cell};1\n2024-06-20T09:00Z;1;2\n", "--delimiter", ";")
    assert (done.exit_code, done.stderr, len(content(store))) == (0, "", 3)
    long = f"timestamp;name;value\n{timestamp};c;{cell}\n{timestamp};d;1\n"
    assert "the value is missing" in refused(ingest(store, long, "--delimiter", ";"))
    assert ingest(store, long, "--delimiter", ";", "--on-invalid", "drop").exit_code == 0


@pytest.mark.parametrize("cell", [".", ":", "unavailable", "-", "--", "-999", "?", "…", "kein Wert", "#DIV/0!"])
def test_another_sign_of_no_value_can_be_named(store, cell):
    """FRED's ., the ECB's : and Home Assistant's unavailable are refused until --na names them."""
    file = f"timestamp,a\n2024-06-20T08:00Z,{cell}\n2024-06-20T09:00Z,1\n"
    first = ingest(store, file, "--check")
    assert first.exit_code == (0 if cell == "-999" else 3)
    done = ingest(store, file, "--na", cell, "--na", "other")
    assert (done.exit_code, len(content(store))) == (0, 1)


SEPARATED = [
    "1,5", "-1,5", "+0,25", ",5", "1,5e3", "1.234,5", "1.234.567", "1,234", "1,234.56", "1 234", "1 234,5", "1'234.50",
    "1\u00a0234,5", "1\u202f234", "1_000", "\u22121,5", "1,5-", "(1,234)", " 1,5 ",
    "\u221212", "\u20130.5", "(12)", "(0.5)", "12-", "12.5-", "$1,234", "1.234,50 \u20ac",
]  # fmt: skip


@pytest.mark.parametrize("cell", SEPARATED)
@pytest.mark.parametrize("layout", ["wide", "long"])
def test_drop_never_keeps_only_the_whole_numbers_of_a_column(store, cell, layout):
    """Decimal commas, separators and other minus signs are how the file writes numbers, not invalid rows."""
    if layout == "wide":
        file = f"timestamp;a\n2024-06-20T08:00Z;{cell}\n2024-06-20T09:00Z;7\n2024-06-20T10:00Z;8\n"
    else:
        file = f"timestamp;name;value\n2024-06-20T08:00Z;a;{cell}\n2024-06-20T09:00Z;a;7\n2024-06-20T09:00Z;b;x\n"
    said = refused(ingest(store, file, "--delimiter", ";", "--on-invalid", "drop"))
    assert "decimal comma" in said
    assert "pass --on-invalid drop" not in said
    assert content(store) == {}


def test_a_frame_with_decimal_commas_is_not_halved(store):
    """The same holds in Python, where a spreadsheet gives numbers and text in one column."""
    hours = pd.date_range("2024-06-20", periods=3, freq="h", tz="UTC")
    with (
        temporis_dagster.connect(store.url) as temporis,
        pytest.raises(InvalidObservationsError, match="decimal comma"),
    ):
        temporis.data_source("store_metrics").upsert(pd.DataFrame({"a": [7, "1,5", 8]}, index=hours), on_invalid="drop")
    assert content(store) == {}


@pytest.mark.parametrize(
    "cell", ["many", "12.05.2024", "1,2,3", "5 kWh", "12%", "true", "1.2.3", "0x10", "1 2", "$12", "()", "-", "3-4"]
)
def test_what_is_no_such_number_can_be_dropped(store, cell):
    """One bad cell only makes its row invalid."""
    file = f"timestamp;a\n2024-06-20T08:00Z;{cell}\n2024-06-20T09:00Z;7\n"
    assert ingest(store, file, "--delimiter", ";", "--on-invalid", "drop").exit_code == 0
    assert len(content(store)) == 1


def test_a_series_may_be_called_like_a_missing_value(store):
    """Signs of no value, including named ones, apply to values, never to names."""
    file = "timestamp,name,value\n0,NA,1\n0,null,2\n0,.,3\n0,<NA>,4\n0,007,5\n"
    assert ingest(store, file, "--na", ".").exit_code == 0
    assert {name for _, name in content(store)} == {"NA", "null", ".", "<NA>", "007"}


# The shape of CSV


@pytest.mark.parametrize(("file", "words"), [
    ("timestamp,name,value\n0,a,1,\n60,a,2,x\n", ("Line 2 has 4 fields", "has 3", "The last field is empty")),
    ("timestamp,name,value\n0,a,1,,\n60,a,2,,\n", ("Line 2 has 5 fields", "has 3", "The last field is empty")),
    ("timestamp,a\n0,1,5\n60,2,5\n", ("Line 2 has 3 fields", "has 2", "decimal point")),
    ("timestamp,a,b\n0,1,2\n60,3,4,\n", ("Line 3 has 4 fields", "has 3")),
    ("timestamp,a\n0,1\n\n\n60,2,extra\n", ("Line 5 has 3 fields", "Quote fields that contain")),
    ('timestamp,a,"two\nlines"\n0,1,2\n60,2,3,4\n', ("Line 4 has 4 fields",)),
    ("# source: scada\ntimestamp,a\n0,1\n", ("Line 1, '# source: scada',", "is a comment", "1 field",
    "line 2 has 2 fields")),
    ("Report of June\n\ntimestamp,a\n0,1\n", ("'Report of June', has no column 'timestamp'", "--skip-rows 2")),
    ("\n\ntime,a\n0,1\n", ("Line 3 has no column 'timestamp'",)),
    ("sep=;\ntimestamp;a\n0;1\n", ("Line 1 is Excel's sep=;", "--delimiter ';'")),
    ("sep=\t\ntimestamp\ta\n0\t1\n", ("--delimiter tab",)),
    ('timestamp,a\n0,1\n60,"2\n120,3\n', ("opens in line 3",)),
    ("timestamp,a,b\n0,1,2\n60;3;4\n", ("Line 3 has 1 field", "has 3", "'60;3;4'")),
    ("timestamp,a,b\n0,1,2\n</html>\n", ("Line 3 has 1 field",)),
    ("timestamp,a\n0,1\n# end\n", ("Line 3 has 1 field",)),
    ("timestamp,a,b\n0,1,2\n60,3", ("cut off", "line 3", "2 of 3 fields")),
    ("timestamp,,a\n0,1,2\n", ("name is empty",)), ("timestamp,a,a\n0,1,2\n", ("must be unique",)),
])  # fmt: skip
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_shape_that_is_wrong_is_said_with_its_line(store, file, words, ending):
    """The message has both counts of fields and what to do, and never names arguments of pandas."""
    said = refused(ingest(store, file.replace("\n", ending).encode()))
    assert [word for word in words if word not in said] == []
    assert content(store) == {}


@pytest.mark.parametrize(("file", "count"), [
    ("timestamp,a,\n0,1,\n60,2,\n", 2), ("timestamp,name,value\n0,a,1,\n60,a,2,\n", 2),
    ("timestamp,a,,\n0,1,,\n", 1), ("timestamp,a,b\n0,1\n60,2,3\n", 3),
    ("timestamp,a\n0,1\nTotal,\n", 1), ("sep=,\ntimestamp,a\n0,1\n", 1), ("\ufeffsep=,\r\ntimestamp,a\r\n0,1\r\n", 1),
    ('timestamp,a\r\n"0","1"\r\n', 1), ("timestamp,a\r0,1\r60,2\r", 2), ("timestamp,a\n0, 1\n60 ,2 \n", 2),
    ('\ufeff"timestamp","a"\n0,1\n', 1), ("timestamp,a\n   \n0,1\n", 1), ("timestamp,a\n0,1", 1),
])  # fmt: skip
def test_a_shape_that_is_only_unusual_is_read(store, file, count):
    """Columns without name and cell, Excel's sep= line, old line breaks, blanks, a BOM before a quotation mark."""
    done = ingest(store, file)
    assert (done.exit_code, len(content(store))) == (0, count)
    assert all("lie close to 1970" in line for line in done.stderr.splitlines())


def test_lines_are_counted_in_the_file(store):
    """Excel's first line, a BOM and blank lines are counted, too."""
    done = ingest(store, "\ufeffsep=,\ntimestamp,name,value\n0,a,1\n\n0,b,x\n")
    assert "Row 1 (line 5)" in done.stderr


# Other formats


def in_zip(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", text)
    return packed.getvalue()


@pytest.mark.parametrize(("file", "words"), [
    (in_zip(LONG), "is a zip archive"), (lzma.compress(LONG.encode()), "xz -dc"),
    (bz2.compress(LONG.encode()), "bzip2 -dc"),
    (b"\x28\xb5\x2f\xfd\x00", "zstd -dc"), (LONG.encode("utf-16"), "--encoding utf-16"),
    (LONG.encode("utf-16-le"), "binary"),
    (b"\xfe\xff" + LONG.encode("utf-16-be"), "--encoding utf-16"), (b"\x7fELF\0\0", "binary"),
    (bytes(range(128, 192)) + b"\0", ""),
    (b"SQLite format 3\0", "SQLite database"), (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook"),
    (gzip.compress(b""), "is empty"), (gzip.compress(in_zip(LONG)), "zip"), (gzip.compress(LONG.encode())[:-9], "gzip"),
    ("timestamp,größe\n0,1\n".encode("latin-1"), "Line 1 is not UTF-8: it contains the byte b'\\xf6'"),
    ("timestamp,name,value\n0,a,1\n0,größe,1\n".encode("cp1252"), "Line 3 is not UTF-8"),
    (b"PAR1 but no more", "cannot be read as Parquet"),
], ids=lambda value: value if isinstance(value, str) else "file")  # fmt: skip  # packed files hold the time
def test_another_format_is_told_and_what_to_do(store, file, words):
    """It is recognized by its first bytes, whatever the name of the file."""
    assert words in refused(ingest(store, file))


def test_parquet_is_told_by_its_first_bytes(store, tmp_path):
    """It is recognized from stdin and without its ending."""
    pytest.importorskip("pyarrow")
    hours = pd.date_range("2024-06-20", periods=2, freq="h", tz="UTC")
    pd.DataFrame({"orders": [1.0, 2.0]}, index=hours).to_parquet(tmp_path / "frame.parquet")
    assert ingest(store, (tmp_path / "frame.parquet").read_bytes()).exit_code == 0
    assert len(content(store)) == 2


def test_a_fifo_is_a_file_and_a_directory_is_none(store, tmp_path):
    """A named pipe is read completely; a directory and a closed stdin are refused."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(LONG,))
    writer.start()
    send = ["--data-source", "store_metrics", "--url", store.url]
    assert CliRunner().invoke(main, ["ingest", str(tmp_path / "pipe"), *send]).exit_code == 0
    writer.join()
    assert CliRunner().invoke(main, ["ingest", str(tmp_path), *send]).exit_code == 2
    shell = f"exec {sys.executable} -m temporis_dagster.cli ingest - --data-source x --check <&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: Standard input is closed. Pass a file, or pipe one in.\n"


def test_a_huge_line(store):
    """A name of a million characters is a name; the line of column names may not be that long."""
    name = "x" * 1_000_000
    assert ingest(store, f"timestamp,name,value\n0,{name},1\n").exit_code == 0
    refused(ingest(store, f"timestamp,{name}\n0,1,2\n"))
