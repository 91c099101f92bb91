"""Options of the test run, and fixtures and checks that every folder of tests shares.

``--soak`` runs the long form of the suite, which takes more than an hour. It adds three things:

* Tests that ask for the fixture ``soak`` run longer: more rounds, kills or interruptions, or every statement instead of
  a sample; a few run only then. They have the marker ``soak``, so that ``pytest --soak -m soak`` runs just these.
* Every property test of hypothesis without a number of examples of its own tries 2,000 instead of 100.
* The time limit per test is off.

``--again`` is for those passes of `make test` that run the tests once more, with other versions of the dependencies:

* Tests with the marker ``once`` are left to the first pass. They are about texts and files of the repository, or they
  are random tests of the core (kills, interruptions, faults), which exercise SQLite, sockets and processes: the
  versions of pandas and Dagster make no difference to them, and the tests that run again call the same functions; or
  they do at length what tests that run again do in short.
* Every property test of hypothesis without a number of examples of its own tries 25 instead of 100.
* Of a parametrized test, the first case runs again, so every test function runs with every set of versions. In the
  folders `core` and `cli`, all cases do: there they are types and layouts of data, which versions of pandas change.

Coverage is not measured in random and end-to-end tests, nor where a test says so (``no_cover``): they run lines that
other tests run, many times.

A test that needs a part of the system that is missing here, such as a broker, is left out, and the run ends by saying
so (`tests/support/left_out.py`); with ``TEMPORIS_TESTS_COMPLETE=yes``, as in CI, it fails.

The canary is an access token that the tests of delivery use. Nothing may ever show it: at the end of the run it must
not be in the log, from DEBUG up, nor in what a test printed.
"""

import logging
import signal

import pytest
from hypothesis import settings

collect_ignore_glob = ["support/*_definitions.py"]  # code locations, which daemons load

OF_THE_CORE = {"http", "mirror", "service", "store"}
"""Folders whose random tests exercise neither pandas nor Dagster."""

OF_DATA = {"core", "cli"}
"""Folders whose cases are types and layouts of data."""

CANARY = "ts_canary_7f3a9c51d2e84b60"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="Run the long and random tests in their long form.")
    parser.addoption("--again", action="store_true", help="Run what other versions of dependencies can change.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: runs longer with --soak, or only then; set for users of the fixture soak")
    config.addinivalue_line("markers", "once: left out with --again; the versions of pandas and Dagster do not matter")
    # Under nohup, in background jobs and on some CI machines, SIGINT is ignored. What the tests start would inherit
    # that, and a test that interrupts it would wait forever.
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # After each test, pytest restores the level from before it: that of the run is DEBUG, for the canary's log.
    logging.getLogger().setLevel(logging.DEBUG)
    if config.getoption("--soak"):
        config.option.timeout = 0
    settings.register_profile("short", deadline=None)
    settings.register_profile("soak", deadline=None, max_examples=2_000)
    settings.register_profile("again", deadline=None, max_examples=25)
    (form,) = [name for name in ("soak", "again") if config.getoption(f"--{name}")] or ["short"]
    settings.load_profile(form)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        random = "soak" in getattr(item, "fixturenames", ())
        if random:
            item.add_marker("soak")
            if item.path.parent.name in OF_THE_CORE:
                item.add_marker("once")
        property_test = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
        if random or property_test or item.path.parent.name == "end_to_end":
            item.add_marker("no_cover")
    if config.getoption("--again"):
        left = [item for item in items if not item.get_closest_marker("once")]
        first = {item.nodeid.partition("[")[0]: item for item in reversed(left)}
        kept = set(first.values()) | {item for item in left if item.path.parent.name in OF_DATA}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether this is the long form of the test run."""
    return request.config.getoption("--soak")


@pytest.fixture(scope="session", autouse=True)
def debug_log(tmp_path_factory):
    """Everything that is logged while the tests run, from DEBUG up; at the end, the canary is not in it."""
    path = tmp_path_factory.mktemp("logs") / "debug.log"
    handler, root = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace"), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)  # DEBUG is every row of every result
    yield path
    root.removeHandler(handler)
    root.setLevel(before)
    handler.close()
    with path.open(encoding="utf-8") as lines:
        shown = [line for line in lines if CANARY in line]
    assert shown == [], "the access token was logged"


@pytest.fixture
def url(tmp_path):
    """The URL of a store whose file does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db"


@pytest.fixture
def store(url):
    """A SQLite file with the data source ``store_metrics``. A test file with other data sources replaces it."""
    from temporis_dagster.data_source.store import SqlStore

    store = SqlStore(url)
    store.create_data_source("store_metrics")
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres_server():
    """The PostgreSQL server that the test run shares: one that runs on this machine, otherwise one from a wheel."""
    from tests.support.postgres_server import shared_postgres

    with shared_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of an empty database of the shared server, for one test."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def private_postgres():
    """A PostgreSQL server of the test's own, which it may stop, restart and configure."""
    from tests.support.postgres_server import PrivatePostgres

    with PrivatePostgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server):
    """The URL of a database whose sessions are in a time zone with clock changes; a password in it is never shown."""
    from sqlalchemy import make_url

    with postgres_server.database() as url:
        parsed = make_url(url).update_query_dict({"options": "-c timezone=America/New_York"})
        yield parsed.set(password=parsed.password or CANARY).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def broker():
    """The URL of a RabbitMQ; where none answers, the tests that ask for it are left out."""
    from tests.support.left_out import left_out
    from tests.support.system_parts import broker_address, broker_answers

    host, port = broker_address()
    if not broker_answers():
        left_out(f"No RabbitMQ answers on {host}:{port}. `make setup-system` sets one up.")
    return f"amqp://guest:guest@{host}:{port}//"


def pytest_terminal_summary(terminalreporter, config):
    """Say at the end of the run which tests were left out, and why."""
    if hasattr(config, "workerinput"):
        return  # a process of pytest-xdist: the run's main process has the reports of all of them
    from tests.support.left_out import add_to_list, summary

    lines = list(summary(terminalreporter.stats.get("skipped", [])))
    if lines:
        terminalreporter.section("left out")
        for line in lines:
            terminalreporter.write_line(line)
    add_to_list(lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail a test whose captured output, log or failure shows the canary."""
    report = yield
    texts = [text for _, text in report.sections] + [str(report.longrepr or "")]
    if call.when == "teardown" and any(CANARY in text for text in texts):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} shows the access token"
    return report
