"""The benchmarks run, and the page shows what they measured. How fast anything is, no test asserts."""

from __future__ import annotations

import gc
import json

import pytest

from benchmarks import frames, results
from benchmarks.harness import Given, Goal, Table, Turn, in_turns, scripts, tables_of

pytestmark = [pytest.mark.once, pytest.mark.no_cover]

ROWS = 2_000
FIGURES = {"rate": "rows", "ratio": "wall_s", "processor_ratio": "processor_s"}
"""What a column of a table is made of, where it is not a figure itself."""
OF_POSTGRES = {"dashboard", "memory", "mirror", "plan", "postgres", "streams"}


@pytest.fixture(scope="module")
def own_postgres():
    """A server of which the scripts are superuser."""
    from tests.support.postgres_server import PrivatePostgres

    with PrivatePostgres() as server:
        yield server


@pytest.fixture
def collected():
    """What the test run holds is left out of garbage collections, of which there is one before each measurement."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("script", scripts())
def test_every_script_runs_and_its_goals_are_about_its_ways(script, request):
    """On a few rows, each way does its work and finds what it stored; so a script cannot rot until someone needs it."""
    postgres = request.getfixturevalue("own_postgres").url() if script in OF_POSTGRES else None
    for table in tables_of(script, Given(rows=ROWS, rounds=1, smoke=True, postgres=postgres)):
        found = json.loads(json.dumps(table.as_json()))
        assert table.found or table.left_out
        assert not [why for why in table.left_out.values() if "failed" in why]
        assert all(table.found.values()), "each way has measured something"
        assert table.title in results.markdown(found)
        figures = {name for steps in table.found.values() for rounds in steps.values() for name in rounds[0]}
        assert {FIGURES.get(column, column) for column in table.columns} <= figures
        for goal in found["goals"]:
            ways = {goal["way"], goal["over"] or goal["way"], goal["above"] or goal["way"]}
            assert ways <= table.found.keys() | table.left_out.keys()
            assert results.goal_values(found, goal) or ways & table.left_out.keys()


def test_a_ratio_is_taken_within_a_round_and_by_speed():
    """A machine that is slow for a while slows both; a peer that gets fewer rows is compared by rows per second."""
    table = Table("t", "T", base="slow", goals=[Goal(1, "speed", "fast", "step", at_least=3, over="slow")])
    walls = iter([8.0, 1.0, 2.0, 0.5])
    ways = {
        name: lambda turn, rows=rows: turn.note("step", {"rows": rows, "wall_s": next(walls), "processor_s": 1.0})
        for name, rows in {"fast": 100, "slow": 50}.items()
    }
    found = in_turns(table, ways, 1).as_json()
    assert results.ratios(found, "fast", "step", "slow", "wall_s") == [0.25]
    assert "| **no** |" in results.goals({"s": {"tables": [found]}})


def test_a_peer_that_fails_is_left_out_and_the_library_is_not():
    """A run of all scripts loses one line of one table to a client that does not start, and says why."""

    def fails(_: Turn) -> None:
        raise OSError("no such host")

    table = Table("t", "T", peers={"theirs": "as documented"})
    in_turns(table, {"ours": lambda turn: turn.note("step", {"wall_s": 1.0}), "theirs": fails}, 2)
    assert table.left_out == {"theirs": "it failed with OSError: no such host"}
    assert len(table.found["ours"]["step"]) == 2
    with pytest.raises(OSError, match="no such host"):
        in_turns(Table("t", "T"), {"ours": fails}, 1)


def test_a_goal_that_could_not_be_measured_is_not_reached():
    """Without its peer, a line says so instead of nothing."""
    table = Table("t", "T", base="peer", goals=[Goal(1, "speed", "ours", "step", at_least=3, over="peer")])
    in_turns(table, {"ours": lambda turn: turn.note("step", {"wall_s": 1.0})}, 1)
    assert "not measured" in results.goals({"s": {"tables": [table.as_json()]}})


def test_the_tables_of_the_page_are_the_committed_results():
    """No figure was edited by hand, and every table has its place: `python -m benchmarks tables` writes them."""
    page = results.PAGE.read_text()
    assert results.filled_page(page, results.read()) == page


def test_results_are_replaced_script_by_script_and_whole(tmp_path):
    """A run that ends early keeps what it has found, and what others found before."""
    path = tmp_path / "results.json"
    results.write({"store": {"tables": [], "machine": {}}}, path)
    results.write({**results.read(path), "delivery": {"tables": [{"x": 1 / 3}], "machine": {}}}, path)
    assert list(results.read(path)) == ["delivery", "store"]
    assert results.read(path)["delivery"]["tables"] == [{"x": 0.33333}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_the_frames_are_what_the_tables_say():
    """As many rows, of as many series, in the order of time, each key once; 1 % changed is 1 %."""
    frame = frames.long_frame(1_000)
    assert len(frame) == 1_000
    assert frame["name"].nunique() == frames.SERIES
    assert frame["timestamp"].is_monotonic_increasing
    assert not frame.duplicated(["timestamp", "name"]).any()
    assert (frames.partly_changed(frame)["value"] != frame["value"]).sum() == 10
