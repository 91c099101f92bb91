"""Conflicts on every surface: the command line, the IO manager, components, the service's own ingest, the mirror."""

import io
import logging
from decimal import Decimal

import dagster as dg
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from temporis_dagster import (
    InvalidObservationsError,
    TemporisIOManager,
    TemporisResource,
    connect,
    data_source_spec,
    temporis_asset,
)
from temporis_dagster.cli import main
from temporis_dagster.data_source.observations import ObservationOptions, observe
from tests.support.component_tools import Project
from tests.support.dagster_harness import attempts, failure_of, materializations
from tests.support.service_fixture import content, ingest_of, started_service

pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

HOURS = [f"2024-06-20T0{hour}:00Z" for hour in range(4)]
TICKS = [f"2024-06-20T08:00:0{second}.{tick}Z" for second in range(3) for tick in range(5)]
AIRPORTS = list(enumerate(("EWR", "JFK", "LGA")))


def csv(header, rows):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def ticks(*further):
    """Five quotes a second, and what else a file has of each."""
    rows = [(at, "EUR", 1 + i / 1000, *(column(i) for column in further)) for i, at in enumerate(TICKS)]
    return csv(",".join(("timestamp,name,value", *(f"x{i}" for i in range(len(further))))), rows)


AIRPORTS_WIDE = csv("timestamp,origin,temp,wind", [(at, o, 20 + i, 2.5 * i) for at in HOURS for i, o in AIRPORTS])
AIRPORTS_LONG = csv("timestamp,type,origin,v", [(at, "temp", o, 20 + i) for at in HOURS for i, o in AIRPORTS])
LONG = ["--name", "type", "--value", "v"]
FLOOR = ["--sub-second", "floor"]

MERGED = {
    "an entity in text, wide, its column dropped": (AIRPORTS_WIDE, ["--on-invalid", "drop"], "origin"),
    "an entity in text, long": (AIRPORTS_LONG, LONG, "origin"),
    "an entity by number": (
        csv("timestamp,name,value,building", [(at, "kW", 20 + i, i) for at in HOURS for i in range(3)]),
        [],
        "building",
    ),
    "an entity by place": (
        csv("timestamp,name,value,lat", [(at, "temp", 20 + i, 40 + i / 3) for at in HOURS for i in range(3)]),
        [],
        "lat",
    ),
    "labels of a metric, one scrape": (
        csv("__name__,instance,timestamp,value", [("up", "a:5000", 60, 1), ("up", "b:9090", 60, 0)]),
        ["--name", "__name__"],
        "instance",
    ),
    "an entity that is missing in some rows": (
        csv("timestamp,name,value,origin", [(at, "t", i, o) for at in HOURS for i, o in enumerate(("EWR", ""))]),
        [],
        "origin",
    ),
    "revisions": (
        csv("timestamp,name,value,issued", [(at, "mw", i, f"2024-06-2{i}") for i in range(2) for at in HOURS]),
        [],
        "issued",
    ),
    "an entity among repeated rows": (AIRPORTS_LONG + AIRPORTS_LONG.split("\n", 1)[1], LONG, "origin"),
    "an entity whose clock went back for an hour": (
        csv("timestamp,type,origin,v", [(h * 3600, "temp", o, 20 + i) for h in range(200) for i, o in AIRPORTS])
        + "3600,temp,EWR,99\n",
        LONG,
        "origin",
    ),
    "two columns of which one is simpler": (
        csv("timestamp,type,origin,id,v", [(at, "t", o, f"{o}-{at[12]}", i) for at in HOURS[:2] for i, o in AIRPORTS]),
        LONG,
        "origin",
    ),
    "ticks of two symbols": (ticks(lambda i: "ab"[i % 5 > 2] if i % 5 in (2, 3) else f"c{i % 5}"), FLOOR, "x0"),
}


def ingested(tmp_path, text, *arguments, suffix=".csv"):
    """(the finished command, what is stored, the rows of --invalid-rows)."""
    url, file, bad = f"sqlite:///{tmp_path}/temporis.db", tmp_path / f"file{suffix}", tmp_path / "bad.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with connect(url) as temporis:
        source = temporis.create_data_source("src")
        options = ["--data-source", "src", "--url", url, "--invalid-rows", str(bad), *arguments]
        done = CliRunner().invoke(main, ["ingest", str(file), *options])
        return done, source.read(), pd.read_csv(bad)


@pytest.mark.parametrize(("text", "arguments", "column"), MERGED.values(), ids=MERGED)
def test_the_command_line_refuses_a_file_of_several_things_and_names_the_column(tmp_path, text, arguments, column):
    """Nothing is stored until it is said that the last row of each is enough; then it is, with a warning."""
    done, stored, bad = ingested(tmp_path, text, *arguments)
    assert done.exit_code == 3, done.output
    assert f"The column {column!r}, which is not used, tells them apart" in done.stderr
    assert "--on-conflict last" in done.stderr
    assert stored.empty
    assert bad["reason"].str.contains("has the same timestamp and name, and the value").any()
    done, stored, _ = ingested(tmp_path, text, *arguments, "--on-conflict", "last")
    assert done.exit_code == 0, done.output
    assert "Warning: " in done.stderr
    assert column in done.stderr
    assert len(stored)
    assert ingested(tmp_path, text, *arguments, "--on-conflict", "raise")[0].exit_code == 3


WARNED = {
    "ticks of a second": (ticks(), FLOOR),
    "ticks with a trade's number": (ticks(lambda i: 7000 + i), FLOOR),
    "ticks of one second with a trade's number": (
        csv("timestamp,name,value,id", [(at, "EUR", i, i) for i, at in enumerate(TICKS[:5])]),
        FLOOR,
    ),
    "ticks with a trade's text": (ticks(lambda i: f"T{i * 7919:x}"), FLOOR),
    "ticks with another price": (ticks(lambda i: 1.5 + i / 1000), FLOOR),
    "ticks with a size": (ticks(lambda i: (i * i) % 4 * 100), FLOOR),
    "ticks with sizes that all differ": (ticks(lambda i: (i % 5 + 1) * 100), FLOOR),
    "two ticks with two sizes": (
        csv("timestamp,name,value,size", [(at, "EUR", i, 100 + i % 2) for i, at in enumerate(TICKS[:2] + TICKS[5:7])]),
        FLOOR,
    ),
    "ticks with the moment of arrival": (ticks(lambda i: f"2024-06-20T08:00:{10 + i}Z"), FLOOR),
    "an hour twice": (csv("timestamp,name,value", [(0, "a", 1), (3600, "a", 2), (3600, "a", 3)]), []),
    "a column that tells only some apart": (
        csv(
            "timestamp,name,value,origin",
            [(at, "a", i, o) for at in HOURS for i, o in enumerate("XYY" if at == HOURS[0] else "X")],
        ),
        [],
    ),
    "a column that is the same everywhere": (
        csv("timestamp,name,value,unit", [(0, "a", 1, "MW"), (0, "a", 2, "MW")]),
        [],
    ),
    "zeros of both signs": (csv("timestamp,name,value", [(0, "a", "0.0"), (0, "a", "-0.0")]), []),
    "wide rows with a number as a series": (csv("timestamp,building,kwh", [(0, 1, 1.5), (0, 2, 2.5)]), []),
}


@pytest.mark.parametrize(("text", "arguments"), WARNED.values(), ids=WARNED)
def test_the_command_line_warns_of_other_conflicts_and_stores_the_last(tmp_path, text, arguments):
    """Everyday traffic is stored with exit 0; the warning, the summary and the file of rows say what was not."""
    done, stored, bad = ingested(tmp_path, text, *arguments)
    assert done.exit_code == 0, done.output
    assert "Warning: " in done.stderr
    assert "--on-conflict raise" in done.stderr
    assert "by another value" in done.stdout
    assert len(bad) + len(stored) == observe_count(text)
    refused, _, _ = ingested(tmp_path, text, *arguments, "--on-conflict", "raise")
    assert refused.exit_code == 3


def test_most_rows_of_a_file_are_lost_only_on_request(tmp_path):
    """Also where no column tells all of them apart. Ticks that are cut to whole seconds on request are everyday."""
    text = csv("timestamp,name,value,origin", [(at, "a", i, o) for at in HOURS for i, o in enumerate("XYY")])
    done, stored, bad = ingested(tmp_path, text)
    assert (done.exit_code, len(stored), len(bad)) == (3, 0, 8)
    assert "If a column tells them apart" in done.stderr
    done, stored, _ = ingested(tmp_path, text, "--on-conflict", "last")
    assert (done.exit_code, len(stored)) == (0, 4)


def test_an_entity_that_was_left_out_is_not_hidden_by_ticks(tmp_path):
    """Most rows are lost because of the column that was left out, not because of the fractions of seconds."""
    rows = [(f"{at}", o, i) for at in HOURS for i, o in AIRPORTS]
    done, stored, _ = ingested(tmp_path, csv("timestamp,origin,t", rows), "--exclude", "origin", *FLOOR)
    assert (done.exit_code, len(stored)) == (3, 0)
    assert "The column 'origin', which is not used, tells them apart" in done.stderr


def observe_count(text):
    """Observations of a file: rows of a long one, cells of a wide one."""
    header, *rows = text.strip().split("\n")
    return len(rows) * (1 if "value" in header else header.count(","))


def test_repeated_rows_are_no_news_on_the_command_line(tmp_path):
    """A row that is there twice loses nothing: no warning, exit 0, also where conflicts are refused."""
    rows = [(f"2026-06-01T{hour:02}:00Z", "a", hour, "X") for hour in range(24)]
    text = csv("timestamp,name,value,origin", [*rows, ("2026-06-01T00:00Z", "a", 0, "Y")])
    done, stored, bad = ingested(tmp_path, text, "--on-conflict", "raise")
    assert (done.exit_code, done.stderr, len(stored), len(bad)) == (0, "", 24, 0)


def test_the_command_line_looks_into_parquet_as_well(tmp_path):
    """The column, or the index that was not used, is named."""
    frame = pd.read_csv(io.StringIO(AIRPORTS_LONG), parse_dates=["timestamp"])
    for made, named in ((frame, "The column 'origin'"), (frame.set_index("origin"), "The index")):
        done, stored, _ = ingested(tmp_path, made.to_parquet(), *LONG, suffix=".parquet")
        assert (done.exit_code, len(stored)) == (3, 0)
        assert named in done.stderr


def test_python_warns_and_names_the_column(caplog):
    """Python stores the last row of each by default, and its warning has the column, too."""
    frame = pd.read_csv(io.StringIO(AIRPORTS_LONG), parse_dates=["timestamp"])
    with caplog.at_level(logging.WARNING, logger="temporis_dagster"):
        observations = observe(frame, ObservationOptions(name="type", value="v"))
    assert (len(observations), observations.conflicts) == (4, 8)
    (record,) = caplog.records
    assert "'origin'" in record.getMessage()


STRANGE = {
    "lists": pd.Series([["x"], ["y"], ["z"]]),
    "a list outside the conflict": pd.Series(["x", "y", ["z"]], dtype=object),
    "arrays": pd.Series([np.array([1, 2]), np.array([1]), np.array([3])]),
    "lists of Arrow": pd.Series([[1], [2], [3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "structs of Arrow": pd.Series([{"a": 1}, {"a": 2}, {"a": 3}], dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
    "signalling NaN": pd.Series([Decimal("sNaN"), Decimal(1), Decimal(2)], dtype=object),
    "nothing": pd.Series([pd.NA, None, np.nan], dtype=object),
}


@pytest.mark.parametrize("column", STRANGE.values(), ids=STRANGE)
def test_what_an_unused_column_holds_never_stops_an_upsert(column):
    """It is only looked at to name it; one whose cells cannot be compared is not named."""
    frame = pd.DataFrame({"timestamp": [0, 0, 60], "name": "a", "value": [1.0, 2.0, 3.0]})
    frame["tags"] = column
    observations = observe(frame)
    assert (len(observations), observations.conflicts) == (2, 1)
    assert observations.superseded_rows.told_apart_by is None


CONFLICTING = pd.DataFrame(
    {"orders": [1.0, 2.0, 2.0, 5.0]}, index=pd.to_datetime(["2024-06-20 08:00"] * 3 + ["2024-06-20 09:00"], utc=True)
)


@pytest.fixture
def run(tmp_path):
    """Materialize an asset that returns the conflicting frame; the run's result and what is stored."""
    url = f"sqlite:///{tmp_path}/temporis.db"

    def materialize(*, metadata=None, options=None, output_metadata=None, **arguments):
        @temporis_asset(data_source="src", name="orders", metadata=metadata, **arguments)
        def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
            context.add_output_metadata(output_metadata or {})
            return CONFLICTING

        temporis = TemporisResource(url=url, create_missing=True)
        with dg.DagsterInstance.ephemeral() as instance, connect(url) as connection:
            result = dg.materialize(
                [data_source_spec("src"), orders],
                selection=[orders],
                resources={"temporis_io_manager": TemporisIOManager(temporis=temporis, **(options or {}))},
                instance=instance,
                raise_on_error=False,
            )
            stored = connection.data_source("src").read() if result.success else None
            warned = [e.user_message for e in instance.all_logs(result.run_id) if e.level == logging.WARNING]
            return result, stored, warned

    return materialize


def test_an_asset_with_conflicts_warns_in_the_runs_log_and_shows_them(run):
    """The write stands, and the run shows how many values were not stored, and the first of them."""
    result, stored, warned = run()
    assert stored.value.tolist() == [2.0, 5.0]
    (metadata,) = materializations(result, "orders").values()
    assert (metadata["temporis/superseded"], metadata["temporis/conflicts"], metadata["temporis/conflict_count"]) == (
        2,
        1,
        1,
    )
    (record,) = metadata["temporis/conflict_rows"].records
    assert (record.data["position"], record.data["value"]) == (0, "1.0")
    (said,) = [line for line in warned if "another value" in line]
    assert "temporis/on_conflict='raise'" in said


@pytest.mark.parametrize(
    "how",
    [
        {"on_conflict": "raise"},
        {"metadata": {"temporis/on_conflict": "raise"}},
        {"output_metadata": {"temporis/on_conflict": "raise"}},
        {"options": {"on_conflict": "raise"}},
    ],
    ids=["argument", "metadata", "output", "IO manager"],
)
def test_an_asset_can_refuse_conflicts(run, how):
    """In each of the places where an option may be said; a retry would meet them again, so there is none."""
    result, _, _ = run(retry_policy=dg.RetryPolicy(max_retries=2), **how)
    assert not result.success
    data = failure_of(result).event_specific_data.user_failure_data
    assert attempts(result) == 1
    assert data.metadata["temporis/invalid_count"].value == 1
    assert "temporis/on_conflict='last'" in data.description


@pytest.mark.parametrize("on_conflict", [None, "last", "raise"])
def test_a_component_takes_the_option(tmp_path, on_conflict):
    """YAML says it as an attribute; a query without its entity is warned of or refused like any frame."""
    with sa.create_engine(f"sqlite:///{tmp_path}/w.db", poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("CREATE TABLE load (at INTEGER, zone TEXT, mw REAL)"))
        connection.execute(sa.text("INSERT INTO load VALUES (1718870400, 'DE', 1.5), (1718870400, 'FR', 2.5)"))
    query = "SELECT at AS timestamp, 'load' AS name, mw AS value, zone FROM load ORDER BY zone"
    sql = {"url": f"sqlite:///{tmp_path}/w.db", "query": query}
    with Project(tmp_path, {"sql": sql, **({"on_conflict": on_conflict} if on_conflict else {})}) as project:
        result = project.run(raise_on_error=False)
        assert result.success == (on_conflict != "raise")
        if on_conflict == "raise":
            assert "'zone'" in failure_of(result).event_specific_data.user_failure_data.description
        else:
            (metadata,) = materializations(result, "load").values()
            assert metadata["temporis/conflicts"] == 1


def test_the_service_stores_the_last_of_two_records_with_one_key(tmp_path):
    """The API takes such a request, as the vendor's crawlers send them, and the last record wins."""
    with started_service(tmp_path) as service:
        records = [(60, "up", 1.0), (60, "up", 2.0), (0, "up", 5.0), (60, "up", -0.0)]
        headers = {"Authorization": f"Bearer {service.token}"}
        answer = httpx.post(f"{service.url}/v1/data_sources/ingest", json=ingest_of(*records), headers=headers)
        assert answer.status_code == 204
        assert content(service.store) == {(60, "up"): -0.0, (0, "up"): 5.0}


def test_a_mirror_keeps_and_delivers_the_last_and_can_refuse(tmp_path):
    """What lost to a later row is in no batch; refused, nothing is in the mirror at all."""
    with (
        started_service(tmp_path) as service,
        connect(service.url, service.token, mirror=f"sqlite:///{tmp_path}/mirror.db") as temporis,
    ):
        source = temporis.data_source("store_metrics")
        with pytest.raises(InvalidObservationsError, match="another value"):
            source.upsert(CONFLICTING, on_conflict="raise")
        assert (source.pending().rows, len(source.read())) == (0, 0)
        report = source.upsert(CONFLICTING)
        assert (report.stored, report.superseded, report.conflicts, report.pending) == (2, 2, 1, 0)
        assert report.superseded_rows.position.tolist() == [0, 1]
        assert source.read().value.tolist() == [2.0, 5.0]
        assert sorted(content(service.store).values()) == [2.0, 5.0]


def test_a_large_frame_is_judged_by_all_of_its_rows(caplog):
    """Of many keys only some are looked at first; a column that fails for most of the others is not named."""
    hours, rows = 20_000, {"timestamp": [], "name": "temp", "value": [], "origin": [], "seen": []}
    for place, origin in AIRPORTS:
        rows["timestamp"] += [hour * 3600 for hour in range(hours)]
        rows["value"] += [hour % 97 + place / 8 for hour in range(hours)]
        rows["origin"] += [origin] * hours
        rows["seen"] += [f"{place if hour % 20 else 0}" for hour in range(hours)]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=1)
    for columns, named in ((["origin", "seen"], "origin"), (["seen"], None)):
        observations = observe(frame[["timestamp", "name", "value", *columns]])
        assert observations.conflicts == 2 * hours
        assert observations.superseded_rows.told_apart_by == named
