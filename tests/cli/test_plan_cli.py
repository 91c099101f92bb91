"""``temporis plan`` and ``temporis delete``: what they print, refuse and leave."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from temporis_dagster import connect
from temporis_dagster.cli.main import main
from temporis_dagster.cli.output import OutputError
from temporis_dagster.data_source.store import delete as store_delete
from temporis_dagster.testing import FakeService

HEADER = "timestamp,name,value\n"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The URL of a store with a data source of three rows; the command line runs next to it."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/temporis.db"
    with connect(url) as temporis:
        temporis.create_data_source("metrics")
    (tmp_path / "stored.csv").write_text(f"{HEADER}0,a,1\n60,a,2\n120,b,3\n")
    assert run("ingest", "stored.csv", "--data-source", "metrics", "--url", url).exit_code == 0
    return url


def run(*arguments, **given):
    return CliRunner().invoke(main, arguments, **given)


def planned(store, text, *options):
    Path("given.csv").write_text(HEADER + text, encoding="utf-8")
    return run("plan", "given.csv", "--data-source", "metrics", "--url", store, *options)


def rows_in(store):
    with connect(store) as temporis:
        return len(temporis.data_source("metrics").read())


def test_a_plan_says_what_would_change_and_writes_nothing(store):
    """Text on stdout: the counts, the series with changes, the largest of them, and the ghosts."""
    done = planned(store, "0,a,1\n60,a,2000\n180,c,1\n", "--start", "0", "--end", "3600")
    assert done.exit_code == 0, done.output
    assert "1 new, 1 changed, 1 unchanged" in done.stdout
    assert "from 2.0 to 2000.0 at 1970-01-01T00:01:00Z" in done.stdout
    assert rows_in(store) == 3


def test_json_of_a_plan_is_complete(store):
    """The counts, each series, the first ghosts, and no limit exceeded."""
    done = planned(store, "0,a,1\n120,a,2\n", "--json")
    made = json.loads(done.stdout)
    assert (made["new"], made["unchanged"], made["ghosts"], made["stored"], made["exceeded"]) == (1, 1, 1, 2, [])
    assert made["ghost_rows"] == [{"series": "a", "timestamp": "1970-01-01T00:01:00+00:00", "value": 2.0}]
    assert [row["series"] for row in made["series"]] == ["a"]


def test_a_plan_beyond_its_limits_fails(store):
    """Exit code 1, with a sentence for each limit; the plan is printed all the same."""
    done = planned(store, "0,a,1\n60,a,2000\n", "--max-shift", "0.5", "--max-changed", "0", "--max-ghosts", "1.0")
    assert done.exit_code == 1
    assert "max_changed is 0." in done.stderr
    assert "999 times the stored level" in done.stderr
    assert "max_ghosts" not in done.stderr
    assert "1 changed" in done.stdout


@pytest.mark.parametrize(
    ("option", "given"),
    [("--max-changed", "2.5"), ("--max-changed", "-1"), ("--max-ghosts", "x"), ("--max-shift", "0")],
)
def test_a_limit_that_cannot_be_one_is_refused(store, option, given):
    """Exit code 2, before the file is read."""
    done = run("plan", "stored.csv", "--data-source", "metrics", "--url", store, option, given)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_the_cloud_cannot_be_planned_for_but_a_mirror_can(store, tmp_path):
    """Without a mirror, exit code 2 and the way out; with one, what went through it is compared."""
    with FakeService() as service:
        given = ("--data-source", "store_metrics", "--url", service.url, "--token", service.token)
        done = run("plan", "stored.csv", *given)
        assert done.exit_code == 2
        assert "--mirror" in done.stderr
        mirrored = (*given, "--mirror", f"sqlite:///{tmp_path}/mirror.db")
        assert run("ingest", "stored.csv", *mirrored).exit_code == 0
        done = run("plan", "stored.csv", *mirrored)
    assert done.exit_code == 0, done.output
    assert "3 unchanged" in done.stdout


def test_a_delete_says_how_many_and_asks(store):
    """Without --yes and without an answer, nothing is deleted and the exit code is 1."""
    given = ("delete", "--data-source", "metrics", "--store", store, "--name", "a", "--start", "1970-01-01T00:01Z")
    done = run(*given)
    assert done.exit_code == 1
    assert "1 observation of data source 'metrics' is about to be deleted." in done.stderr
    assert rows_in(store) == 3
    assert run(*given, input="y\n").stdout.endswith("metrics\t1 deleted\n")
    assert rows_in(store) == 2
    done = run(*given, "--yes", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"data_source": "metrics", "deleted": 0})


def test_a_delete_without_a_bound_needs_to_be_told_so(store):
    """The refusal spells options, and --everything takes no bounds."""
    given = ("delete", "--data-source", "metrics", "--store", store, "--yes")
    done = run(*given)
    assert done.exit_code == 2
    assert "--everything" in done.stderr
    assert run(*given, "--everything", "--end", "60").exit_code == 2
    assert run(*given, "--start", "2024-06-20").exit_code == 2
    done = run(*given, "--start", "1970-01-02T00:00Z", "--end", "0")
    assert done.exit_code == 2
    assert "ends before it begins" in done.stderr
    assert rows_in(store) == 3
    assert run(*given, "--everything").stdout == "metrics\t3 deleted\n"
    assert rows_in(store) == 0


def test_an_archived_data_source_is_left_alone(store):
    """Exit code 5."""
    run("sources", "archive", "metrics", "--store", store)
    assert run("delete", "--data-source", "metrics", "--store", store, "--everything", "--yes").exit_code == 5
    assert rows_in(store) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no notes on exceptions")
def test_an_interrupted_delete_says_how_many_rows_are_gone(store, monkeypatch):
    """Ctrl-C: the number goes to stderr, and the exit code is not 0."""
    monkeypatch.setattr(store_delete, "CHUNK_ROWS", 2)
    committed, calls = store_delete.StoreDelete._commit, itertools.count(1)

    def interrupted(self, connection, deleted):
        if next(calls) == 2:
            raise KeyboardInterrupt
        committed(self, connection, deleted)

    monkeypatch.setattr(store_delete.StoreDelete, "_commit", interrupted)
    done = run("delete", "--data-source", "metrics", "--store", store, "--everything", "--yes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "The delete was interrupted. Before that, 2 observations were deleted." in done.stderr
    assert rows_in(store) == 1


def test_a_delete_says_how_many_rows_are_gone_even_if_stdout_is_full(store, monkeypatch):
    """The number goes to stderr: it cannot be found out later."""

    def full(_):
        raise OutputError("Standard output cannot be written: No space left on device.")

    monkeypatch.setattr("temporis_dagster.cli.delete.say", full)
    done = run("delete", "--data-source", "metrics", "--store", store, "--everything", "--yes")
    assert done.exit_code == 1
    assert "3 observations were deleted." in done.stderr


def test_a_number_of_thousands_of_digits_is_refused_like_any_other_text(store):
    """Python refuses to convert it, which is no reason for a traceback."""
    done = planned(store, "0,a,1\n", "--start", "9" * 5000)
    assert done.exit_code == 2
    assert "--start must be a time with an offset" in done.stderr
