"""``temporis mirror``: what it prints, and what it does."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from temporis_dagster import connect
from temporis_dagster.cli import main
from temporis_dagster.testing import FakeService, answer, in_sequence, sample_frame

BAD = 7.25


@pytest.fixture
def service():
    with FakeService(fault_of=lambda record: "too odd" if record["value"] == BAD else None) as running:
        yield running


@pytest.fixture
def run(service, tmp_path):
    settings = {
        "TEMPORIS_URL": service.url,
        "TEMPORIS_TOKEN": service.token,
        "TEMPORIS_MIRROR": f"sqlite:///{tmp_path}/mirror.db",
    }
    return lambda *arguments, **changed: CliRunner().invoke(main, ["mirror", *arguments], env=settings | changed)


@pytest.fixture
def backlog(service, tmp_path):
    """48 rows that could not be delivered, one of which the service will refuse."""
    service.archive("store_metrics")
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    with connect(service.url, service.token, mirror=mirror, on_unavailable="queue") as temporis:
        assert temporis.data_source("store_metrics").upsert(sample_frame()).pending == 48
    service.archive("store_metrics", archived=False)


def test_status_tells_what_is_pending(run, backlog):
    """One line per data source; JSON has all parts."""
    line = run("status").stdout
    assert line.startswith("store_metrics\t48 pending since 20")
    assert "archived" in line
    (row,) = json.loads(run("status", "--json").stdout)
    assert (row["data_source"], row["pending"], row["rejected"]) == ("store_metrics", 48, 0)


def test_flush_delivers(run, backlog, service):
    """The report on stdout; the refused row is kept and can be listed, retried and discarded."""
    assert "47 stored, 1 rejected" in run("flush").stdout
    assert len(service.content) == 47
    header, row = run("rejected", "--data-source", "store_metrics").stdout.splitlines()
    assert header == "timestamp,name,value,reason,rejected_at"
    assert row.startswith("2024-06-20T07:00:00Z,revenue,7.25,")
    assert run("retry-rejected").stdout == "store_metrics\t1 pending again\n"
    assert json.loads(run("flush", "--json", "--no-wait").stdout)["rejected"] == 1
    assert run("discard-rejected").stdout == "store_metrics\t1 discarded\n"
    assert run("status").stdout == "store_metrics\t0 pending\t0 rejected\n"


def test_flush_fails_as_upserts_do(run, backlog, service):
    """The report, then the exit code of the error."""
    service.archive("store_metrics")
    result = run("flush")
    assert (result.exit_code, "48 pending" in result.stdout) == (5, True)


def test_rebuild_sends_everything_to_a_new_service(run, backlog):
    """The mirror is bound to the new service, which the next flush fills."""
    run("flush")
    with FakeService() as new:
        assert run("status", TEMPORIS_URL=new.url).exit_code == 1
        assert run("rebuild", TEMPORIS_URL=new.url).stdout == "47 pending\n"
        assert "47 stored" in run("flush", TEMPORIS_URL=new.url).stdout
        assert len(new.content) == 47


def test_rebind_takes_a_new_token(run, backlog, service):
    """Nothing is sent again, and the old token is refused from then on."""
    before = len(service.requests)
    assert run("rebind", TEMPORIS_TOKEN="ts_new").exit_code == 0
    assert run("status", TEMPORIS_TOKEN="ts_new").exit_code == 0
    refused = run("status")
    assert (refused.exit_code, "rebind" in refused.stderr) == (1, True)
    assert len(service.requests) == before


def test_a_file_that_is_no_mirror_is_left_alone(run, tmp_path):
    """rebind and rebuild refuse an embedded data source."""
    url = f"sqlite:///{tmp_path}/other.db"
    with connect(url) as temporis:
        temporis.create_data_source("mine")
    for command in ("rebind", "rebuild", "status"):
        assert "is no mirror" in run(command, TEMPORIS_MIRROR=url).stderr


@pytest.mark.parametrize("command", [
    ["status"], ["status", "--json"], ["flush"], ["rejected", "--data-source",
    "a"], ["retry-rejected"], ["discard-rejected"],
    ["discard-pending", "--data-source", "a", "--yes"], ["rebuild"], ["rebind"],
])  # fmt: skip
@pytest.mark.parametrize("made_by", [None, "touch"])
def test_a_slip_in_the_path_makes_no_mirror(run, tmp_path, command, made_by):
    """No file is created or bound, and cron notices: exit code 4, also for an empty file."""
    if made_by:
        (tmp_path / "typo.db").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run(*command, TEMPORIS_MIRROR=f"sqlite:///{tmp_path}/typo.db", TEMPORIS_TOKEN="")
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"There is no mirror at sqlite:///{tmp_path}/typo.db. Check the URL" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "command", ["status", "flush", "rejected", "retry-rejected", "discard-rejected", "discard-pending"]
)
def test_a_slip_in_the_name_makes_no_data_source(run, backlog, command):
    """The message lists the names that the mirror has."""
    result = run(command, "--data-source", "store_metric", *(["--yes"] if command == "discard-pending" else []))
    assert (result.exit_code, result.stdout) == (4, "")
    assert "no data source 'store_metric'. It has store_metrics." in result.stderr
    assert run("status").stdout.count("\n") == 1


@pytest.mark.parametrize("ending", ["\n", "\r\n", " ", "\t"])
def test_a_line_break_after_a_setting_is_no_part_of_it(run, backlog, service, tmp_path, ending):
    """URL, token and mirror may come from files that end in one."""
    settings = {
        "TEMPORIS_URL": service.url + ending,
        "TEMPORIS_TOKEN": ending + service.token + ending,
        "TEMPORIS_MIRROR": f" sqlite:///{tmp_path}/mirror.db{ending}",
    }
    assert run("status", **settings).stdout.startswith("store_metrics\t48 pending")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("mirror.db")].count("mirror.db") == 1
    assert run("status", TEMPORIS_MIRROR=ending).exit_code == 2


# Ingest through the mirror

LONG = "timestamp,name,value\n1718870400,orders,42\n1718870400,revenue,7.25\n"


@pytest.fixture
def ingest(service, tmp_path):
    """``temporis ingest`` from stdin, with nothing but the environment and the options that are given."""
    settings = {"TEMPORIS_URL": service.url, "TEMPORIS_TOKEN": service.token}

    def run(*options: str, stdin: str = LONG, **changed: str):
        arguments = ["ingest", "-", "--data-source", "store_metrics", *options]
        return CliRunner().invoke(main, arguments, input=stdin, env={"TEMPORIS_MIRROR": None} | settings | changed)

    return run


@pytest.mark.parametrize("by", ["option", "variable"])
def test_ingest_keeps_rows_in_the_mirror_before_it_sends_them(ingest, service, tmp_path, by):
    """They can be read back; a refused one is listed, kept with its reason, and shown by the exit code."""
    url = f"sqlite:///{tmp_path}/mirror.db"
    options, variables = (["--mirror", url], {}) if by == "option" else ([], {"TEMPORIS_MIRROR": url})
    done = ingest(*options, "--invalid-rows", str(tmp_path / "bad.csv"), **variables)
    assert (done.exit_code, "rejected 1 of 2" in done.stderr) == (7, True)
    assert "too odd" in (tmp_path / "bad.csv").read_text()
    settings = {"TEMPORIS_URL": service.url, "TEMPORIS_TOKEN": service.token, "TEMPORIS_MIRROR": url}
    read = CliRunner().invoke(main, ["read", "--data-source", "store_metrics"], env=settings)
    assert read.stdout == "timestamp,name,value\n2024-06-20T08:00:00Z,orders,42.0\n"
    slip = CliRunner().invoke(main, ["read", "--data-source", "store_metric"], env=settings)
    assert (slip.exit_code, slip.stdout, "It has store_metrics." in slip.stderr) == (4, "", True)
    status = CliRunner().invoke(main, ["mirror", "status"], env=settings)
    assert status.stdout == "store_metrics\t0 pending\t1 rejected\n"


@pytest.mark.parametrize(("option", "codes"), [("raise", (8, 5)), ("queue", (0, 0))])
def test_ingest_loses_nothing_while_the_service_is_away(ingest, service, tmp_path, option, codes):
    """The rows are in the mirror whatever the exit code, and the next ingest delivers them; also if it is archived."""
    mirror = ["--mirror", f"sqlite:///{tmp_path}/mirror.db", "--on-unavailable", option]
    service.state.script = in_sequence(*[answer(503, "busy", retry_after=3600)] * 9)
    done = ingest(*mirror, "--json")
    assert (done.exit_code, json.loads(done.stdout)["pending"]) == (codes[0], 2)
    assert done.exit_code == 0 or "2 are kept in the mirror for a later upsert or flush" in done.stderr
    service.state.script = lambda _: None
    service.archive("store_metrics")
    done = ingest(*mirror, stdin="timestamp,name,value\n60,orders,1\n")
    assert done.exit_code == codes[1]
    service.archive("store_metrics", archived=False)
    assert ingest(*mirror, stdin="timestamp,name,value\n120,orders,1\n").exit_code == 0
    assert (1718870400, "orders") in {(second, name) for _, second, name in service.content}


def test_ingest_through_a_mirror_says_what_to_do_on_the_command_line(ingest, service, tmp_path):
    """Another account's mirror, an archived source: the advice is spelled as options and commands."""
    mirror = ["--mirror", f"sqlite:///{tmp_path}/mirror.db"]
    assert ingest(*mirror, stdin="timestamp,name,value\n0,orders,1\n").exit_code == 0
    other = ingest(*mirror, TEMPORIS_TOKEN="ts_other")
    assert (other.exit_code, "`temporis mirror rebind`" in other.stderr) == (1, True)
    service.archive("store_metrics")
    assert ingest(*mirror, stdin="timestamp,name,value\n0,orders,2\n").exit_code == 5
    known = ingest(*mirror, stdin="timestamp,name,value\n0,orders,3\n")
    assert (known.exit_code, "with --on-unavailable queue." in known.stderr) == (5, True)


def test_a_store_needs_no_mirror(ingest, tmp_path):
    """TEMPORIS_MIRROR does not apply to an embedded data source; the option --mirror is refused."""
    url = f"sqlite:///{tmp_path}/temporis.db"
    with connect(url) as temporis:
        temporis.create_data_source("store_metrics")
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    assert ingest("--url", url, TEMPORIS_MIRROR=mirror).exit_code == 0
    done = ingest("--url", url, "--mirror", mirror)
    assert (done.exit_code, "Leave out --mirror" in done.stderr) == (2, True)
    done = ingest("--on-unavailable", "queue")
    assert (done.exit_code, "--on-unavailable queue needs a mirror" in done.stderr) == (2, True)
    assert not (tmp_path / "mirror.db").exists()


def test_a_check_makes_no_mirror(ingest, tmp_path):
    """Nor does a file that is refused, or a read."""
    mirror = ["--mirror", f"sqlite:///{tmp_path}/mirror.db"]
    assert ingest(*mirror, "--check").exit_code == 0
    assert ingest(*mirror, stdin="timestamp,name,value\n0,a,x\n").exit_code == 3
    read = CliRunner().invoke(main, ["read", "--data-source", "store_metrics", "--url", "http://127.0.0.1:1", *mirror])
    assert (read.exit_code, "There is no mirror at" in read.stderr) == (4, True)
    assert list(tmp_path.iterdir()) == []
