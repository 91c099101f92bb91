"""What notebooks show: small tables, escaped, without secrets, and without asking a server or waiting for a lock."""

from __future__ import annotations

import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from temporis_dagster import DataSourceArchivedError, InvalidObservationsError, RejectedObservationsError, connect
from temporis_dagster.data_source.report import MOST_LISTED
from temporis_dagster.data_source.store.sqlite.glance import glance_at
from temporis_dagster.data_source.target import Glance
from temporis_dagster.testing import FakeService, sample_frame
from tests.conftest import CANARY
from tests.support.every_error import EVERY_ERROR

HOSTILE = ["<script>alert('orders')</script>", "\"quoted\" & 'single'", "emoji 🚲 and 電", "</td></table><img src=x>"]
ELEMENTS = {"p", "b", "table", "thead", "tbody", "tr", "th", "td"}
LARGEST = 20_000


class Shown(HTMLParser):
    """The elements, attributes and texts of what a notebook shows."""

    def __init__(self, shown):
        super().__init__()
        self.elements, self.attributes, self.styles, self.text = set(), set(), set(), ""
        self.feed(shown._repr_html_())

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles |= {value for name, value in attrs if name == "style"}

    def handle_endtag(self, tag):
        if tag in ("p", "tr", "th", "td"):
            self.text += " "

    def handle_data(self, data):
        self.text += data


def shown(thing):
    html, parsed = thing._repr_html_(), Shown(thing)
    assert len(html) < LARGEST
    assert parsed.elements <= ELEMENTS
    assert parsed.attributes <= {"style", "colspan"}
    assert not any("color" in style or "background" in style or "url" in style for style in parsed.styles)
    return " ".join(parsed.text.split())


@pytest.fixture
def source(store_url):
    with connect(store_url) as temporis:
        yield temporis.data_source("store_metrics")


def refused(source, frame, **options):
    with pytest.raises(InvalidObservationsError) as caught:
        source.upsert(frame, **options)
    return caught.value


@pytest.mark.parametrize("name", HOSTILE)
def test_the_name_of_a_series_is_text_wherever_it_is_shown(source, name):
    """In an error, a report, a plan: what stands in a name never becomes markup, and it is shown as it is."""
    frame = pd.DataFrame({"timestamp": [0, 60, 120], "name": name, "value": [1.0, 2.0, float("inf")]})
    plain = " ".join(name.split())
    assert plain in shown(refused(source, frame.astype({"value": object}).assign(value=["a", name, 3.0])))
    assert plain in shown(source.upsert(frame, on_invalid="drop"))
    assert plain in shown(source.plan(frame.head(2).assign(value=7.0)))


def test_a_report_shows_the_outcomes_that_there_are_and_what_they_mean(source):
    """Counts of outcomes, the range of time, the first of the rows that were left out."""
    frame = pd.DataFrame({"timestamp": [0, 60, 60], "name": "orders", "value": [41.0, 42.0, 43.0]})
    text = shown(source.upsert(frame))
    assert text.startswith("store_metrics: 3 observations of 1 series, from 1970-01-01T00:00:00Z to")
    assert "stored 2" in text
    assert "superseded 1 a later row had the same timestamp and name, 1 of them by another value" in text
    assert "dropped" not in text
    assert "nothing to do" in shown(source.upsert(frame.head(0)))
    assert "unsent 3 not stored by this call" in shown(source.check(frame.assign(timestamp=[0, 60, 120])))
    many = pd.DataFrame({"timestamp": range(MOST_LISTED + 2), "name": "orders", "value": float("inf")})
    text = shown(source.upsert(many.head(7), on_invalid="drop"))
    assert "dropped 7 invalid, so left out" in text
    assert "and 2 more rows in .dropped_rows" in text
    assert "position" not in shown(source.upsert(many, on_invalid="drop"))


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_every_error_shows_its_class_its_message_and_its_report(error):
    """What the traceback says, and below it what became of the observations."""
    text = shown(error)
    assert text.startswith(f"{type(error).__name__}: {error}")
    assert ("unsent 2" in text) is (getattr(error, "report", None) is not None)


def test_an_error_about_rows_shows_the_first_of_them(source):
    """Position, label, column, value and reason, as in .rows, and how many more there are."""
    text = shown(refused(source, sample_frame(24).assign(orders=float("inf"))))
    assert "position label column value reason" in text
    assert "0 2024-06-20T00:00:00Z orders inf" in text
    assert "and 19 more rows in .rows" in text


def test_rows_that_the_service_rejected_are_shown_with_its_words():
    """The report of the error has them, escaped as well: the service may quote what it was sent."""

    def fault_of(record):
        return "<b>too much</b>" if record["value"] > 22 else None

    with FakeService(fault_of=fault_of) as service, connect(service.url, service.token) as temporis:
        with pytest.raises(RejectedObservationsError) as caught:
            temporis.data_source("store_metrics").upsert(sample_frame(24))
        text = shown(caught.value)
    assert "rejected 3 refused by the service, one by one" in text
    assert "<b>too much</b>" in text


def test_a_data_source_in_a_file_shows_what_is_known_at_once(source, store_url):
    """Where it is, whether it takes observations, how many series it has and from when to when they go."""
    assert "state active series 0" in shown(source)
    source.upsert(sample_frame(24))
    text = shown(source)
    assert text.startswith(f"store_metrics: a data source at {source.url} state active series 2")
    assert text.endswith("first 2024-06-20T00:00:00Z last 2024-06-20T23:00:00Z")
    source.archive()
    assert "state archived" in shown(source)
    with connect(store_url, dry_run=True) as dry:
        assert "dry run everything is checked, and nothing is written" in shown(dry.data_source("store_metrics"))
        assert "state does not exist yet" in shown(dry.data_source("nowhere"))
    with pytest.raises(DataSourceArchivedError) as caught:
        source.upsert(sample_frame(2))
    assert "unsent 4" in shown(caught.value)


def test_showing_a_data_source_makes_no_file_and_waits_for_no_lock(tmp_path, url):
    """A file that is missing, locked, or something else: what is known without it is shown, at once."""
    with connect(url) as temporis:
        source = temporis.data_source("store_metrics")
        assert shown(source) == f"store_metrics: a data source at {source.url}"
        assert list(tmp_path.iterdir()) == []
        source = temporis.create_data_source("store_metrics")
    other = sqlite3.connect(tmp_path / "temporis.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    assert shown(source) == f"store_metrics: a data source at {source.url}"
    other.close()
    Path(tmp_path / "temporis.db").write_text("Something else.")
    assert shown(source) == f"store_metrics: a data source at {source.url}"


def test_a_glance_ends_in_time(source, tmp_path):
    """On a slow disk, many series are not counted; the state is known nevertheless."""
    source.upsert(pd.DataFrame({"timestamp": 0, "name": [f"series_{number}" for number in range(500)], "value": 1.0}))
    path = tmp_path / "temporis.db"
    assert glance_at(path, "default", "store_metrics") == Glance(series=500, first=0, last=0)
    assert glance_at(path, "default", "store_metrics", within_s=-1.0) == Glance()


def test_showing_a_data_source_of_a_service_sends_nothing_and_hides_the_token(tmp_path):
    """No request, no token; what is in a mirror can be read, and what is not cannot."""
    with FakeService(token=CANARY) as service:
        with connect(service.url, CANARY) as temporis:
            text = shown(temporis.data_source("store_metrics"))
        assert text == (
            f"store_metrics: a data source at {service.url}"
            " reading not over HTTP; connect with mirror= to read what you send"
        )
        mirror = f"sqlite:///{tmp_path}/mirror.db"
        with connect(service.url, CANARY, mirror=mirror) as temporis:
            assert shown(temporis.data_source("store_metrics")).endswith(f"at {service.url} mirror {mirror}")
        assert service.requests == []
    assert list(tmp_path.iterdir()) == []


def test_showing_a_data_source_on_a_server_asks_nothing_and_hides_the_password():
    """The server is never asked: this one does not answer."""
    pytest.importorskip("psycopg")
    with connect("postgresql+psycopg://me:pass-word@192.0.2.1:5433/metrics?options=-csecret") as temporis:
        text = shown(temporis.data_source("store_metrics"))
    assert text == "store_metrics: a data source at postgresql+psycopg://192.0.2.1:5433/metrics"
