"""What commands write: output that is read back exactly, and files and disks that cannot be written."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import temporis_dagster
from temporis_dagster.cli import output
from temporis_dagster.cli.invalid_rows import InvalidRows
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.testing import FakeService
from tests.support.cli_tools import LONG, run
from tests.support.service_fixture import content

BAD = "timestamp,name,value\n0,a,1\n0,b,x\n"
FULL = Path("/dev/full")


def shell(command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a shell command in which ``temporis`` is the one under test."""
    text = command.replace("temporis ", f"{sys.executable} -m temporis_dagster.cli ", 1)
    return subprocess.run(["sh", "-c", f"exec {text}"], input=stdin, capture_output=True, text=True, check=False)


# There and back

ODD_NAMES = [
    "a\rb", "\r", "\n", "\r\n", "a\nb", '"', '""', 'a"b', '"quoted"', ",", ";", "\t", " ", "  x", "x  ", "\ufeff",
    "\ufeffx", "NA",
    "N/A", "null", "NULL", "nan", "NaN", "None", "NaT", "<NA>", "#N/A", "\\N", "-", ".", "007", "1", "1.0", "-0",
    "1e5", "inf",
    "True", "#", "# x", "sep=;", "timestamp", "name", "value", "timestamp,name,value", "'", "\x01", "\x1a",
    "\x1b[31m", "\x7f",
    "\x85", "\u2028", "\xa0", "größe", "😀", "e\u0301", "é", "now", "2024-06-20", "=1+1", "@x", "\\", "a\\", "\\n",
]  # fmt: skip


def there_and_back(store: SqlStore, names: list[str]) -> None:
    frame = pd.DataFrame({"timestamp": range(len(names)), "name": names, "value": [0.1 * i for i in range(len(names))]})
    with temporis_dagster.connect(store.url) as temporis:
        temporis.create_data_source("origin").upsert(frame)
        temporis.create_data_source("copy")
        shown = run("read", "--data-source", "origin", "--url", store.url)
        done = run("ingest", "-", "--data-source", "copy", "--url", store.url, stdin=shown.stdout_bytes)
        assert (done.exit_code, done.stderr) == (0, "")
        digests = {temporis.data_source(name).content_digest() for name in ("origin", "copy")}
        assert len(digests) == 1


def test_odd_names_come_back(store):
    """Line breaks of every kind, quotation marks, blanks, controls, and what looks like nothing or like a number."""
    there_and_back(store, ODD_NAMES)


@pytest.mark.parametrize("name", ["a\rb", "\r", '"', "\ufeff", " ", "007", "NA"])
def test_an_odd_name_comes_back_alone(store, name):
    """It also comes back as the only row of the file."""
    there_and_back(store, [name])


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
        min_size=1,
        max_size=9,
        unique=True,
    )
)
def test_any_names_come_back(tmp_path_factory, names):
    """Whatever a series may be called."""
    with closing(SqlStore(f"sqlite:///{tmp_path_factory.mktemp('names')}/temporis.db")) as store:
        there_and_back(store, names)


def test_a_long_table_is_written_in_parts(store, monkeypatch):
    """The border between two writes is invisible in the output."""
    monkeypatch.setattr(output, "ROWS_PER_WRITE", 2)
    there_and_back(store, ["a", "b", "c", "d", "e"])


def test_rejected_rows_are_csv_that_can_be_read(tmp_path):
    """A bare CR in a name or in the service's words does not break a row in two."""
    fault = "no\rway"
    with FakeService(fault_of=lambda record: fault) as service:
        at = {
            "TEMPORIS_URL": service.url,
            "TEMPORIS_TOKEN": service.token,
            "TEMPORIS_MIRROR": f"sqlite:///{tmp_path}/m.db",
        }
        run("ingest", "-", "--data-source", "store_metrics", stdin='timestamp,name,value\n0,"a\rb",1.5\n', **at)
        shown = run("mirror", "rejected", "--data-source", "store_metrics", **at)
    (row,) = pd.read_csv(io.BytesIO(shown.stdout_bytes)).to_dict("records")
    assert (row["timestamp"], row["name"], row["value"]) == ("1970-01-01T00:00:00Z", "a\rb", 1.5)


# A file that must not be overwritten


@pytest.mark.parametrize("link", [None, "hard", "symbolic"])
@pytest.mark.parametrize("companion", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("named", ["url", "store", "mirror", "nowhere"])
def test_invalid_rows_never_overwrite_a_database(tmp_path, link, companion, named):
    """They replace neither a store, nor a mirror, nor the files that SQLite keeps next to it, under any name."""
    database = f"sqlite:///{tmp_path}/s.db"
    if named == "mirror":
        with (
            FakeService() as service,
            temporis_dagster.connect(service.url, service.token, mirror=database) as temporis,
        ):
            temporis.data_source("store_metrics").upsert(pd.DataFrame({"timestamp": [0], "a": [1.0]}))
    else:
        with closing(SqlStore(database)) as store:
            store.create_data_source("store_metrics")
    target = tmp_path / f"s.db{companion}"
    if companion and link:
        target.write_bytes(b"a companion")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    path = target if link is None else tmp_path / "innocent.csv"
    if link:
        path.hardlink_to(target) if link == "hard" else path.symlink_to(target)
    said = {
        "url": ["--url", database],
        "store": ["--check"],
        "mirror": ["--check", "--mirror", database],
        "nowhere": ["--check"],
    }
    done = run(
        *("ingest", "-", "--data-source", "store_metrics", "--invalid-rows", path, *said[named]),
        stdin=BAD,
        **({"TEMPORIS_STORE": database} if named == "store" else {}),
    )
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Pass another file." in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert companion == "" or link or not target.exists()


def test_invalid_rows_are_not_written_where_a_store_is_going_to_be(tmp_path):
    """A path that is named as a store or mirror is protected even before it exists and in another spelling."""
    for option in ("--url", "--mirror"):
        done = run(
            *("ingest", "-", "--data-source", "a", "--check", option, f" sqlite:///{tmp_path}/./new.db\n"),
            *("--invalid-rows", tmp_path / "x" / ".." / "new.db"),
            stdin=LONG,
        )
        assert (done.exit_code, "belongs to" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_invalid_rows_replace_only_their_own_kind(store, tmp_path):
    """Unrelated notes are kept; an empty file, an earlier list and a device are overwritten."""
    send = ["ingest", "-", "--data-source", "store_metrics", "--url", store.url, "--invalid-rows"]
    (tmp_path / "notes.txt").write_text("dear diary")
    assert run(*send, tmp_path / "notes.txt", stdin=BAD).exit_code == 2
    assert (tmp_path / "notes.txt").read_text() == "dear diary"
    (tmp_path / "bad.csv").touch()
    for file, rows in ((BAD, 1), (BAD, 1), (LONG, 0)):
        assert run(*send, tmp_path / "bad.csv", stdin=file).exit_code == (3 if rows else 0)
        assert len(pd.read_csv(tmp_path / "bad.csv")) == rows
    assert run(*send, os.devnull, stdin=LONG).exit_code == 0


def test_a_file_on_stdin_is_the_source_too(tmp_path):
    """``temporis ingest - < bad.csv --invalid-rows bad.csv``."""
    text = "position,line,column,value,reason\n"
    (tmp_path / "bad.csv").write_text(text)
    done = shell(f"temporis ingest - --data-source a --check --invalid-rows {tmp_path}/bad.csv < {tmp_path}/bad.csv")
    assert (done.returncode, "is the file being ingested" in done.stderr) == (2, True)
    assert (tmp_path / "bad.csv").read_text() == text


# Nowhere to write to


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
@pytest.mark.parametrize("command", [
    "read --data-source store_metrics --url {url}", "sources list --store {url}", "tokens list --store {url}",
    "tokens create cron --store {url}", "ingest - --data-source store_metrics --url {url}",
    "ingest - --data-source store_metrics --url {url} --json",
])  # fmt: skip
def test_an_stdout_that_takes_nothing_is_said(store, command, where):
    """Exit code 1 and a sentence instead of a traceback; stderr has the report; no unseen token is left behind."""
    store.tokens.create("laptop")
    done = shell(f"temporis {command.format(url=store.url)} {where}", stdin=LONG)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Error: Standard output " in done.stderr
    assert [token.label for token in store.tokens.all()] == ["laptop"]
    if command.startswith("ingest"):
        assert "(2 stored)" in done.stderr
        assert len(content(store)) == 2


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_help_that_cannot_be_written_is_said():
    """The same holds for what click prints."""
    done = shell("temporis ingest --help > /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: Standard output cannot be written: No space left on device.\n")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_an_stderr_that_takes_nothing_stops_nothing(store):
    """Neither dropped rows nor a warning of the library ends an ingest halfway."""
    done = shell(
        f"temporis ingest - --data-source store_metrics --url {store.url} --on-invalid drop 2> /dev/full", stdin=BAD
    )
    assert (done.returncode, "1 stored, 1 dropped" in done.stdout) == (0, True)
    done = shell(f"temporis ingest - --data-source store_metrics --url {store.url} 2> /dev/full", stdin=BAD)
    assert done.returncode == 3


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["raise", "drop"])
def test_invalid_rows_on_a_full_disk(store, tmp_path, monkeypatch, option):
    """Full from the start: nothing is sent. Full at the end: the upsert counts, and the missing list is reported."""
    send = [
        "ingest",
        "-",
        "--data-source",
        "store_metrics",
        "--url",
        store.url,
        "--on-invalid",
        option,
        "--invalid-rows",
    ]
    done = run(*send, FULL, stdin=BAD)
    assert (done.exit_code, "No space left" in done.stderr, content(store)) == (2, True, {})
    monkeypatch.setattr(InvalidRows, "_write", full_disk(InvalidRows._write, at_call=2))
    done = run(*send, tmp_path / "bad.csv", "--json", stdin=BAD)
    assert "bad.csv cannot be written: No space left on device. The upsert is not affected" in done.stderr
    assert done.exit_code == (1 if option == "drop" else 3)
    assert len(content(store)) == (1 if option == "drop" else 0)
    assert done.stdout.count("{") >= 1


def full_disk(write, at_call: int):
    """A method that writes to a disk that is full at a given call."""
    calls = []

    def full(*arguments):
        calls.append(1)
        if len(calls) == at_call:
            raise OSError(28, os.strerror(28))
        return write(*arguments)

    return full
