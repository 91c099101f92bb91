"""The ``temporis`` command: what it prints, where, and how it exits."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from importlib.metadata import entry_points

import httpx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import temporis_dagster
from temporis_dagster import errors
from temporis_dagster.cli import main
from temporis_dagster.cli.cells import moments
from temporis_dagster.cli.exits import EPILOG, exit_code
from temporis_dagster.cli.ingest import ingest as ingest_command
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.errors import TemporisError
from temporis_dagster.testing import FakeService
from temporis_dagster.wording import counted
from tests.support.cli_tools import LONG, ingest, run
from tests.support.every_error import EVERY_ERROR
from tests.support.service_fixture import ServiceProcess, content, ingest_of, started_service


def seconds(store: SqlStore) -> list[int]:
    return sorted(timestamp for timestamp, _ in content(store))


# Data sources and tokens


def test_data_sources_are_created_listed_archived_and_unarchived(tmp_path):
    """As the dashboard does for the cloud. Only the listing prints data: a name and a state per line."""
    at = {"TEMPORIS_STORE": f"sqlite:///{tmp_path}/temporis.db"}
    silent = [("create", "b"), ("create", "a"), ("create", "a"), ("archive", "b")]
    assert run("sources", "list", **at).stdout == ""
    assert [run("sources", *call, **at).stdout for call in silent] == ["", "", "", ""]
    assert run("sources", "list", **at).stdout == "a\tactive\nb\tarchived\n"
    assert run("sources", "unarchive", "b", **at).exit_code == 0
    listed = run("sources", "list", "--json", **at)
    assert json.loads(listed.stdout) == [{"name": "a", "state": "active"}, {"name": "b", "state": "active"}]
    assert run("sources", "list", "--account", "other", **at).stdout == ""


def test_a_token_is_printed_once_and_nothing_else(store, tmp_path, caplog):
    """Only the token is on stdout, so that a shell can keep it. No other command and no log shows it."""
    caplog.set_level(logging.DEBUG)
    made = run("tokens", "create", "laptop", "--store", store.url)
    token = made.stdout.strip()
    assert re.fullmatch(r"ts_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert (made.stderr, made.exit_code) == ("", 0)
    assert store.tokens.owner(token) == "default"
    others = [
        run("tokens", "list", "--store", store.url),
        run("tokens", "list", "--store", store.url, "--json"),
        run("tokens", "create", "laptop", "--store", store.url),
        run("tokens", "create", token, "--store", store.url),
        run("tokens", "delete", token, "--store", store.url),
        run("ingest", "-", "--data-source", "x", "--url", store.url, "--token", token, stdin=LONG),
        run("ingest", "-", "--data-source", "x", "--url", "http://192.0.2.1", "--token", token, stdin=LONG),
        run("ingest", "-", "--data-source", "x", "--url", "http://127.0.0.1:1", "--token", token + " x", stdin=LONG),
        run("ingest", "--help", TEMPORIS_TOKEN=token),
        run("tokens", "delete", "laptop", "--store", store.url),
    ]
    assert [result.exit_code for result in others] == [0, 0, 2, 2, 4, 4, 2, 2, 0, 0]
    for result in others:
        assert token not in result.output + repr(result.exception)
    assert token not in caplog.text
    assert store.tokens.owner(token) is None


def test_tokens_are_listed_with_their_kind_and_their_age(store):
    """A line holds the label, the time of creation, the kind and the last use, with tabs; JSON holds the same."""
    used = store.tokens.create("laptop")
    assert run("tokens", "create", "browser", "--dashboard", "--store", store.url).stdout.startswith("ts_")
    assert store.tokens.find(used) is not None
    laptop, browser = store.tokens.all()
    made, use, other = laptop.created_at.isoformat(), laptop.last_used_at.isoformat(), browser.created_at.isoformat()
    assert run("tokens", "list", "--store", store.url).stdout == (
        f"laptop\t{made}\tingest\t{use}\nbrowser\t{other}\tdashboard\tnever\n"
    )
    listed = json.loads(run("tokens", "list", "--store", store.url, "--json").stdout)
    assert listed == [
        {"label": "laptop", "created_at": made, "dashboard": False, "last_used_at": use},
        {"label": "browser", "created_at": other, "dashboard": True, "last_used_at": None},
    ]


# Ingest and read


def test_a_csv_from_stdin_is_stored(store):
    """The documentation's two records; the report is one line on stdout, and there is no progress bar in a pipe."""
    done = ingest(store, LONG)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("store_metrics: 2 observations of 2 series (2 stored) in ")
    assert content(store) == {(1718870400, "orders"): 42, (1718870400, "revenue"): 1284.5}


def test_json_is_the_report(store):
    """All counts are on stdout, ready for a program."""
    ingest(store, LONG)
    report = json.loads(ingest(store, LONG, "--json").stdout)
    assert (report["observations_in"], report["stored"], report["unchanged"]) == (2, 0, 2)
    assert report["first_timestamp"] == "2024-06-20T08:00:00+00:00"


def test_a_failure_has_its_report_on_stdout_and_its_words_on_stderr(store):
    """With ``--json``, a program can tell what was stored; a person reads one paragraph without a traceback."""
    store.set_archived("store_metrics", archived=True)
    done = ingest(store, LONG, "--json")
    assert done.exit_code == 5
    assert json.loads(done.stdout)["unsent"] == 2
    assert re.fullmatch(r"Error: Data source 'store_metrics' .* archived.*\n", done.stderr)
    assert "Traceback" not in done.output


def test_check_only_checks(tmp_path):
    """It needs no URL, token or store: it only looks at the file."""
    (tmp_path / "good.csv").write_text(LONG)
    done = run("ingest", tmp_path / "good.csv", "--data-source", "store_metrics", "--check")
    assert (done.exit_code, "2 unsent" in done.stdout) == (0, True)
    (tmp_path / "bad.csv").write_text(LONG + "1718870400,orders,many\n")
    done = run("ingest", tmp_path / "bad.csv", "--data-source", "store_metrics", "--check", "--json")
    failure = json.loads(done.stdout)
    assert (done.exit_code, failure["observations_in"], failure["invalid"]) == (3, 3, 1)
    assert "1 of 3 observations" in done.stderr
    assert "'many'" in done.stderr
    assert run("ingest", tmp_path / "good.csv", "--data-source", "Bad", "--check").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "good.csv"]


def test_what_is_read_can_be_ingested_again_bit_for_bit(store, tmp_path):
    """CSV out, CSV in: every bit of every value, and names that look like nothing, like numbers or like CSV."""
    extremes = [-0.0, 0.0, 5e-324, 1.7976931348623157e308, 0.1, 2.0**53, 1e22, 1 / 3]
    names = ["NA", "nan", "null", "1", " x ", 'a"b,c', "zwei\nZeilen", "größe", "None", "#"]
    frame = pd.DataFrame(
        [(second, name, value) for second, value in enumerate(extremes, -3) for name in names],
        columns=["timestamp", "name", "value"],
    )
    with temporis_dagster.connect(store.url) as temporis:
        temporis.data_source("store_metrics").upsert(frame)
        temporis.create_data_source("copy")
        shown = run("read", "--data-source", "store_metrics", "--url", store.url)
        (tmp_path / "copy.csv").write_bytes(shown.stdout_bytes)
        done = run("ingest", tmp_path / "copy.csv", "--data-source", "copy", "--url", store.url)
        assert (done.exit_code, done.stderr) == (0, "")
        digests = {temporis.data_source(name).content_digest() for name in ("store_metrics", "copy")}
    assert len(digests) == 1
    assert shown.stdout.splitlines()[:2] == ["timestamp,name,value", "1969-12-31T23:59:57Z, x ,-0.0"]


def test_read_takes_a_window_and_names(store):
    """The window is half-open, in Unix seconds or ISO 8601 with an offset; a time without one is refused."""
    ingest(store, "timestamp,name,value\n0,a,1\n60,a,2\n60,b,3\n120,a,4\n")
    read = ["read", "--data-source", "store_metrics", "--url", store.url]
    expected = "timestamp,name,value\n1970-01-01T00:01:00Z,a,2.0\n"
    assert run(*read, "--start", "60", "--end", "120", "--name", "a", "--name", "z").stdout == expected
    assert run(*read, "--start", "1970-01-01T01:01:00+01:00", "--end", "1970-01-01T00:02Z", "--name", "a").stdout == (
        expected
    )
    assert run(*read, "--start", "-1", "--end", "0").stdout == "timestamp,name,value\n"
    for wrong in ("1970-01-01T00:01:00", "yesterday", "1e3", "NaT", ""):
        done = run(*read, "--start", wrong)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "2024-06-20T00:00Z" in done.stderr


@pytest.mark.parametrize(("texts", "zone", "expected"), [
    (["2024-06-20T10:00:00Z", "2024-06-20 12:00:00+02:00"], None, [1718877600, 1718877600]),
    (["2024-06-20T10:00Z", "2024-06-20T10:00-05"], None, [1718877600, 1718895600]),
    (["2024-06-20T12:00", "2024-06-20 12:01:00"], "Europe/Berlin", [1718877600, 1718877660]),
    (["2024-06-20", "2024-06-21"], "UTC", [1718841600, 1718928000]),
    (["2024-06-20T10:00Z", "2024-06-20 13:00"], "Europe/Berlin", [1718877600, 1718881200]),
    (["2024-06-20T10:00Z", "1718877660"], None, [1718877600, 1718877660]),
    (["1718877600", "1718877660.0"], None, [1718877600, 1718877660]),
    (["20240620T100000Z", "20240620T10"], "UTC", [1718877600, 1718877600]),
    (["1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"], None, [-1, -62135596800]),
])  # fmt: skip
def test_timestamps_in_a_csv(store, texts, zone, expected):
    """Unix seconds or ISO 8601, also mixed: with an offset it is exact, without one it is in the given zone."""
    lines = "".join(f"{text},series {row},1\n" for row, text in enumerate(texts))
    done = ingest(store, "timestamp,name,value\n" + lines, *(["--timezone", zone] if zone else []))
    assert (done.exit_code, done.stderr) == (0, "")
    stored = {name: timestamp for timestamp, name in content(store)}
    assert [stored[f"series {row}"] for row in range(len(texts))] == expected


@pytest.mark.parametrize("text", [
    "2024-06-20T10:00", "2024-06-20", "yesterday", "06/20/2024 10:00", "", "NaT", "1718877600000", "1.5",
    "2024-06-20T10:00:00.5Z", "2024-06-20T25:00Z", "2024-06-20T10:00 CEST", "9999999-01-01T00:00Z",
])  # fmt: skip
@pytest.mark.parametrize("others", [[], ["1718877600"], ["2024-06-20T10:00Z"]])
def test_what_is_no_moment_is_named(store, text, others):
    """A time without a zone, in another format or with a fraction is named by its row, whatever the others hold."""
    lines = "".join(f"{moment},a,1\n" for moment in [*others, text])
    done = ingest(store, "timestamp,name,value\n" + lines)
    assert (done.exit_code, done.stdout) == (3, "")
    assert f"1 of {counted(len(others) + 1, 'observation')} for" in done.stderr
    assert f"Row {len(others)} " in done.stderr
    assert content(store) == {}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-62_135_596_800, 253_402_300_799), min_size=1, max_size=5), st.booleans())
def test_iso_text_of_any_moment_is_that_moment(stamps, spaced):
    """Reading is the inverse of formatting over the years 1 to 9999."""
    whole = pd.Series(pd.to_datetime(pd.Series(stamps).astype("datetime64[s]"), utc=True))
    texts = whole.map(lambda moment: moment.isoformat(sep=" " if spaced else "T")).astype(object)
    assert [int(moment.timestamp()) for moment in moments(texts)] == stamps


def test_the_options_of_a_frame(store):
    """Columns by name, wide layout, flooring and dropping are those of ``upsert``."""
    wide = "when;".replace(";", ",") + "name,orders\n2024-06-20T10:00:00.9Z,1,2\n2024-06-20T10:01Z,,x\n"
    done = ingest(
        store, wide, "--timestamp", "when", "--layout", "wide", "--sub-second", "floor", "--on-invalid", "drop"
    )
    assert (done.exit_code, "(2 stored, 1 dropped)" in done.stdout) == (0, True)
    assert content(store) == {(1718877600, "name"): 1, (1718877600, "orders"): 2}
    done = ingest(store, "t,series,v\n0,NA,1\n", "--timestamp", "t", "--name", "series", "--value", "v")
    assert done.exit_code == 0
    assert content(store)[0, "NA"] == 1


@pytest.mark.parametrize(("text", "words"), [
    ("", "is empty"), ("timestamp,name,value\n0,a,1,2\n", "Line 2 has 4 fields, but the line of column names has 3"),
    (b"timestamp,name,value\n0,\xff,1\n", "Line 2 is not UTF-8"),
    ("timestamp,a,a\n0,1,2\n", "must be unique"), ("time,name,value\n0,a,1\n", "no column 'timestamp'"),
    ('timestamp,name,value\n0,"a,1\n', "opens in line 2 is never closed"),
    ("timestamp,name,value\n0,,1\n", "name is empty"),
    ("timestamp,name,value\n0,a,\n", "missing"), ("timestamp,name,value\n0,a,inf\n", "inf"),
    ("timestamp,name,value\n0,a,9007199254740993\n", "9007199254740993"), ("timestamp,name,value\n0,a,True\n", "True"),
    ("timestamp,name,value\n0,a,1_0\n", "1_0"), ("timestamp,name,value\n0,a,1\n0,b\n", "missing"),
    ("timestamp,name,value\n0,a," + "9" * 30 + "\n", "999"), ("timestamp,name,value\n0,a,0x10\n0,b,1\n", "0x10"),
])  # fmt: skip
def test_a_file_that_is_no_table_of_observations_is_refused(store, text, words):
    """Exit code 3 and a message: cells that would shift, change or vanish are never guessed at."""
    done = ingest(store, text)
    assert (done.exit_code, done.stdout) == (3, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert content(store) == {}


def test_an_empty_table_is_no_request(store):
    """A file with only the line of column names stores nothing and is accepted."""
    assert ingest(store, "timestamp,name,value\n").exit_code == 0


def test_parquet(store, tmp_path):
    """Parquet is recognized by the file's ending; another file with that ending is refused."""
    pytest.importorskip("pyarrow")
    hours = pd.date_range("2024-06-20", periods=2, freq="h", tz="UTC")
    pd.DataFrame({"orders": [1.0, 2.0]}, index=hours).to_parquet(tmp_path / "frame.parquet")
    send = ["--data-source", "store_metrics", "--url", store.url]
    assert run("ingest", tmp_path / "frame.parquet", *send).exit_code == 0
    assert seconds(store) == [1718841600, 1718845200]
    (tmp_path / "none.parquet").write_text(LONG)
    done = run("ingest", tmp_path / "none.parquet", *send)
    assert (done.exit_code, "cannot be read" in done.stderr) == (3, True)


def test_parquet_without_pyarrow(store, tmp_path, monkeypatch):
    """Exit code 2, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "frame.parquet").write_text("")
    done = run("ingest", tmp_path / "frame.parquet", "--data-source", "store_metrics", "--url", store.url)
    assert (done.exit_code, "pip install pyarrow" in done.stderr) == (2, True)


# What was not taken


BAD = """timestamp,name,value
2024-06-20T10:00Z,"two
lines",1

2024-06-20T10:00Z,a,many
2024-06-20T10:00Z,a,inf
2024-06-20T10:00Z,"b",2
"""


@pytest.mark.parametrize(("option", "code"), [("drop", 0), ("raise", 3)])
def test_the_invalid_rows_can_be_had_as_a_file(store, tmp_path, option, code):
    """It lists all of them, with the line of the file, whether they stopped the upsert or were dropped."""
    done = ingest(store, BAD, "--on-invalid", option, "--invalid-rows", tmp_path / "bad.csv")
    assert done.exit_code == code
    rows = pd.read_csv(tmp_path / "bad.csv", dtype=str)
    assert rows[["position", "line", "column", "value"]].values.tolist() == [
        ["1", "5", "value", "many"],
        ["2", "6", "value", "inf"],
    ]
    assert rows.reason.tolist()[1] == "the value is infinite: a value must be a finite number"
    assert f"{'row' if code == 0 else 'Row'} 1 (line 5), column 'value', 'many': text is not a number" in done.stderr
    assert "--invalid-rows FILE lists them all." in done.stderr
    assert len(content(store)) == (2 if code == 0 else 0)
    assert ingest(store, LONG, "--invalid-rows", tmp_path / "bad.csv").exit_code == 0
    assert (tmp_path / "bad.csv").read_text() == "position,line,column,value,reason\n", "nothing of an earlier run"


@pytest.mark.parametrize(("option", "code"), [("drop", 0), ("raise", 7)])
@pytest.mark.parametrize("text", [
    "timestamp,name,value\n0,a,1\n60,a,2\n", "timestamp,a\n0,1\n60,2\n",
])  # fmt: skip
def test_what_the_service_refused_is_in_the_file_too(tmp_path, option, code, text):
    """With the service's own words."""
    with FakeService(fault_of=lambda record: "not welcome" if record["value"] == 2 else None) as service:
        sending = ["--data-source", "store_metrics", "--url", service.url, "--token", service.token]
        done = run("ingest", "-", *sending, "--on-invalid", option, "--invalid-rows", tmp_path / "bad", stdin=text)
    assert done.exit_code == code
    (row,) = pd.read_csv(tmp_path / "bad").to_dict("records")
    assert (row["position"], row["line"], row["value"]) == (1, 3, 2)
    assert row["column"] == ("value" if "name" in text else "a")
    assert "not welcome" in row["reason"]
    if code:
        assert "(line 3)" in done.stderr
        assert done.stderr.endswith("--invalid-rows FILE lists them all. Correct them, or pass --on-invalid drop.\n")


def test_the_file_of_invalid_rows_is_never_the_source(store, tmp_path):
    """A slip must not cost the data; a place that cannot be written to is reported before anything is sent."""
    (tmp_path / "sales.csv").write_text(LONG)
    send = ["ingest", tmp_path / "sales.csv", "--data-source", "store_metrics", "--url", store.url]
    for path in (tmp_path / "sales.csv", tmp_path / "nowhere" / "bad.csv"):
        assert run(*send, "--invalid-rows", path).exit_code == 2
    assert (tmp_path / "sales.csv").read_text() == LONG
    assert content(store) == {}


def test_a_forgotten_zone_is_no_reason_to_drop_everything(store):
    """--on-invalid drop does not turn a missing --timezone into a success; other files without a good row warn."""
    naive = "timestamp,name,value\n2024-06-20T10:00,a,1\n2024-06-20T11:00,a,1\n"
    done = ingest(store, naive, "--on-invalid", "drop")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "pass the zone that it is in, such as --timezone UTC or --timezone Europe/Berlin" in done.stderr
    done = ingest(store, "timestamp,name,value\n0,a,x\n60,a,y\n", "--on-invalid", "drop")
    assert done.exit_code == 0
    assert "Warning: All 2 observations for 'store_metrics' are invalid and were dropped" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["--on-invalid", "drop"], ["--timezone", "Mars/Olympus"], ["--data-source", "nosuch"], [],
    ["--url", "http://127.0.0.1:1", "--give-up-after", "0.01"], ["--data-source", "archived"],
])  # fmt: skip
def test_json_says_how_it_ended_whatever_the_exit_code(store, arguments):
    """One object on stdout has what is known of the observations, and the error or null."""
    store.create_data_source("archived")
    store.set_archived("archived", archived=True)
    done = ingest(
        store, "timestamp,name,value\n0,a,1\n0,b,x\n"[: 29 if len(arguments) > 1 else None], "--json", *arguments
    )
    said = json.loads(done.stdout)
    if done.exit_code == 0:
        assert said["error"] is None
    else:
        assert said["error"]["exit_code"] == done.exit_code
        assert said["error"]["message"] in " ".join(done.stderr.split())
        assert said["error"]["retryable"] == (done.exit_code == 8)
        assert said["error"]["kind"].endswith("Error")
    assert said["data_source"] in ("store_metrics", "nosuch", "archived")


# In the words of the command line


ARGUMENT = re.compile(r"\b\w+=")


@pytest.mark.parametrize(("text", "options", "words"), [
    ("timestamp,name,value\n2024-06-20T10:00,a,1\n", [], "--timezone Europe/Berlin"),
    ("timestamp,name,value\n0,a,x\n0,a,1\n", [], "--on-invalid drop"),
    ("timestamp,name,value\n0.5,a,1\n", [], "--sub-second floor"),
    ("timestamp,name,value\nyesterday,a,1\n", [], "ISO 8601"),
    ("time,name,value\n0,a,1\n", [], "with --timestamp."),
    ("timestamp,name\n0,a\n", [], "--layout wide"),
    ("timestamp,value\n0,1\n", ["--layout", "long"], "with --name."),
    ("timestamp,name,value\n2024-11-03T01:30,a,1\n", ["--timezone", "America/New_York"], "Pass --ambiguous to"),
    ("timestamp,name,value\n2024-03-10T02:30,a,1\n", ["--timezone", "America/New_York"], "pass --nonexistent to"),
    (LONG, ["--timezone", "Mars/Olympus"], "--timezone Mars/Olympus is not a known time zone"),
])  # fmt: skip
def test_advice_is_spelled_as_options(store, text, options, words):
    """A shell cannot pass timezone=: messages about a file name options that exist."""
    done = ingest(store, text, *options)
    assert words in done.stderr
    assert not ARGUMENT.search(done.stderr)
    known = {name for option in ingest_command.params for name in option.opts}
    assert set(re.findall(r"--[a-z][a-z-]*", done.stderr)) <= known


@pytest.mark.parametrize(("option", "stamp"), [("true", 1730611800), ("false", 1730615400)])
def test_a_time_that_the_clock_showed_twice_or_skipped_can_be_decided(store, option, stamp):
    """--ambiguous and --nonexistent decide, as in Python."""
    text = "timestamp,name,value\n2024-11-03T01:30,a,1\n2024-03-10T02:30,a,1\n"
    zone = ["--timezone", "America/New_York"]
    assert ingest(store, text, *zone, "--ambiguous", option, "--nonexistent", "shift_forward").exit_code == 0
    assert seconds(store) == [1710054000, stamp]


def test_where_to_is_never_guessed_from_a_store(store):
    """With TEMPORIS_STORE but no URL, a local token and local data must not go to the cloud by mistake."""
    setting = {"TEMPORIS_STORE": store.url, "TEMPORIS_TOKEN": "ts_local"}
    for command in (["ingest", "-"], ["read"]):
        done = run(*command, "--data-source", "store_metrics", stdin=LONG, **setting)
        assert done.exit_code == 2
        assert "Name the one you mean: pass --url http://127.0.0.1:8008" in done.stderr
        assert run(*command, "--data-source", "x", stdin=LONG).stderr.startswith("Error: There is no URL to connect to")
    assert run("ingest", "-", "--data-source", "x", "--check", stdin=LONG, **setting).exit_code == 0
    sent = run("ingest", "-", "--data-source", "store_metrics", stdin=LONG, TEMPORIS_URL=store.url, **setting)
    assert sent.exit_code == 0


def test_a_missing_data_source_is_created_with_the_command_that_is_shown(store):
    """The advice can be pasted into a shell."""
    text = ingest(store, LONG, "--data-source", "nosuch", "--account", "a b").stderr
    command = re.search(r"in a shell with: temporis (sources create .*)\.$", text)[1]
    assert run(*shlex.split(command)).exit_code == 0
    assert ingest(store, LONG, "--data-source", "nosuch", "--account", "a b").exit_code == 0


def test_a_service_that_is_down_is_not_waited_for_in_silence():
    """A warning is on stderr at once; --give-up-after ends the wait, and the message names that limit."""
    down = ["--url", "http://127.0.0.1:1", "--give-up-after", "2"]
    done = run("ingest", "-", "--data-source", "store_metrics", *down, stdin=LONG)
    warning, error = done.stderr.splitlines()
    assert re.match(r"Warning: http://127.0.0.1:1 failed \(.*refused\). Trying again for up to 2 s.", warning)
    assert (done.exit_code, "(--give-up-after 2)" in error) == (8, True)
    assert logging.getLogger("temporis_dagster").handlers == []


def test_a_store_that_does_not_exist_yet_is_said(tmp_path):
    """Listing or serving an empty place looks like a success, so a missing store is reported on stderr."""
    url = f"sqlite:///{tmp_path}/typo.db"
    for command in (["sources", "list"], ["tokens", "list"], ["serve", "--host", "192.0.2.1"]):
        done = run(*command, "--store", url)
        assert "typo.db does not exist yet, so it has no data sources and no tokens." in done.stderr
        assert done.stdout == ""
    done = run("sources", "create", "a", "--store", url)
    assert (done.stdout, done.stderr) == ("", f"Created a in {url}.\n")
    assert run("sources", "create", "a", "--store", url).stderr == f"a exists already in {url}.\n"
    assert run("tokens", "list", "--store", url).output == ""


# Other files


def test_csv_may_be_packed_and_may_have_another_delimiter(store, tmp_path):
    """gzip is recognized by its first bytes, also from stdin, and refused if damaged. Any character can separate."""
    (tmp_path / "sales.csv.gz").write_bytes(gzip.compress(LONG.replace(",", ";").encode()))
    send = ["--data-source", "store_metrics", "--url", store.url]
    assert run("ingest", tmp_path / "sales.csv.gz", *send, "--delimiter", ";").exit_code == 0
    assert len(content(store)) == 2
    tabs = LONG.replace(",", "\t").encode()
    assert ingest(store, gzip.compress(tabs), "--delimiter", "tab").exit_code == 0
    assert ingest(store, gzip.compress(tabs)[:-9]).exit_code == 3
    for wrong in ("", ";;", '"', "é"):
        assert ingest(store, LONG, "--delimiter", wrong).exit_code == 2


@pytest.mark.parametrize(("text", "words"), [
    ("timestamp;name;value\n0;a;1,5\n", "Pass --delimiter ';'"),
    ("timestamp\tname\tvalue\n0\ta\t1\n", "Pass --delimiter tab"),
    (",orders\n2024-06-20T10:00Z,1\n", "--timestamp 'Unnamed: 0'"),
    (",timestamp,orders\n0,2024-06-20T10:00Z,1\n", "Write the file without the index"),
])  # fmt: skip
def test_a_common_slip_in_a_csv_has_a_hint(store, text, words):
    """Another delimiter, and the index that to_csv wrote without a name."""
    done = ingest(store, text)
    assert (done.exit_code, words in done.stderr) == (3, True)
    assert ingest(store, ",orders\n2024-06-20T10:00Z,1\n", "--timestamp", "Unnamed: 0").exit_code == 0
    assert ingest(store, ",timestamp,name,value\n0,0,a,1\n").exit_code == 0


# Exit codes


def test_every_error_of_the_tree_has_an_exit_code():
    """The help lists every code, and each error has the code of its kind."""
    codes = {type(error).__name__: exit_code(error) for error in EVERY_ERROR}
    shown = {int(code) for code in re.findall(r"^  (\d)  ", EPILOG, re.MULTILINE)}
    assert set(codes.values()) < shown == set(range(9))
    assert {codes[name] for name in codes if name == "TemporisError"} == {1}
    assert codes["NotSupportedError"] == codes["ReadNotSupportedError"] == 2
    assert codes["ConfigurationError"] == 2
    assert codes["InvalidObservationsError"] == 3
    assert codes["DataSourceNotFoundError"] == 4
    assert codes["DataSourceArchivedError"] == 5
    assert codes["StoreError"] == 8
    kinds = {"AuthenticationError": 6, "RejectedObservationsError": 7}
    for name, code in kinds.items():
        assert exit_code(getattr(errors, name)("...", data_source="x", report=None)) == code
    assert exit_code(errors.UnavailableError("...", data_source="x", report=None, attempts=1, retry_after_s=None)) == 8


@pytest.mark.parametrize("command", [[], ["ingest"], ["read"], ["serve"], ["sources", "create"], ["tokens", "create"]])
def test_every_help_has_the_exit_codes(command):
    """The author of a script finds them there."""
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert "8  The service or store is unavailable or locked. Try again later." in shown.stdout


def test_kinds_of_failure_over_a_store(store, monkeypatch):
    """Configuration, not found, archived and locked each have their code."""
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)
    missing = ["--data-source", "nothing", "--url", store.url]
    assert run("ingest", "-", *missing, stdin=LONG).exit_code == 4
    assert run("read", *missing).exit_code == 4
    assert run("sources", "archive", "nothing", "--store", store.url).exit_code == 4
    assert run("sources", "create", "Bad-Name", "--store", store.url).exit_code == 2
    assert run("sources", "create", "x").exit_code == 2
    assert run("sources", "create", "x", "--store", "https://api.temporis.co", TEMPORIS_TOKEN="ts_x").exit_code == 2
    assert run("tokens", "create", "x", "--store", "https://api.temporis.co").exit_code == 2
    assert run("ingest", "no_such_file.csv", "--data-source", "x", "--url", store.url).exit_code == 2
    assert ingest(store, LONG, "--timezone", "Mars/Olympus").exit_code == 2
    assert run("ingest", "-", "--data-source", "x", stdin=LONG).exit_code == 2
    by_hand = sqlite3.connect(store.url.removeprefix("sqlite:///"), isolation_level=None)
    by_hand.execute("BEGIN IMMEDIATE")
    assert ingest(store, LONG).exit_code == 8
    by_hand.close()
    store.set_archived("store_metrics", archived=True)
    assert ingest(store, LONG).exit_code == 5


def test_kinds_of_failure_over_a_service(tmp_path):
    """Stored; then no read-back, an unknown token, another account's data source, an archived one."""
    with started_service(tmp_path) as service:
        reach = ["--data-source", "store_metrics", "--url", service.url]
        with_token = {"TEMPORIS_TOKEN": service.token}
        assert run("ingest", "-", *reach, stdin=LONG, **with_token).exit_code == 0
        assert len(content(service.store)) == 2
        read = run("read", *reach, **with_token)
        assert (read.exit_code, "temporis read --url URL-OF-ITS-STORE" in read.stderr) == (2, True)
        assert run("ingest", "-", *reach, stdin=LONG, TEMPORIS_TOKEN="ts_unknown").exit_code == 6
        assert run("ingest", "-", *reach, stdin=LONG).exit_code == 6
        other = service.store.of_account("other").tokens.create("x")
        assert run("ingest", "-", *reach, stdin=LONG, TEMPORIS_TOKEN=other).exit_code == 4
        service.store.set_archived("store_metrics", archived=True)
        assert run("ingest", "-", *reach, stdin=LONG, **with_token).exit_code == 5


def test_an_error_that_is_not_of_the_tree_is_not_hidden(monkeypatch):
    """A bug keeps its traceback; only what we raise on purpose becomes a paragraph."""
    monkeypatch.setattr(SqlStore, "data_sources", lambda _: 1 / 0)
    assert isinstance(run("sources", "list", "--store", "sqlite:///x.db").exception, ZeroDivisionError)


def test_an_interrupted_upsert_says_what_was_stored(store, monkeypatch):
    """Ctrl-C: the report goes to stderr, and the exit code is not 0."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SqlStore, "upsert", interrupted)
    done = ingest(store, LONG)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Interrupted. store_metrics: 2 observations of 2 series (2 unsent)" in done.stderr
    said = json.loads(ingest(store, LONG, "--json").stdout)
    assert (said["unsent"], said["error"]["kind"], said["error"]["exit_code"]) == (2, "KeyboardInterrupt", 1)


# As a process


def shell(*arguments: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "temporis_dagster.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, **variables}, check=False)


def test_it_is_a_process_like_any_other(store):
    """Bytes in, bytes out, UTF-8 in every locale; nothing on stderr in a pipe."""
    text = "timestamp,name,value\n1718870400,größe,1\n".encode()
    at = ["--data-source", "store_metrics", "--url", store.url]
    done = shell("ingest", "-", *at, stdin=text, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell("read", *at, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == "timestamp,name,value\n2024-06-20T08:00:00Z,größe,1.0\n".encode()


def test_help_loads_nothing_heavy():
    """Completion and help answer at once: they import neither pandas nor SQLAlchemy nor a server."""
    code = (
        "import sys, temporis_dagster.cli; print(*{'pandas', 'sqlalchemy', 'starlette', 'dagster'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_script_is_declared():
    """``temporis`` is what the package installs."""
    declared = [entry for entry in entry_points(group="console_scripts") if entry.name == "temporis"]
    if not declared:
        pytest.skip("this package is not installed here, or an older one is")
    assert declared[0].load() is main


def test_serve_prints_its_url_and_serves(store):
    """It prints the URL once it answers; the log on stderr has a line per request; Ctrl-C ends it with 0."""
    token = store.tokens.create("laptop")
    service = ServiceProcess(store.url)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", service.url)
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{service.url}/v1/data_sources/ingest", json=ingest_of((0, "a", 1)), headers=headers)
    assert answer.status_code == 204
    assert service.stop(signal.SIGINT) == 0
    log = "".join(service.complaints)
    assert "POST '/v1/data_sources/ingest' 204" in log
    assert "Traceback" not in log
    assert token not in log


def test_serve_refuses_an_address_that_is_taken(store):
    """Exit code 2 and one paragraph."""
    service = ServiceProcess(store.url)
    done = shell("serve", "--store", store.url, "--port", service.url.rsplit(":", 1)[1])
    service.stop()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Choose another port" in done.stderr
    assert b"Traceback" not in done.stderr


def test_serve_without_the_extra(store, monkeypatch):
    """Exit code 2, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "temporis_dagster.service", None)
    done = run("serve", "--store", store.url)
    assert (done.exit_code, "temporis-dagster[service]" in done.stderr) == (2, True)


def test_serve_metrics_without_the_extra(store, monkeypatch):
    """Exit code 2 before anything is served, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "temporis_dagster.service.metrics", None)
    done = run("serve", "--store", store.url, "--metrics")
    assert (done.exit_code, "temporis-dagster[metrics]" in done.stderr) == (2, True)


def test_a_reader_that_stops_early_is_no_traceback(store):
    """``temporis read | head`` ends without a traceback."""
    ingest(store, "timestamp,name,value\n" + "".join(f"{second},a,1\n" for second in range(20_000)))
    command = [
        sys.executable,
        "-m",
        "temporis_dagster.cli",
        "read",
        "--data-source",
        "store_metrics",
        "--url",
        store.url,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_the_output_is_what_the_runner_saw(store):
    """A guard of this file: an error of the tree that a command raises never reaches the runner."""
    done = ingest(store, "timestamp,name,value\n0,a,inf\n")
    assert not isinstance(done.exception, TemporisError)
    assert io.StringIO(done.stderr).read().startswith("Error: ")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--url", "ftp://x"], "Pass --url http://127.0.0.1:8008"),
    (["--url", "https://127.0.0.1:1"], "pass --token, or set TEMPORIS_TOKEN"),
    (["--url", "https://ts_x@127.0.0.1:1", "--token", "ts_x"], "set TEMPORIS_TOKEN"), ([], "Pass --url"),
    (["--url", "http://192.0.2.1", "--token", "ts_x"], "open a tunnel"),
    (["--url", "http://127.0.0.1:1/v1", "--token", "ts_x"], "/v1"),
    (["--url", "{tls}", "--token", "ts_x"], "set SSL_CERT_FILE to the file"),
    (["--url", "http://127.0.0.1:1", "--token", "ts_x", "--give-up-after", "0.01"], "--give-up-after 0.01"),
    (["--url", "http://127.0.0.1:1", "--token", "ts_x", "--account", "b"], "Leave out the account"),
    (["--url", "sqlite:///x.db", "--mirror", "sqlite:///m.db"], "Leave out --mirror"),
    (["--url", "http://127.0.0.1:1", "--on-unavailable", "queue"], "pass --mirror"),
    (["--url", "sqlite://"], "sqlite:///"),
])  # fmt: skip
def test_advice_about_the_connection_is_spelled_as_options(plain_server, arguments, words):
    """No message of a command advises an argument of Python, or an option that the command lacks."""
    arguments = [argument.format(tls=plain_server) for argument in arguments]
    done = run("ingest", "-", "--data-source", "store_metrics", *arguments, stdin=LONG)
    assert (done.exit_code in (1, 2, 8), words in done.stderr) == (True, True)
    assert "Traceback" not in done.stderr
    assert not re.search(r"\b[a-z_]+=", done.stderr)
    known = {name for option in ingest_command.params for name in option.opts}
    assert set(re.findall(r"--[a-z][a-z-]*", done.stderr)) <= known


@pytest.fixture
def plain_server():
    """An https URL of a service that does not speak TLS."""
    with FakeService() as service:
        yield service.url.replace("http:", "https:")
