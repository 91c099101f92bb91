"""connect, Temporis and DataSource over a store, in SQLite and in PostgreSQL: the face of notebooks and cron jobs."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest

from temporis_dagster import (
    ArchiveState,
    ConfigurationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    InvalidObservationsError,
    TemporisError,
    connect,
)
from temporis_dagster.data_source.observations import observe

HOURS = pd.date_range("2024-06-20", periods=4, freq="h", tz="UTC")
FRAME = pd.DataFrame({"orders": [1.0, 2, 3, 4], "revenue": [1.5, None, 3.5, 4.5]}, index=HOURS)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The URL of a store that does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def temporis(url):
    with connect(url) as temporis:
        temporis.create_data_source("store_metrics")
        yield temporis


@pytest.fixture
def source(temporis):
    return temporis.data_source("store_metrics")


def test_what_goes_in_comes_out_and_goes_in_again_for_free(source):
    """After upsert, read and upsert again: the same frame, nothing written the second time, the same digest."""
    report = source.upsert(FRAME)
    assert (report.observations_in, report.stored, report.series) == (7, 7, 2)
    assert report.first_timestamp == HOURS[0]
    assert report.last_timestamp == HOURS[-1]
    digest, back = source.content_digest(), source.read()
    assert back.name.tolist() == ["orders", "revenue", "orders", "orders", "revenue", "orders", "revenue"]
    assert (
        back.pivot(index="timestamp", columns="name", values="value").to_numpy()[[0, 2, 3]].tolist()
        == FRAME.to_numpy()[[0, 2, 3]].tolist()
    )
    again = source.upsert(back)
    assert (again.stored, again.unchanged) == (0, 7)
    assert source.content_digest() == digest


def test_a_correction_overwrites_and_a_vanished_row_stays(source):
    """upsert never deletes."""
    source.upsert(FRAME)
    report = source.upsert(pd.Series([10.0], index=HOURS[:1], name="orders"))
    assert (report.stored, report.unchanged) == (1, 0)
    assert len(source.read()) == 7
    assert source.read(names="orders").value.tolist() == [10.0, 2, 3, 4]


def test_reads_are_half_open_and_exact_to_the_second(source):
    """[start, end), by aware datetimes of any zone or Unix seconds; a fraction of a second is not rounded away."""
    source.upsert(FRAME)
    first = int(HOURS[0].timestamp())
    berlin = timezone(timedelta(hours=2))
    assert source.read(HOURS[1], HOURS[3]).timestamp.unique().tolist() == HOURS[1:3].tolist()
    assert len(source.read(datetime(2024, 6, 20, 3, tzinfo=berlin), names=["orders"])) == 3
    assert len(source.read(first, first + 1)) == 2
    assert len(source.read(HOURS[0] + pd.Timedelta("1ns"), HOURS[1] + pd.Timedelta("1ns"), ["orders"])) == 1
    assert source.read(names=[]).empty
    assert source.read(names=["no such series"]).dtypes.equals(source.read().dtypes)


def test_bounds_may_be_any_moment_python_knows(source):
    """The ends of time, in whatever zone, are bounds like any other."""
    source.upsert(FRAME)
    west, east = timezone(timedelta(hours=-5)), timezone(timedelta(hours=5))
    assert len(source.read(datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west))) == 7


@pytest.mark.parametrize("bound", [datetime(2024, 6, 20), "2024-06-20", 1.5, pd.NaT, True], ids=str)
def test_a_bound_that_is_not_an_instant_is_refused(source, bound):
    """A naive or textual bound would silently shift the window."""
    with pytest.raises(ConfigurationError, match=r"^start(=.* has no time zone| must be an aware datetime)"):
        source.read(bound)


def test_names_that_are_not_strings_are_refused(source):
    """A number is not a series."""
    with pytest.raises(ConfigurationError, match="names"):
        source.read(names=[1])
    with pytest.raises(ConfigurationError, match="names"):
        source.read(names=5)


def test_archived_refuses_writes_keeps_data_and_can_be_undone(source):
    """Archiving stops ingestion and nothing else."""
    source.upsert(FRAME)
    source.ensure_writable()
    source.archive()
    assert source.archive_state() is ArchiveState.ARCHIVED
    for write in (lambda: source.upsert(FRAME), source.ensure_writable):
        with pytest.raises(DataSourceArchivedError, match="store_metrics") as raised:
            write()
        assert raised.value.report.stored == 0
    assert len(source.read()) == 7
    source.unarchive()
    assert source.archive_state() is ArchiveState.ACTIVE
    assert source.upsert(FRAME).unchanged == 7


def test_a_missing_data_source_is_one_clear_error_everywhere(temporis):
    """Every use of a data source that was never created raises this error, and creates nothing."""
    missing = temporis.data_source("nowhere")
    for use in (
        lambda: missing.upsert(FRAME),
        missing.read,
        missing.archive_state,
        missing.archive,
        missing.content_digest,
    ):
        with pytest.raises(DataSourceNotFoundError, match="nowhere"):
            use()
    assert temporis.data_sources() == ["store_metrics"]


def test_create_missing_creates_at_the_first_upsert(url):
    """With create_missing=True a laptop needs no set-up step."""
    with connect(url, create_missing=True) as temporis:
        assert temporis.data_source("store_metrics").upsert(FRAME).stored == 7
        assert temporis.data_sources() == ["store_metrics"]


def test_accounts_never_see_each_other(url):
    """The same name in another account is another data source."""
    with connect(url, account="a") as a, connect(url, account="b") as b:
        a.create_data_source("store_metrics").upsert(FRAME)
        assert b.data_sources() == []
        b.create_data_source("store_metrics")
        assert b.data_source("store_metrics").read().empty


@pytest.mark.parametrize("name", ["Store-Metrics", "2024data", "", "a" * 49, "a b", "ä", "a\n", None, 5])
def test_a_name_no_data_source_can_have_is_refused_before_any_io(temporis, name):
    """The contract's rule for names is checked first."""
    with pytest.raises(ConfigurationError, match="lowercase letter"):
        temporis.data_source(name)


def test_a_dry_run_checks_everything_and_writes_nothing(url):
    """Branch deployments and staging run the same code without a trace."""
    with connect(url) as temporis:
        temporis.create_data_source("store_metrics")
    with connect(url, dry_run=True) as dry:
        source = dry.create_data_source("store_metrics")
        report = source.upsert(FRAME)
        assert (report.unsent, report.stored, report.dry_run) == (7, 0, True)
        assert "dry run" in str(report)
        source.archive()
        assert source.archive_state() is ArchiveState.ACTIVE
        assert source.read().empty
        with pytest.raises(InvalidObservationsError):
            source.upsert(FRAME.assign(orders=float("inf")))


def test_check_makes_the_checks_of_upsert_and_sends_nothing(source):
    """check() is upsert() without sending, with the same errors."""
    report = source.check(FRAME)
    assert (report.observations_in, report.unsent) == (7, 7)
    assert source.read().empty
    with pytest.raises(InvalidObservationsError, match="for 'store_metrics'"):
        source.check(FRAME.assign(orders=float("inf")))
    assert source.check(FRAME.assign(orders=float("inf")), on_invalid="drop").dropped == 4
    with pytest.raises(ConfigurationError, match="layout"):
        source.check(FRAME, layout="tall")


def test_bad_rows_leave_the_store_exactly_as_it_was(source):
    """With one invalid row, nothing is sent; if it is dropped, the rest is stored and the report counts both."""
    source.upsert(FRAME)
    digest, bad = source.content_digest(), FRAME.assign(orders=[9.0, 9, 9, float("inf")])
    with pytest.raises(InvalidObservationsError):
        source.upsert(bad)
    assert source.content_digest() == digest
    report = source.upsert(bad, on_invalid="drop")
    assert (report.stored, report.unchanged, report.dropped) == (3, 3, 1)
    assert report.dropped_rows.label.tolist() == [(HOURS[3], "orders")]


def test_observations_checked_before_are_taken_as_they_are(source):
    """A surface that looked at the observations first need not have them checked twice."""
    assert source.upsert(observe(FRAME)).stored == 7


def test_an_empty_frame_sends_nothing(temporis):
    """Nothing to send is not an error, even for a data source that does not exist yet."""
    report = temporis.data_source("nowhere").upsert(FRAME.iloc[:0])
    assert (report.observations_in, report.requests, report.first_timestamp) == (0, 0, None)


def test_progress_adds_up_to_what_was_settled(source, capsys):
    """A function is called at each step; True draws a bar on stderr; by default nothing is printed."""
    steps = []
    source.upsert(FRAME, progress=steps.append)
    assert sum(steps) == 7
    source.upsert(FRAME)
    assert capsys.readouterr() == ("", "")
    source.upsert(FRAME, progress=True)
    assert "store_metrics" in capsys.readouterr().err


def test_a_report_is_one_line_in_a_session_and_a_table_in_a_notebook(source):
    """The last expression of a cell or a prompt shows what happened, not twenty fields."""
    report = source.upsert(FRAME)
    assert repr(report) == f"<UpsertReport {report}>"
    assert "7 observations of 2 series (7 stored)" in repr(report)
    assert re.search("<td[^>]*>stored</td><td[^>]*>7</td>", report._repr_html_())


def test_a_closed_connection_opens_again_when_it_is_used(source, temporis):
    """close() lets go; it does not forbid."""
    source.upsert(FRAME)
    temporis.close()
    assert len(source.read()) == 7


def test_an_interrupted_upsert_hands_on_its_report(source):
    """After Ctrl-C in the middle, the exception goes on unchanged, with the exact report on it."""
    frame = pd.DataFrame({"timestamp": range(300_000), "name": "a", "value": 1.0})

    def interrupt(_settled):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        source.upsert(frame, progress=interrupt)
    report = raised.value.report
    assert report.stored + report.unknown + report.unsent == 300_000
    assert report.stored == len(source.read()) > 0


def test_the_url_comes_from_the_environment_and_is_shown_absolute(tmp_path, monkeypatch):
    """TEMPORIS_URL is read when connect() is called; a relative path is resolved once and shown absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORIS_URL", "sqlite:///here.db")
    temporis = connect()
    monkeypatch.chdir("/")
    source = temporis.create_data_source("store_metrics")
    assert temporis.url == source.url == f"sqlite:///{tmp_path}/here.db"
    assert (tmp_path / "here.db").exists()
    assert repr(source) == f"DataSource('store_metrics', 'sqlite:///{tmp_path}/here.db')"


def test_no_url_is_an_error_that_shows_how(monkeypatch):
    """Without a URL anywhere, the message says what to pass and what to set."""
    monkeypatch.delenv("TEMPORIS_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"url='sqlite:///temporis\.db'.*TEMPORIS_URL"):
        connect()


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@db/x", "no url", "sqlite://", "sqlite:///:memory:", "sqlite:x.db"]
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_a_password(url):
    """The error names what is wrong and how to do it right; whatever else the URL holds stays out of it."""
    with pytest.raises(TemporisError) as raised:
        connect(url).create_data_source("store_metrics")
    assert isinstance(raised.value, ConfigurationError)
    assert "hunter2" not in str(raised.value)
