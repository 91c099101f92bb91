"""The service of the mirror's tests, the databases that the mirror can be in, and processes that share a mirror."""

import pytest

from temporis_dagster.data_source.store.sqlite import file as sqlite_file
from tests.support.mirror_databases import MirrorDatabase, PostgresMirror, SqliteMirror
from tests.support.mirror_tools import Process, World


@pytest.fixture
def world():
    return World()


@pytest.fixture(scope="session")
def postgres_mirror(postgres_server):
    """A database for the mirrors of all tests, one after the other."""
    with postgres_server.database() as url:
        made = PostgresMirror(postgres_server, url)
        yield made
        made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.once)])
def mirror_db(request, tmp_path) -> MirrorDatabase:
    """Where the mirror of a test is. There is none yet."""
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_mirror")
        database.remake()
        return database
    folder = tmp_path / "mirror"
    folder.mkdir()
    return SqliteMirror(folder)


@pytest.fixture
def process_with(world, mirror_db):
    """Makes processes that share a mirror, given its options, and closes them."""
    made = []

    def make(options, into=world, **settings) -> Process:
        made.append(Process(into, mirror_db.url, mirror_options=options, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def make_read_only(monkeypatch):
    """Once called, every connection that is opened refuses to write, as on a read-only disk."""
    usual = sqlite_file._connect

    def read_only(*arguments):
        connection = usual(*arguments)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return lambda: monkeypatch.setattr(sqlite_file, "_connect", read_only)
