"""Provoke every message that docs/symptoms.md explains, for real, and render the page.

Comes in: an empty folder. Goes out: for each symptom the text that the code produces today, its cause and its cure.
Never: holds a message itself. After changing one, run ``python -m tests.support.symptoms`` and commit the page.
"""

import atexit
import logging
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import httpx
import pandas as pd
from click.testing import CliRunner
from dagster.components.testing.utils import component_defs

from temporis_dagster import (
    TemporisIngestComponent,
    TemporisIOManager,
    TemporisResource,
    build_archive_state_checks,
    build_gap_fill_sensor,
    build_series_checks,
    build_trailing_window_schedule,
    connect,
    data_source_spec,
    gated_selection,
    temporis_asset,
)
from temporis_dagster.cli import main
from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from temporis_dagster.data_source.store.sqlite import schema as sqlite_schema
from temporis_dagster.testing import FakeService, Script, answer, html_page, in_sequence
from tests.support.dagster_harness import failure_of, key_range
from tests.support.postgres_server import PrivatePostgres, _free_port
from tests.support.schedule_tools import utc, world_of
from tests.support.service_fixture import started_service

PAGE = Path(__file__).parents[2] / "docs" / "symptoms.md"
NOON = 1_718_884_800
"""2024-06-20 12:00 UTC."""
DAYS = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-07-01")
VARIABLES = ("TEMPORIS_URL", "TEMPORIS_TOKEN", "TEMPORIS_STORE", "TEMPORIS_MIRROR")
PLACEHOLDERS = [
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:..."),
    (re.compile(r"\bport \d+ failed\b"), "port ... failed"),
    (re.compile(r"(?<=is not available, after )\d+(?= attempts)"), "..."),
    (
        re.compile(r"\bversion \d+, this library knows versions up to \d+"),
        "version ..., this library knows versions up to ...",
    ),
    (re.compile(r"\b(in|for up to|within) [\d.]+ (s|ms)\b"), r"\1 ... \2"),
    (re.compile(r"\b\d+ ms\b"), "... ms"),
    (re.compile(r"Python/[\d.]+"), "Python/..."),
    (re.compile(r"temporis-dagster/[\w.]+"), "temporis-dagster/..."),
    (re.compile(r"np\.int64\((\d+)\)"), r"\1"),
    (re.compile(r"Errno -?\d+"), "Errno ..."),
    (re.compile(r"python-httpx/[\w.]+"), "..."),
    (re.compile(r"\bt(ests|mp)\.support\.symptoms\b"), "my_project"),
    (re.compile(r"\bAssetSelection\(.*\)"), "AssetSelection(...)"),
]
OURS = re.compile(r"^ *(Value error, |temporis_dagster\.errors\.\w+: )| \[type=value_error.*")
"""What Dagster and pydantic put around our words; above them they print a traceback."""


def orders(*values: object, start: int = NOON) -> pd.DataFrame:
    """A long frame of one series, one observation per minute."""
    return pd.DataFrame({"timestamp": [start + 60 * i for i in range(len(values))], "name": "orders", "value": values})


def at(*moments: Any) -> pd.DataFrame:
    """A wide frame of one series with this index."""
    return pd.DataFrame({"orders": [float(i) for i in range(len(moments))]}, index=pd.Index(moments))


class Bench:
    """An empty folder, and every surface over it.

    Args:
        folder: Where stores, mirrors and files are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def store(self) -> str:
        """The URL of a store with the data source ``store_metrics``."""
        with connect(f"sqlite:///{self.folder}/temporis.db") as temporis:
            temporis.create_data_source("store_metrics")
            return temporis.url

    # Python

    def raises(self, call: Callable[..., object], *arguments: Any, **named: Any) -> str:
        """The message of the exception that a call raises."""
        try:
            call(*arguments, **named)
        except Exception as error:  # noqa: BLE001  whatever it is, the page shows it
            return str(error)
        raise AssertionError("nothing was raised")

    def upsert(self, frame: Any, **options: Any) -> str:
        """What an upsert into the store raises."""
        with connect(self.store) as temporis:
            return self.raises(temporis.data_source("store_metrics").upsert, frame, **options)

    def send(
        self,
        script: Script | None = None,
        *,
        frame: pd.DataFrame | None = None,
        service: Mapping[str, Any] | None = None,
        token: str | None = None,
        call: Callable[[Any], object] | None = None,
        path: str = "",
        **options: Any,
    ) -> str:
        """What an upsert, or another call, over HTTP raises."""
        with (
            FakeService(script=script, **(service or {})) as fake,
            connect(
                fake.url + path, token or fake.token, **{"give_up_after_s": 0.001, "timeout_s": 5.0, **options}
            ) as temporis,
        ):
            source = temporis.data_source("store_metrics")
            return self.raises(
                call or (lambda source: source.upsert(orders(41.0, 42.0) if frame is None else frame)), source
            )

    def logs(self, call: Callable[[], object], *, level: int = logging.INFO) -> str:
        """What the library logs during a call."""
        lines: list[str] = []

        class Keeping(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(record.getMessage())

        logger, handler = logging.getLogger("temporis_dagster"), Keeping(level)
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            call()
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)
        return "\n".join(lines)

    # The command line

    def command(self, *arguments: object, stdin: str | bytes | None = None, **variables: str) -> str:
        """What a command writes to stderr."""
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=variables)
        assert done.exit_code, done.output
        return done.stderr

    def ingest(self, text: str | bytes, *options: str, file: str = "sales.csv") -> str:
        """The message of ``temporis ingest`` about a file."""
        path = self.folder / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.command("ingest", path, "--data-source", "store_metrics", "--url", self.store, *options)

    # Dagster

    def resource(self, **options: Any) -> TemporisResource:
        """A resource over the store, or over what is given."""
        return TemporisResource(**{"url": self.store, **options})

    def run(self, *assets: Any, temporis: TemporisResource | None = None, **arguments: Any) -> "Run":
        """A run of the assets in this process."""
        return Run(self, assets, temporis or self.resource(), arguments)

    def returning(self, frame: Any, **arguments: Any) -> Any:
        """An asset that returns the frame."""

        @temporis_asset(**{"data_source": "store_metrics", "name": "sales", **arguments})
        def sales() -> Any:
            return frame

        return sales

    def component(self, **attributes: Any) -> str:
        """The message of a component with these attributes, when it is loaded."""

        def load() -> None:
            component = TemporisIngestComponent.from_attributes_dict(
                attributes={"data_source": "store_metrics", "asset": {"key": "orders"}, **attributes}
            )
            component_defs(component=component, resources={"temporis": self.resource()})

        lines = [line for line in self.raises(load).splitlines() if OURS.search(line)] or [self.raises(load)]
        return OURS.sub("", lines[-1])


class Run:
    """One run, and what it said.

    Args:
        bench: Where.
        assets: Which, the last one is the one of interest.
        temporis: The resource.
        arguments: For ``dagster.materialize``.
    """

    def __init__(self, bench: Bench, assets: tuple[Any, ...], temporis: TemporisResource, arguments: Any) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            self.result = dg.materialize(
                [data_source_spec("store_metrics"), *assets],
                selection=arguments.pop("selection", list(assets)),
                resources={"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)},
                instance=instance,
                raise_on_error=False,
                **arguments,
            )
            entries = instance.all_logs(self.result.run_id)
        self.lines = [
            entry.user_message
            for entry in entries
            if not entry.is_dagster_event and "store_metrics:" not in entry.user_message
        ]
        temporis.close()

    @property
    def failure(self) -> str:
        """Why the step failed."""
        data = failure_of(self.result).event_specific_data
        if data.user_failure_data:
            return str(data.user_failure_data.description)
        error = data.error.cause or data.error
        return str(error.message).partition(": ")[2]

    @property
    def check(self) -> str:
        """What the one check found."""
        (found,) = self.result.get_asset_check_evaluations()
        return str(found.description)


@dataclass(frozen=True)
class Symptom:
    """One message and what to do about it.

    Attributes:
        provoke: Makes it happen; returns what was said.
        cause: What is behind it.
        cure: What to do.
    """

    provoke: Callable[[Bench], str]
    cause: str
    cure: str


def archived(bench: Bench) -> str:
    """The URL of a store whose data source is archived."""
    with connect(bench.store) as temporis:
        temporis.data_source("store_metrics").archive()
        return temporis.url


def locked(bench: Bench) -> str:
    """The message of an upsert while another connection keeps the lock."""
    import sqlite3
    from contextlib import closing

    url = bench.store
    with (
        closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other,
        patch.object(sqlite_file, "BUSY_TIMEOUT_S", 0.05),
    ):
        other.execute("BEGIN IMMEDIATE")
        with connect(url) as temporis:
            return bench.raises(temporis.data_source("store_metrics").upsert, orders(1.0))


def taken_name(bench: Bench) -> str:
    """What is logged by opening a store from before there were views, next to a table that has the name of one."""
    import sqlite3
    from contextlib import closing

    steps = sqlite_schema.MIGRATIONS[: sqlite_schema.TABLES_VERSION]
    with patch.object(sqlite_schema, "MIGRATIONS", steps):
        url = bench.store
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TABLE temporis_v_series (name TEXT)")
    with connect(url) as temporis:
        return bench.logs(temporis.data_sources, level=logging.WARNING)


def unnoted_use(bench: Bench) -> str:
    """What is logged by looking up a token in a file that another program has locked."""
    import sqlite3
    from contextlib import closing

    from temporis_dagster.data_source.store import SqlStore

    with closing(SqlStore(bench.store)) as store:
        token = store.tokens.create("laptop")
        with closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            return bench.logs(lambda: store.tokens.find(token), level=logging.INFO)


def not_a_database(bench: Bench) -> str:
    """The message of a read from a text file."""
    (bench.folder / "notes.db").write_text("Shopping list: milk, bread. " * 100)
    with connect(f"sqlite:///{bench.folder}/notes.db") as temporis:
        return bench.raises(temporis.data_source("store_metrics").read)


@cache
def server() -> PrivatePostgres:
    """A PostgreSQL that asks for passwords, for as long as this process runs."""
    started = PrivatePostgres(password="a secret")
    started.__enter__()
    atexit.register(started.__exit__)
    started.execute("CREATE ROLE writer LOGIN PASSWORD 'right'")
    return started


@contextmanager
def in_postgres(*, password: str = "right", database: str = "metrics") -> Iterator[str]:
    """The URL of a role that may do everything but make or archive, in a database with ``store_metrics``."""
    with connect(_made()) as temporis:
        temporis.create_data_source("store_metrics")
    for grant in (
        "SELECT ON ALL TABLES IN SCHEMA public",
        "UPDATE ON temporis_data_source",
        "INSERT ON temporis_series",
    ):
        server().execute(f"GRANT {grant} TO writer", "metrics")
    yield server().url(database, username="writer", password=password)


def _made() -> str:
    """The administrator's URL of the database ``metrics``, made anew."""
    server().execute("DROP DATABASE IF EXISTS metrics WITH (FORCE)")
    server().execute("CREATE DATABASE metrics TEMPLATE template0 ENCODING 'UTF8'")
    return server().url("metrics")


def upsert_there(bench: Bench, **how: str) -> str:
    """What an upsert into PostgreSQL raises."""
    with in_postgres(**how) as url, connect(url) as temporis:
        return bench.raises(temporis.data_source("store_metrics").upsert, orders(1.0))


def away(bench: Bench) -> str:
    """The message of an upsert while the server is down."""
    url = f"postgresql+psycopg://writer@127.0.0.1:{_free_port()}/metrics"
    with connect(url, give_up_after_s=0.001) as temporis:
        return bench.raises(temporis.data_source("store_metrics").upsert, orders(1.0))


def waiting_for_the_server(bench: Bench) -> str:
    """What is logged by an upsert while the server is down."""
    url = f"postgresql+psycopg://writer@127.0.0.1:{_free_port()}/metrics"
    with connect(url, give_up_after_s=0.2) as temporis:
        source = temporis.data_source("store_metrics")
        return bench.logs(lambda: bench.raises(source.upsert, orders(1.0)), level=logging.WARNING).splitlines()[0]


def locked_there(bench: Bench) -> str:
    """The message of an upsert while another transaction keeps the data source locked."""
    with in_postgres() as url, server().connect("metrics") as other, other.transaction():
        other.execute("SELECT * FROM temporis_data_source FOR UPDATE")
        with connect(url, give_up_after_s=0.05) as temporis:
            return bench.raises(temporis.data_source("store_metrics").upsert, orders(1.0))


def newer_there(bench: Bench) -> str:
    """The message of a read from a store that a newer version wrote."""
    with in_postgres() as url:
        server().execute("UPDATE temporis_schema_version SET version = 99", "metrics")
        with connect(url) as temporis:
            return bench.raises(temporis.data_source("store_metrics").read)


def wrong_encoding(bench: Bench) -> str:
    """The message of the first use of a database that cannot hold every name."""
    server().execute("DROP DATABASE IF EXISTS metrics WITH (FORCE)")
    server().execute("CREATE DATABASE metrics TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with connect(server().url("metrics")) as temporis:
        return bench.raises(temporis.create_data_source, "store_metrics")


def unknown_option(bench: Bench) -> str:
    """The message of a URL with an option that libpq does not have."""
    return bench.raises(connect, "postgresql+psycopg://db.example.com/metrics?sslmod=require")


def mirrored(bench: Bench, script: Script | None = None, **options: Any) -> str:
    """What an upsert through a mirror raises."""
    return bench.send(script, mirror=f"sqlite:///{bench.folder}/mirror.db", **options)


def another_target(bench: Bench) -> str:
    """The message of a mirror that is used for a second service."""
    with FakeService() as one, connect(one.url, one.token, mirror=f"sqlite:///{bench.folder}/mirror.db") as temporis:
        temporis.data_source("store_metrics").upsert(orders(1.0))
    return mirrored(bench)


def full_mirror(bench: Bench) -> str:
    """The message of an upsert into a mirror whose limit is reached."""

    def twice(source: Any) -> None:
        bench.raises(source.upsert, orders(1.0, 2.0))
        source.upsert(orders(3.0, start=NOON + 3600))

    return mirrored(bench, lambda _request: answer(503, "busy"), max_pending_rows=2, call=twice)


def known_to_be_archived(bench: Bench) -> str:
    """The message of the second upsert into an archived data source."""

    def twice(source: Any) -> None:
        bench.raises(source.upsert, orders(1.0))
        source.upsert(orders(2.0))

    return mirrored(bench, service={"data_sources": {"store_metrics": True}}, call=twice)


def unknown_host(bench: Bench) -> str:
    """The message of an upsert to a host that no name server knows, with the defaults of ``connect``."""

    def lookup(*_arguments: object, **_named: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with (
        patch.object(socket, "getaddrinfo", lookup),
        connect("https://no-such-host.invalid", "ts_abc") as temporis,
    ):
        return bench.raises(temporis.data_source("store_metrics").upsert, orders(1.0))


def refused(record: Mapping[str, Any]) -> str | None:
    """The reason that a service might give for refusing a negative value."""
    return "value must not be negative" if record["value"] < 0 else None


def wrong_token_of_cli(bench: Bench) -> str:
    """The message of the command when the service does not know the token."""
    with FakeService() as service:
        return bench.command(
            "ingest", "-", "--data-source", "store_metrics", "--url", service.url,
            stdin="timestamp,name,value\n0,orders,1\n", TEMPORIS_TOKEN="ts_other",
        )  # fmt: skip


def reads_over_http(bench: Bench) -> str:
    """The message of an asset whose input would have to be read from a service."""

    @dg.asset
    def peak(sales: pd.DataFrame) -> None: ...

    sales = bench.returning(orders(1.0))
    with FakeService() as service:
        temporis = TemporisResource(url=service.url, token=service.token)
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"temporis_io_manager": TemporisIOManager(temporis=temporis), "temporis": temporis}
            result = dg.materialize([sales, peak], resources=resources, instance=instance, raise_on_error=False)
        temporis.close()
        return str(failure_of(result).event_specific_data.user_failure_data.description)


def never_materialized(bench: Bench) -> str:
    """The message of an input whose partition was never written."""

    @dg.asset(partitions_def=DAYS)
    def peak(sales: pd.DataFrame) -> None: ...

    sales = bench.returning(orders(1.0), partitions_def=DAYS)
    return bench.run(sales, peak, selection=[peak], partition_key="2024-06-20").failure


def overlapping(bench: Bench) -> str:
    """The message of the second of two static partitions that write the same rows."""
    sales = bench.returning(orders(1.0), partitions_def=dg.StaticPartitionsDefinition(["north", "south"]))
    temporis = bench.resource()
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"temporis_io_manager": TemporisIOManager(temporis=temporis)}
        for key in ("north", "south"):
            result = dg.materialize(
                [sales], partition_key=key, resources=resources, instance=instance, raise_on_error=False
            )
    temporis.close()
    return str(failure_of(result).event_specific_data.user_failure_data.description)


def ranged_with_partition_key(bench: Bench) -> str:
    """The message of Dagster to a body that asks a range for its one partition."""

    @temporis_asset(data_source="store_metrics", partitions_def=DAYS)
    def sales(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return orders(1.0) if context.partition_key else orders()

    return bench.run(sales, tags=key_range("2024-06-20", "2024-06-22")).failure


def run_of_red_check(bench: Bench) -> Run:
    """A run of the archive check of an archived data source."""
    url = archived(bench)
    (check,) = build_archive_state_checks(data_sources=["store_metrics"])
    selection = dg.AssetSelection.checks(check)
    return bench.run(check, temporis=TemporisResource(url=url), selection=selection)


def red_check(bench: Bench) -> str:
    """What the archive check of an archived data source found."""
    return run_of_red_check(bench).check


def blocked(bench: Bench) -> str:
    """The error of Dagster that ends a run in which an archive check failed."""
    return run_of_red_check(bench).failure


def stopped_by_the_check(bench: Bench) -> str:
    """What such a run logs."""
    (line,) = [line for line in run_of_red_check(bench).lines if line.startswith("The archive check")]
    return line


def unreadable_series(bench: Bench) -> str:
    """What a series check warns of where nothing can be read back."""
    sales = bench.returning(orders(1.0))
    (check,) = build_series_checks(assets=[sales], expected_series=["orders"])
    with FakeService() as service:
        temporis = TemporisResource(url=service.url, token=service.token)
        result = bench.run(sales, check, temporis=temporis, selection=dg.AssetSelection.assets(sales)).result
    (found,) = result.get_asset_check_evaluations()
    return str(found.metadata["temporis/warning"].value)


def tick_while_archived(bench: Bench) -> str:
    """Why a tick of the schedule was skipped."""
    with dg.instance_for_test() as instance:
        world, _ = world_of(instance, bench.folder, dg.DailyPartitionsDefinition("2024-06-01"))
        with connect(world.url) as temporis:
            temporis.data_source("grid").archive()
        return str(world.tick(build_trailing_window_schedule(target=world.asset, lookback=3), utc("2024-06-20T01:00")))


def tick_during_a_run(bench: Bench) -> str:
    """Why a tick of the schedule was skipped while a run was queued."""
    with dg.instance_for_test() as instance:
        world, _ = world_of(instance, bench.folder, dg.DailyPartitionsDefinition("2024-06-01"))
        run = world.at_work(key_range("2024-06-18", "2024-06-19"), dg.DagsterRunStatus.STARTED)
        schedule = build_trailing_window_schedule(target=world.asset, lookback=3)
        return str(world.tick(schedule, utc("2024-06-20T01:00"))).replace(run.run_id[:8], "...")


def given_up(bench: Bench) -> str:
    """The message of the gap sensor about a partition that failed in all its attempts."""
    with dg.instance_for_test() as instance:
        days = dg.DailyPartitionsDefinition("2024-06-01", end_date="2024-06-02")
        world, upstream = world_of(instance, bench.folder, days)
        upstream.broken.add("2024-06-01")
        sensor = build_gap_fill_sensor(
            target=world.asset, horizon=1, exclude_latest=0, max_attempts=1, clock=lambda: 2_000_000_000.0
        )
        requests = world.sense(sensor)
        assert not isinstance(requests, str)
        world.run(requests[0], sensor)
        return str(world.sense(sensor))


def misspelt(bench: Bench) -> str:
    """The message of the resource about an option that it does not have."""
    return bench.raises(TemporisResource, uri=bench.store)


def without_variable(_bench: Bench) -> str:
    """The message of the resource whose environment variable is not set."""
    temporis = TemporisResource(url=dg.EnvVar("SHOP_URL"))
    try:
        temporis.data_source("store_metrics")
    except Exception as error:  # noqa: BLE001  whatever it is, the page shows it
        return str(error)
    raise AssertionError("nothing was raised")


def static_schedule(bench: Bench) -> str:
    """The message of the schedule about partitions that are not windows of time."""
    zones = dg.StaticPartitionsDefinition(["north", "south"])
    sales = bench.returning(orders(1.0), partitions_def=zones)
    return bench.raises(build_trailing_window_schedule, target=sales, lookback=3, cron_schedule="0 * * * *")


def ungated(bench: Bench) -> str:
    """The message of the gate about an asset that does not depend on its data source."""

    @dg.asset(metadata={"temporis/data_source": "store_metrics"})
    def sales() -> None: ...

    return bench.raises(gated_selection, sales)


DAILY = {"key": "orders", "partitions_def": {"type": "daily", "start_date": "2024-06-01", "timezone": "UTC"}}
WINDOW = "SELECT at AS timestamp, items AS orders FROM orders WHERE at >= :start AND at < :end"


FAMILIES = [{"prefix": "output_kw_"}, {"prefix": "wind_ms_"}]


def fetched() -> pd.DataFrame:
    """What a component's function may return."""
    return orders(1.0)


def failing_query(bench: Bench) -> str:
    """The message of a run whose query names a table that does not exist."""
    return filled(bench, WINDOW, asset=DAILY, time_column={"stored_as": "epoch"})


def filled(bench: Bench, query: str, *, asset: Any = None, **sql: Any) -> str:
    """The message of a failed run of a component with a query."""
    component = TemporisIngestComponent.from_attributes_dict(
        attributes={
            "data_source": "store_metrics",
            "asset": asset or {"key": "orders"},
            "sql": {"url": f"sqlite:///{bench.folder}/warehouse.db", "query": query, **sql},
        }
    )
    temporis = bench.resource()
    resources = {"temporis": temporis, "temporis_io_manager": TemporisIOManager(temporis=temporis)}
    defs = component_defs(component=component, resources=resources)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey("orders")],
            partition_key="2024-06-01" if asset else None,
            instance=instance,
            raise_on_error=False,
        )
    temporis.close()
    return str(failure_of(result).event_specific_data.user_failure_data.description)


def service_log(bench: Bench) -> str:
    """What the local service logs of a request."""
    with started_service(bench.folder) as service:
        sent = {"data_source": "store_metrics", "records": [{"timestamp": 0, "name": "orders", "value": 1}]}
        return bench.logs(lambda: httpx.post(service.endpoint, json=sent, headers=service.headers).raise_for_status())


def waiting_for_an_answer(bench: Bench, status: int = 503, text: str = "busy") -> str:
    """What is logged by an upsert that the service keeps refusing."""
    with (
        FakeService(script=in_sequence(answer(status, text))) as service,
        connect(service.url, service.token) as temporis,
    ):
        source = temporis.data_source("store_metrics")
        return bench.logs(lambda: source.upsert(orders(1.0)), level=logging.WARNING)


def waiting_after_a_fault(bench: Bench) -> str:
    """What is logged by an upsert after a failure that may be permanent."""
    return waiting_for_an_answer(bench, 500, "boom")


def each_attempt(bench: Bench) -> str:
    """What is logged of each attempt that failed, at INFO."""
    lines = bench.logs(lambda: bench.send(lambda _request: answer(503, "busy"))).splitlines()
    return next(line for line in lines if line.lower().startswith("attempt"))


def conflicting(bench: Bench) -> str:
    """What is logged of rows with one key and several values."""
    frame = pd.concat([orders(1.0), orders(2.0)])
    with connect(bench.store) as temporis:
        return bench.logs(lambda: temporis.data_source("store_metrics").upsert(frame))


def all_dropped(bench: Bench) -> str:
    """What is logged where every row was dropped."""
    with connect(bench.store) as temporis:
        source = temporis.data_source("store_metrics")
        return bench.logs(lambda: source.upsert(orders(float("inf")), on_invalid="drop"))


def left_out(bench: Bench) -> str:
    """What a run logs of rows outside its partition."""
    sales = bench.returning(orders(1.0), partitions_def=DAYS, outside_partition="drop")
    return bench.run(sales, partition_key="2024-06-21").lines[0]


def pending_rows(bench: Bench) -> str:
    """What a run logs of rows that stay in the mirror."""
    with FakeService(script=lambda _request: answer(503, "busy")) as service:
        temporis = TemporisResource(
            url=service.url, token=service.token, mirror=f"sqlite:///{bench.folder}/mirror.db",
            on_unavailable="queue", give_up_after_s=0.001,
        )  # fmt: skip
        return bench.run(bench.returning(orders(1.0)), temporis=temporis).lines[-1]


def dry(bench: Bench) -> str:
    """What a dry run logs."""
    return bench.run(bench.returning(orders(1.0)), temporis=bench.resource(dry_run=True)).lines[-1]


def report_line(bench: Bench) -> str:
    """The line of a run that stored something."""
    with connect(bench.store) as temporis:
        return str(temporis.data_source("store_metrics").upsert(orders(1.0, 2.0)))


def others_read(bench: Bench) -> str:
    """What a run logs that reads more series than the upstream asset wrote."""

    @dg.asset
    def peak(sales: pd.DataFrame) -> None: ...

    with connect(bench.store) as temporis:
        temporis.data_source("store_metrics").upsert(orders(1.0).assign(name="returns"))
    return bench.run(bench.returning(orders(1.0)), peak).lines[-1]


def state_unknown(bench: Bench) -> str:
    """What a tick logs that cannot ask for the archive state."""
    with dg.instance_for_test() as instance:
        world, _ = world_of(instance, bench.folder, dg.DailyPartitionsDefinition("2024-06-01"))
        with FakeService(script=lambda _request: answer(403, "not from here")) as service:
            world.temporis = TemporisResource(url=service.url, token=service.token)
            schedule = build_trailing_window_schedule(target=world.asset, lookback=3)
            logged: list[str] = []
            with patch.object(logging.Logger, "warning", lambda _self, text, *args: logged.append(text % args)):
                world.tick(schedule, utc("2024-06-20T01:00"))
            return logged[0]


def mirror_waits(bench: Bench) -> str:
    """What is logged by a flush that waits for rows that may not be sent yet."""
    silent = [answer(503, "busy", applies="nothing")]
    mirror = f"sqlite:///{bench.folder}/mirror.db"

    def script(_request: object) -> Any:
        return silent.pop() if silent else None

    def flush() -> None:
        with (
            FakeService(script=script) as service,
            connect(
                service.url, service.token, mirror=mirror, give_up_after_s=0.001, late_write_window_s=1.5
            ) as temporis,
        ):
            source = temporis.data_source("store_metrics")
            bench.raises(source.upsert, orders(1.0))
            source.upsert(orders(2.0))
            source.flush()

    return bench.logs(flush, level=logging.WARNING).splitlines()[-1]


EVERYTHING: dict[str, list[Symptom]] = {
    "Connecting": [
        Symptom(
            lambda b: b.raises(connect),
            "Neither an argument nor the environment names a data source or a token.",
            "Pass a URL, or set `TEMPORIS_URL`, or set `TEMPORIS_TOKEN` for the cloud.",
        ),
        Symptom(
            lambda b: b.raises(connect, "mysql://shop"),
            "Only `https://`, `http://`, `sqlite:///` and `postgresql+psycopg://` URLs are supported.",
            "Check the URL for a typo. Another database can be the source of a "
            "[component](components.md#from-a-sql-query), not a data source.",
        ),
        Symptom(
            lambda b: b.raises(connect, "https://api.temporis.co"),
            "An https URL needs a token, and none was passed or set.",
            'Set `TEMPORIS_TOKEN`, in Dagster `token=dg.EnvVar("TEMPORIS_TOKEN")`.',
        ),
        Symptom(
            lambda b: b.raises(connect, "https://api.temporis.co", "abc"),
            "The text is not an access token: perhaps it has quotes around it, or it is another service's.",
            "Copy the token again. White space around it does not matter.",
        ),
        Symptom(
            lambda b: b.raises(connect, "http://temporis.example.com", "ts_abc"),
            "Over plain HTTP the token would be readable on the way.",
            "Use https. Inside a network you trust, `allow_http=True` allows it.",
        ),
        Symptom(
            lambda b: b.raises(connect, "http://127.0.0.1:8008/v1"),
            "The URL ends with a part of the API's own path.",
            "End the URL before `/v1`.",
        ),
        Symptom(
            lambda b: b.raises(connect, "http://127.0.0.1:8008", create_missing=True),
            "Only a data source in a store can be created by an upsert.",
            "Create the data source in the dashboard, or for a local service with `temporis sources create`.",
        ),
        Symptom(
            lambda b: b.raises(connect, b.store, skip_unchanged=True),
            "`skip_unchanged` and `on_unavailable` need a mirror, which knows what was sent.",
            "Pass `mirror=` with an HTTP URL. A store skips unchanged rows anyway.",
        ),
        Symptom(
            lambda b: b.raises(connect, b.store, mirror="sqlite:///mirror.db"),
            "A mirror stands in front of a service. A store is not sent anything: it is written directly.",
            "Leave out `mirror`.",
        ),
        Symptom(
            lambda b: b.raises(connect(b.store).data_source, "Store Metrics"),
            "The name breaks the API's rule for names of data sources.",
            "Use lowercase letters, digits and underscores, as in `store_metrics`.",
        ),
    ],
    "Frames": [
        Symptom(
            lambda b: b.upsert(at(*pd.date_range("2024-06-20", periods=2, freq="h"))),
            "The timestamps have no time zone, and none is guessed.",
            'Pass `timezone="Europe/Berlin"`, or make the timestamps aware with `.dt.tz_localize(...)`.',
        ),
        Symptom(
            lambda b: b.upsert(at(pd.Timestamp("2024-11-03 01:30")), timezone="America/New_York"),
            "In autumn the clock shows this time twice.",
            'Pass `ambiguous="infer"` if the rows are in order of time, or `True` or `False` for one of the two passes '
            "([the nights when the clock changes](observations.md#the-nights-when-the-clock-changes)).",
        ),
        Symptom(
            lambda b: b.upsert(at(pd.Timestamp("2024-03-31 02:30")), timezone="Europe/Berlin"),
            "In spring the clock skips this time.",
            "The timestamps may name the end of an interval, or be in another zone. Correct them at their source, or "
            "pass `nonexistent=`.",
        ),
        Symptom(
            lambda b: b.upsert(orders(1.0, start=NOON * 1000)),
            "Numbers this large are milliseconds (or finer), not seconds.",
            'Pass `unit="ms"`.',
        ),
        Symptom(
            lambda b: b.upsert(
                pd.DataFrame({"timestamp": [20240620, 20240621], "name": "orders", "value": [1.0, 2.0]})
            ),
            "The numbers are calendar dates. Read as Unix seconds they would all be in 1970.",
            "Convert them, as in [numbers that are dates](observations.md#numbers-that-are-dates).",
        ),
        Symptom(
            lambda b: b.upsert(at("2024-06-20 08:00", "2024-06-20 09:00").rename_axis("timestamp")),
            "Text could mean several things, so a frame's text is not parsed.",
            "Convert it with `pd.to_datetime(...)`.",
        ),
        Symptom(
            lambda b: b.upsert(orders(1.0, start=4_102_444_800)),
            "The timestamp is more than a year ahead of the clock, which is usually a mistake.",
            "If it is not, pass `allow_future=`.",
        ),
        Symptom(
            lambda b: b.upsert(at(pd.Timestamp("2024-06-20 08:00:00.25", tz="UTC"))),
            "A timestamp is a whole second.",
            'Pass `sub_second="floor"` to cut the fraction off.',
        ),
        Symptom(
            lambda b: b.upsert(orders(1.0, float("inf"), None)),
            "The value is infinite or missing. In a long frame every row needs a value.",
            'Correct them at their source. `on_invalid="drop"` stores the other rows and lists these.',
        ),
        Symptom(
            lambda b: b.upsert(orders("42", "n/a")),
            "The values are text.",
            "Convert the column with `pd.to_numeric(...)`.",
        ),
        Symptom(
            lambda b: b.upsert(orders(2**53 + 1)),
            "A float64 cannot hold this integer exactly.",
            "It is probably an identifier, not a measurement. Otherwise scale the values.",
        ),
        Symptom(
            lambda b: b.upsert(orders(Decimal("0.1")), decimals="exact"),
            'With `decimals="exact"`, every decimal number must fit into a float64 exactly.',
            'Use the default, `decimals="nearest"`.',
        ),
        Symptom(
            lambda b: b.upsert(orders(1.0).drop(columns="value").assign(amount=1.0)),
            "The frame can be read as long or as wide.",
            'Name the columns (`value="amount"`), or pass `layout=`.',
        ),
        Symptom(
            lambda b: b.upsert(pd.DataFrame({"orders": [1.0, 2.0]})),
            "There is no column of timestamps, and row numbers are never taken for timestamps.",
            "Set a DatetimeIndex, or pass `timestamp=` with the name of the column.",
        ),
        Symptom(
            lambda b: b.upsert([1.0, 2.0]),
            "It is neither a frame nor a stream of frames: an iterator, or something that Arrow's libraries can read.",
            "Make a frame of it first.",
        ),
        Symptom(
            lambda b: b.upsert(pd.concat([orders(18.5), orders(24.0)]), on_conflict="raise"),
            "Several rows have one timestamp and name but different values, so all but one would be lost.",
            "Give each series a name of its own; a column that tells the rows apart is named in the message.",
        ),
        Symptom(
            lambda b: b.upsert(orders(1.0), layout="tall"),
            "An option has a value it does not know.",
            "Use one of the values in the message.",
        ),
    ],
    "Delivery over HTTP": [
        Symptom(
            lambda b: b.send(token="ts_other"),
            "The service does not know the token: it was deleted, or belongs to another service.",
            "Create a new token, and check that URL and token belong together.",
        ),
        Symptom(
            lambda b: b.send(service={"data_sources": "another"}),
            "The account has no data source of this name. Over HTTP an upsert cannot create one.",
            "Check the name, or create the data source.",
        ),
        Symptom(
            lambda b: b.send(service={"data_sources": {"store_metrics": True}}),
            "The data source is archived.",
            "Unarchive it, then repeat the same upsert.",
        ),
        Symptom(
            lambda b: b.send(lambda _request: answer(503, "busy")),
            "The service did not acknowledge anything for `give_up_after_s`.",
            "Repeat the upsert later. With a [mirror](mirror.md), rows wait on disk instead.",
        ),
        Symptom(
            lambda b: b.send(lambda _request: answer(429, "slow down", retry_after=7200), give_up_after_s=300.0),
            "The service asked for a longer wait than `give_up_after_s`.",
            "Come back after `error.retry_after_s`.",
        ),
        Symptom(
            lambda b: b.send(lambda _request: answer(500, "boom"), give_up_after_s=300.0),
            "A failure that may be permanent is attempted three times in all, whatever `give_up_after_s` is: a 500, or "
            "a 400, 409 or 422 that the API did not write itself.",
            "Look at the service's log, or at the proxy that answered, for why it fails; then repeat the upsert, which "
            "is safe. From cron, exit code 8 means: try again at the next run. With a [mirror](mirror.md), "
            "rows wait on disk instead.",
        ),
        Symptom(
            unknown_host,
            "No name server knows the host. Nothing was sent. This, too, is attempted three times in all.",
            "Check the URL for a typo, then this machine's name server, VPN and proxy (`HTTPS_PROXY`); then repeat the "
            "upsert.",
        ),
        Symptom(
            lambda b: b.send(lambda _request: html_page(502)),
            "A proxy or gateway answered in place of the service.",
            "Check the proxy, then repeat the upsert.",
        ),
        Symptom(
            lambda b: b.raises(
                connect("http://127.0.0.1:1", "ts_abc", give_up_after_s=0.001).data_source("store_metrics").upsert,
                orders(1.0),
            ),
            "Nothing listens at this address.",
            "Start the service, or check the port.",
        ),
        Symptom(
            lambda b: b.send(frame=orders(1.0, -1.0), service={"fault_of": refused}),
            "The service rejected some observations and stored the others.",
            "`error.report.rejected_rows` has each row and the service's reason. Correct these rows and send them.",
        ),
        Symptom(
            lambda b: b.send(path="/gateway"),
            "The path of the URL is wrong: something answered, but not the API.",
            "Correct the URL. A path prefix, if any, ends before `/v1`.",
        ),
        Symptom(
            lambda b: b.send(lambda _request: answer(403, "forbidden")),
            "A proxy, firewall or gateway refused the request.",
            "Ask its administrator. Trying again does not help.",
        ),
        Symptom(
            lambda b: b.send(call=lambda source: source.read()),
            "The API accepts observations and never returns them.",
            "Read the store of a local service, or use a [mirror](mirror.md).",
        ),
        Symptom(
            lambda b: b.send(call=lambda source: source.archive()),
            "The API cannot archive data sources.",
            "Use the dashboard, or `temporis sources archive` where a local service runs.",
        ),
        Symptom(
            lambda b: b.send(call=lambda source: source.delete(0)),
            "The API has no request that deletes, and a mirror changes nothing about that.",
            "Run `temporis delete` where the store of the service is, or start a new data source: "
            "[plan.md](plan.md#deleting).",
        ),
        Symptom(
            lambda b: b.send(call=lambda source: source.flush()),
            "There is no mirror, so nothing is pending.",
            "Leave the call out, or connect with `mirror=`.",
        ),
    ],
    "Stores and mirrors": [
        Symptom(
            lambda b: b.raises(connect(b.store).data_source("other").upsert, orders(1.0)),
            "The store has no data source of this name.",
            "Call `temporis.create_data_source(...)`, or connect with `create_missing=True`.",
        ),
        Symptom(
            lambda b: b.raises(connect(archived(b)).data_source("store_metrics").upsert, orders(1.0)),
            "The data source is archived.",
            "Unarchive it with `.unarchive()` or `temporis sources unarchive`.",
        ),
        Symptom(
            lambda b: b.raises(connect(archived(b)).data_source("store_metrics").delete, 0),
            "An archived data source refuses deletes as it refuses writes.",
            "Unarchive it first, if the rows are really to go.",
        ),
        Symptom(
            lambda b: b.raises(connect(b.store).data_source("store_metrics").delete),
            "A delete without any bound is hardly ever meant.",
            "Pass `start=`, `end=` or `names=`, or `everything=True`: [plan.md](plan.md#deleting).",
        ),
        Symptom(
            locked,
            "Another process has held the lock on the file for too long, e.g. a backup or a database browser.",
            "Close it and repeat the upsert: `error.retryable` is True.",
        ),
        Symptom(
            not_a_database,
            "The file is damaged, or it was never a SQLite database.",
            "Check the path, or restore the file from a backup.",
        ),
        Symptom(
            lambda b: b.raises(connect(f"sqlite:///{b.folder}/missing/temporis.db").create_data_source, "shop"),
            "The folder does not exist, or the process may not write to it.",
            "Create the folder; relative paths are relative to the working directory of the process.",
        ),
        Symptom(
            another_target,
            "A mirror belongs to one service and one account.",
            "Use another file; after a new token for the same account run `temporis mirror rebind`.",
        ),
        Symptom(
            full_mirror,
            "As many rows as `max_pending_rows` allows are already waiting.",
            "Look at `temporis mirror status`, flush, and repeat the upsert. Or raise the limit.",
        ),
        Symptom(
            lambda b: mirrored(b, lambda _request: answer(503, "busy")),
            'The service is unavailable, and `on_unavailable` is `"raise"`.',
            "The rows are safe in the mirror. A later upsert or flush delivers them.",
        ),
        Symptom(
            known_to_be_archived,
            "The mirror already knows that the data source is archived.",
            'Unarchive it, or use `on_unavailable="queue"` to collect rows meanwhile.',
        ),
    ],
    "A store in PostgreSQL": [
        Symptom(
            away,
            "The server is down or restarting, or the network is.",
            "Repeat the upsert when it is back: `error.retryable` is True. `give_up_after_s` says how long to wait.",
        ),
        Symptom(
            lambda b: upsert_there(b, password="wrong"),
            "The password of the URL, of `PGPASSWORD` or of the password file is not the role's, or special characters "
            "of the one in the URL are not percent-encoded.",
            "Correct it. The user is not shown. A password file must have the mode 600, or libpq ignores it.",
        ),
        Symptom(
            lambda b: upsert_there(b, database="metrisc"),
            "The name of the database is wrong, or it has not been created yet.",
            "Correct the name, or create the database: [postgres.md](postgres.md#set-it-up-once).",
        ),
        Symptom(
            upsert_there,
            "The role lacks a right on a table of the store.",
            "Let the owner of the tables grant it: [postgres.md](postgres.md#set-it-up-once) lists the rights.",
        ),
        Symptom(
            locked_there,
            "Another transaction keeps the data source locked: perhaps a session of `psql` that was left open.",
            "Find it in `pg_stat_activity` and end it. `error.retryable` is True.",
        ),
        Symptom(
            newer_there,
            "A newer version of this library has migrated the store.",
            "Upgrade it here as well. Versions are not mixed on one store.",
        ),
        Symptom(
            wrong_encoding,
            "The database was created with another encoding, so it cannot hold every series name.",
            "Create a database with `ENCODING 'UTF8' TEMPLATE template0`.",
        ),
        Symptom(
            lambda b: b.raises(connect, "postgresql+psycopg://metrics_writer:p@ss@db.example.com/metrics"),
            "The password has an '@', at which it would end.",
            "Write it as `%40`, or put the password into a password file: [the URL](postgres.md#the-url). "
            "A `%` is `%25`.",
        ),
        Symptom(
            lambda b: b.raises(connect, "postgresql+psycopg2://db.example.com/metrics"),
            "The URL names another driver, as those of Dagster's instance do.",
            "Write `postgresql+psycopg://`: [the URL](postgres.md#the-url). The extra `[postgres]` brings its driver.",
        ),
        Symptom(
            unknown_option,
            "What follows the question mark is given to libpq, which has no such option.",
            "Check its spelling: [the URL](postgres.md#the-url). It is not shown, because it may be a secret.",
        ),
    ],
    "The command line": [
        Symptom(
            lambda b: b.command("ingest", "-", "--data-source", "store_metrics", stdin="timestamp,name,value\n"),
            "The command does not know where the data source is.",
            "Pass `--url`, or set `TEMPORIS_URL` or `TEMPORIS_TOKEN`.",
        ),
        Symptom(
            lambda b: b.command(
                "ingest",
                "-",
                "--data-source",
                "store_metrics",
                stdin="timestamp,name,value\n",
                TEMPORIS_STORE=b.store,
                TEMPORIS_TOKEN="ts_a",
            ),
            "`TEMPORIS_STORE` is for `sources`, `tokens` and `serve`. `ingest` reads `TEMPORIS_URL`.",
            "Pass `--url`.",
        ),
        Symptom(
            wrong_token_of_cli,
            "The service does not know the token.",
            "Check `TEMPORIS_TOKEN`. The exit code is 6.",
        ),
        Symptom(
            lambda b: b.command("serve", "--store", b.store, "--host", "0.0.0.0", "--open"),
            "A dashboard without a login may only be reached from the machine that it runs on.",
            "Create a token for the dashboard and leave out `--open`: [dashboard.md](dashboard.md#how-to-log-in).",
        ),
        Symptom(
            lambda b: b.ingest("2024-06-20T08:00Z,orders,42\n"),
            "The file has no line of column names.",
            "Add one, such as `timestamp,name,value`.",
        ),
        Symptom(
            lambda b: b.ingest("timestamp;name;value\n2024-06-20T08:00Z;orders;42\n"),
            "The file uses semicolons.",
            'Pass `--delimiter ";"`.',
        ),
        Symptom(
            lambda b: b.ingest("timestamp;name;value\n2024-06-20T08:00Z;orders;1,5\n", "--delimiter", ";"),
            "The file has decimal commas.",
            "Pass `--decimal ,` ([German CSV files](files.md#a-german-csv-file)).",
        ),
        Symptom(
            lambda b: b.ingest("timestamp,name,value\n20.06.2024 08:00,orders,1.5\n"),
            "The dates are not ISO 8601.",
            "Pass `--timestamp-format`, and `--timezone` if they have no offset "
            "([exports](files.md#exports-of-other-programs)).",
        ),
        Symptom(
            lambda b: b.ingest("timestamp,name,value\n2024-06-20 08:00,orders,1.5\n"),
            "The timestamps have no offset.",
            "Pass `--timezone Europe/Berlin`.",
        ),
        Symptom(
            lambda b: b.ingest("timestamp,name,value\n2024-06-20T08:00Z,orders,42\n2024-06-20T08:00Z,orders,1,284\n"),
            "A line has more fields than column names, often because of a comma inside a number or a text.",
            "Put the field in quotation marks and pass `--decimal ,`, or use another delimiter.",
        ),
        Symptom(
            lambda b: b.ingest('timestamp,name,value\n2024-06-20T08:00Z,"orders,42\n'),
            "A quotation mark is never closed.",
            "Correct the line in the message.",
        ),
        Symptom(
            lambda b: b.ingest(b"PK\x03\x04" + b"\0" * 26),
            "The file is a zip archive, as Excel workbooks are.",
            "Unpack it, or pass `--format excel`.",
        ),
        Symptom(
            lambda b: b.ingest("timestamp,name,value\n".encode("utf-16")),
            "The file is not UTF-8.",
            "Pass `--encoding` as in the message.",
        ),
        Symptom(
            lambda b: b.command(
                "mirror", "status", "--mirror", f"sqlite:///{b.folder}/mirror.db", "--url", "http://127.0.0.1:8008"
            ),
            "No upsert has written through this mirror yet, or the URL is wrong.",
            "Check the URL. The exit code is 4.",
        ),
        Symptom(
            lambda b: b.command("read", "--data-source", "store_metrics", "--url", b.store, "--start", "2024-06-20"),
            "A time without an offset could mean any zone.",
            "Write it with `Z` or an offset.",
        ),
    ],
    "Dagster": [
        Symptom(
            without_variable,
            "The process that runs the code (code location, run, notebook) does not have the variable.",
            "Set it there: in the agent's, container's or shell's environment.",
        ),
        Symptom(
            misspelt,
            "The option does not exist.",
            "Use the name in the message; [dagster_reference.md](dagster_reference.md) lists all of them.",
        ),
        Symptom(
            lambda b: b.run(b.returning(orders(1.0), partitions_def=DAYS), partition_key="2024-06-21").failure,
            "The asset returned rows that belong to other partitions, often because of a time zone.",
            "Fetch exactly `context.partition_time_window`; `outside_partition=` drops or allows other rows.",
        ),
        Symptom(
            ranged_with_partition_key,
            "A backfill is one run over a range, which has no single `context.partition_key`.",
            "Read `context.partition_time_window`, or set `backfill_policy=dg.BackfillPolicy.multi_run(1)`.",
        ),
        Symptom(
            lambda b: b.run(b.returning(None)).failure,
            "The asset has no `return`, or it returned None.",
            "Return a frame. An empty one is fine.",
        ),
        Symptom(
            lambda b: b.run(b.returning(orders(1.0), series=["revenue"])).failure,
            "The frame has series that do not belong to the asset.",
            "Add them to `series=`, or do not return them.",
        ),
        Symptom(
            lambda b: b.run(b.returning(orders(1.0)), temporis=TemporisResource(url=archived(b))).failure,
            "The data source was archived.",
            "Unarchive it and run the asset again. `gated_selection` stops such runs before the body.",
        ),
        Symptom(
            lambda b: b.run(b.returning(orders(float("nan")))).failure,
            "The frame has invalid rows. The failure's metadata has a table of them.",
            'Correct them at their source, or set `on_invalid="drop"`. A retry would not help, so there is none.',
        ),
        Symptom(
            never_materialized,
            "An input needs a partition that was never materialized.",
            "Materialize it first, or set `allow_missing_partitions` on the input.",
        ),
        Symptom(
            reads_over_http,
            "The API never returns observations, so inputs cannot be loaded from it.",
            "Put a mirror in front of the service (`mirror=` of the resource).",
        ),
        Symptom(
            overlapping,
            "Two partitions that time does not tell apart wrote the same rows.",
            'Give each partition its own series, such as `f"load_{context.partition_key}"`.',
        ),
        Symptom(
            ungated,
            "The asset does not depend on its data source, so it would run before the archive check.",
            "Use `@temporis_asset`, or add the `data_source_spec` to its `deps`.",
        ),
        Symptom(
            static_schedule,
            "Only partitions that are windows of time have a trailing range.",
            "Use a plain `dg.ScheduleDefinition` for other partitions.",
        ),
        Symptom(
            red_check,
            "The data source is archived, and the check expects it to be in use.",
            "Unarchive it, or expect `ArchiveState.ARCHIVED`.",
        ),
        Symptom(
            blocked,
            "The run stopped before anything was computed, because a data source is archived or could not be asked.",
            "The reason is in the line before, `The archive check of data source ...`. A data source that is archived "
            "on purpose needs nothing: its schedules and sensors wait.",
        ),
        Symptom(
            unreadable_series,
            "Series checks read the data source, which the API does not allow.",
            "Use a mirror. The check passes meanwhile, with this warning.",
        ),
        Symptom(
            tick_while_archived,
            "The schedule launches nothing into an archived data source.",
            "Unarchive it. The next tick fills what was left out.",
        ),
        Symptom(
            tick_during_a_run,
            "Another run may write the same partitions.",
            "Wait. If the run is stuck, terminate it in the UI.",
        ),
        Symptom(
            given_up,
            "The partition failed in all of its attempts.",
            "Fix the cause and materialize the partition by hand. It then has all its attempts again.",
        ),
    ],
    "YAML": [
        Symptom(
            lambda b: b.component(),
            "A component needs exactly one of the two.",
            "Give `sql:` or `function:`.",
        ),
        Symptom(
            lambda b: b.component(asset=DAILY, sql={"url": "sqlite:///warehouse.db", "query": WINDOW}),
            "Whether the database compares `:start` correctly depends on how the column holds time.",
            "Add [`time_column`](components.md#how-the-column-holds-time).",
        ),
        Symptom(
            lambda b: b.component(asset=DAILY, sql={"url": "sqlite:///warehouse.db", "query": "SELECT 1"}),
            "Every partition would fetch the whole table.",
            "Compare the time column with `:start` and `:end`.",
        ),
        Symptom(
            lambda b: b.component(
                asset=DAILY, function="tests.support.symptoms.orders", series_checks={"max_age": "3"}
            ),
            "A number alone has no unit.",
            "Write `3h`.",
        ),
        Symptom(
            lambda b: b.component(function="no_such_module.fetch"),
            "The module cannot be imported from where `dg` runs.",
            "Check the spelling. A module next to the YAML file starts with a dot: `.stations.fetch`.",
        ),
        Symptom(
            lambda b: b.component(function="tests.support.symptoms.fetched", series=FAMILIES),
            "The contracts of several families of series have no prefix in common.",
            "See [contracts](components.md#contracts).",
        ),
        Symptom(
            lambda b: filled(b, "SELECT 1717200000.25 AS timestamp, 'a' AS name, 1 AS value"),
            "The table has timestamps with fractions of a second, as PostgreSQL's `now()` writes them.",
            "Add `sub_second: floor`, or cut the fraction off in the query.",
        ),
        Symptom(
            lambda b: filled(b, "SELECT 1717200000 AS timestamp, 'a' AS name, NULL AS value"),
            "The table has rows without a value.",
            "Add `AND value IS NOT NULL` to the query, with your name of the column.",
        ),
        Symptom(
            failing_query,
            "The database refused the query.",
            "Run the query by hand. Nothing was written.",
        ),
    ],
    "Log lines": [
        Symptom(
            stopped_by_the_check,
            "A run was launched while its data source was archived.",
            "Unarchive it, or [leave it archived](archive.md): schedules and sensors then launch nothing.",
        ),
        Symptom(
            taken_name,
            "The store was made before there were [SQL views](sql_views.md), and a table or view of yours has the name "
            "of one of them.",
            "Rename it. Until then, the store works without the views and without a dashboard.",
        ),
        Symptom(
            unnoted_use,
            "The service found the token, but could not write when it was used: another process held the lock, or the "
            "role of the service lacks the right. Said once for each service.",
            "Nothing, if it is a lock: a later request notes it. Otherwise, grant "
            "[the right](postgres.md#set-it-up-once), or do without the time of last use.",
        ),
        Symptom(
            waiting_for_the_server,
            "The PostgreSQL server cannot be reached, or its connection was lost. Said once for each outage.",
            "Nothing, if it is a restart. Otherwise, see why the server is away.",
        ),
        Symptom(
            waiting_for_an_answer,
            "The service failed, and the upsert is trying again.",
            "Nothing, unless it goes on: the upsert raises once `give_up_after_s` have passed.",
        ),
        Symptom(
            waiting_after_a_fault,
            "The service failed in a way that may be permanent, so only two more attempts follow.",
            "If the upsert raises, look for *it failed in this way* under [Delivery over HTTP](#delivery-over-http).",
        ),
        Symptom(
            each_attempt,
            "One attempt failed (level INFO).",
            "Nothing. Use these lines to see how often and why the service fails.",
        ),
        Symptom(
            conflicting,
            "The frame has one key with several values. The last one was stored.",
            "Check whether a column that tells the rows apart was left out. `report.superseded_rows` lists the others.",
        ),
        Symptom(
            all_dropped,
            'With `on_invalid="drop"`, nothing was left to store.',
            "Look at `report.dropped_rows`.",
        ),
        Symptom(
            left_out,
            'With `outside_partition="drop"`, rows of other partitions were left out.',
            "Nothing, if that is what you meant.",
        ),
        Symptom(
            pending_rows,
            "The rows are in the mirror, and not yet delivered.",
            "Nothing, if `build_mirror_flush_schedule` runs. Otherwise flush the mirror.",
        ),
        Symptom(
            dry,
            "The resource has `dry_run=True`.",
            "Leave it out where rows should be stored.",
        ),
        Symptom(
            others_read,
            "The input holds series that the upstream asset did not write.",
            "Pass `series=` to every asset that shares the data source.",
        ),
        Symptom(
            state_unknown,
            "The archive state could not be asked for, so the run was launched.",
            "Look at the reason at the end of the line.",
        ),
        Symptom(
            report_line,
            "An upsert was completed.",
            "Nothing.",
        ),
        Symptom(
            mirror_waits,
            "An earlier attempt had no answer, so its rows may still arrive and must not be overtaken.",
            "Wait. The time is at most `late_write_window_s` and the length of an attempt.",
        ),
        Symptom(
            service_log,
            "The local service answered a request.",
            "Nothing. The `agent` names the Dagster run that sent it.",
        ),
    ],
}


@contextmanager
def clean(folder: Path) -> Iterator[Bench]:
    """A bench in an empty folder, without the settings of this machine."""
    with no_settings(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Bench(folder)


@contextmanager
def no_settings() -> Iterator[None]:
    """No variable of ours is set."""
    import os

    kept = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def text_of(symptom: Symptom, folder: Path) -> list[str]:
    """The message of today, line by line, with ``...`` for paths, ports and times."""
    with clean(folder) as bench:
        text = symptom.provoke(bench)
    text = text.replace(str(folder), "...")
    for pattern, shown in PLACEHOLDERS:
        text = pattern.sub(shown, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def shown(symptom: Symptom, folder: Path) -> str:
    """A symptom as it stands on the page."""
    lines = "\n>\n".join(f"> {quoted(line)}" for line in text_of(symptom, folder))
    return f"{lines}\n\n*Cause:* {symptom.cause} *What to do:* {symptom.cure}\n"


def quoted(line: str) -> str:
    """A line as code, whatever it holds."""
    return f"`` {line} ``" if "`" in line else f"`{line}`"


HEAD = """\
# Symptoms: what a message means, and what to do

Search this page for a part of the message that has no numbers, names or paths of your own: the page shows one
example of each message, with paths, ports and times as `...`. Each error itself states what to
do; this page adds what is usually behind it. Exit codes are in [delivery.md](delivery.md#the-command-line).

The test suite produces every message on this page (`tests/support/symptoms.py`), so the page shows what the code
prints.

[Connecting](#connecting) · [Frames](#frames) · [Delivery over HTTP](#delivery-over-http) ·
[Stores and mirrors](#stores-and-mirrors) · [A store in PostgreSQL](#a-store-in-postgresql) ·
[The command line](#the-command-line) · [Dagster](#dagster) · [YAML](#yaml) · [Log lines](#log-lines)
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as root:
        for heading, symptoms in EVERYTHING.items():
            parts.append(f"## {heading}\n")
            for number, symptom in enumerate(symptoms):
                folder = Path(root) / f"{heading.split()[0].lower()}{number}"
                folder.mkdir()
                parts.append(shown(symptom, folder))
    return "\n".join(parts)


if __name__ == "__main__":
    logging.disable(logging.NOTSET)
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE} is written.\n")
