"""Settings with white space around them: the same URL, token and file as without."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from click.testing import CliRunner

from temporis_dagster import ConfigurationError, TemporisResource, connect
from temporis_dagster.cli import main
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.testing import FakeService, sample_frame

LONG = "timestamp,name,value\n1718870400,orders,42\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove the settings of the machine that runs the tests."""
    for name in ("TEMPORIS_URL", "TEMPORIS_TOKEN", "TEMPORIS_STORE", "TEMPORIS_MIRROR"):
        monkeypatch.delenv(name, raising=False)


AROUND = [
    ("", "\n"),
    ("", "\r\n"),
    ("", " "),
    (" ", ""),
    ("\n", "\n"),
    ("\t", "\t"),
    ("", "\n\n"),
    ("\u00a0", "\u2028"),
]


@pytest.mark.parametrize(("before", "after"), AROUND)
@pytest.mark.parametrize("through", ["argument", "environment", "resource", "store", "option", "variable"])
def test_a_file_is_the_same_with_white_space_around_its_url(tmp_path, monkeypatch, before, after, through):
    """No second file is opened, on any surface."""
    plain = f"sqlite:///{tmp_path}/temporis.db"
    with closing(SqlStore(plain)) as store:
        store.create_data_source("a")
    url = f"{before}{plain}{after}"
    if through == "argument":
        with connect(url) as temporis:
            assert temporis.data_sources() == ["a"]
    elif through == "environment":
        monkeypatch.setenv("TEMPORIS_URL", url)
        with connect() as temporis:
            assert temporis.data_sources() == ["a"]
    elif through == "resource":
        with closing(TemporisResource(url=url)) as resource:
            assert resource.connection.data_sources() == ["a"]
    elif through == "store":
        assert SqlStore(url).url == plain
    else:
        said = {"TEMPORIS_STORE": url} if through == "variable" else {}
        listed = CliRunner().invoke(main, ["sources", "list", *([] if said else ["--store", url])], env=said)
        assert (listed.exit_code, listed.output) == (0, "a\tactive\n")
        options = [] if said else ["--url", url]
        arguments = ["ingest", "-", "--data-source", "a", *options]
        done = CliRunner().invoke(main, arguments, input=LONG, env={"TEMPORIS_URL": url} if said else {})
        assert (done.exit_code, done.stderr) == (0, "")
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {"temporis.db"}


@pytest.mark.parametrize(("before", "after"), AROUND)
def test_a_service_is_the_same_with_white_space_around_url_token_and_mirror(tmp_path, monkeypatch, before, after):
    """Secret files end in a line break: the token is the same, also to the mirror that knows its fingerprint."""
    with FakeService() as service:
        mirror = f"sqlite:///{tmp_path}/mirror.db"
        with connect(service.url, service.token, mirror=mirror) as temporis:
            temporis.data_source("store_metrics").upsert(sample_frame())
        around = {"url": service.url, "token": service.token, "mirror": mirror}
        around = {name: f"{before}{text}{after}" for name, text in around.items()}
        with connect(**around) as temporis:
            assert len(temporis.data_source("store_metrics").read()) == 48
        with closing(TemporisResource(**around)) as resource:
            assert len(resource.data_source("store_metrics").read()) == 48
        monkeypatch.setenv("TEMPORIS_URL", around["url"])
        monkeypatch.setenv("TEMPORIS_TOKEN", around["token"])
        with connect() as temporis:
            assert temporis.data_source("store_metrics").upsert(sample_frame()).stored == 48
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"mirror.db"}


@pytest.mark.parametrize("blank", [" ", "\n", "\t \r\n"])
def test_a_setting_of_white_space_is_none(monkeypatch, blank):
    """An empty variable counts as not set; an empty argument is refused, and never means the cloud."""
    for name in ("TEMPORIS_URL", "TEMPORIS_TOKEN"):
        monkeypatch.setenv(name, blank)
    with pytest.raises(ConfigurationError, match="no URL to connect to"):
        connect()
    with pytest.raises(ConfigurationError, match="no URL to connect to"):
        connect(blank, "ts_x")
    with pytest.raises(ConfigurationError, match="access token"):
        connect("http://127.0.0.1:1", blank)
    for option in ("--url", "--token"):
        arguments = ["ingest", "-", "--data-source", "a", "--url", "http://127.0.0.1:1", option, blank]
        done = CliRunner().invoke(main, arguments, input=LONG)
        assert (done.exit_code, "It must not be empty" in done.stderr) == (2, True)


@pytest.mark.parametrize("token", ["ts_a b", "ts_a\nb", "'ts_ab'", "\ufeffts_ab", "Bearer ts_ab"])
def test_white_space_inside_a_token_is_refused_without_showing_it(token):
    """Only the white space around it is removed."""
    with pytest.raises(ConfigurationError) as error:
        connect("http://127.0.0.1:1", token)
    assert "ts_a" not in str(error.value)
    arguments = ["ingest", "-", "--data-source", "a", "--url", "http://127.0.0.1:1", "--json"]
    done = CliRunner().invoke(main, arguments, input=LONG, env={"TEMPORIS_TOKEN": token})
    assert (done.exit_code, "ts_a" not in done.output) == (2, True)
    assert json.loads(done.stdout)["error"]["kind"] == "ConfigurationError"
