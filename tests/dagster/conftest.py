"""What most tests of the Dagster surface need: a store, a data source in it, and an instance to record runs."""

import dagster as dg
import pytest
from alembic.script import ScriptDirectory

from temporis_dagster import connect
from tests.support.io_manager_tools import Project


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once():
    """Every new instance of Dagster notes the revision of its tables, for which alembic reads all migrations anew.

    That is two thirds of what an instance in memory costs. The files do not change while the tests run.
    """
    read, known = ScriptDirectory.from_config, {}

    def from_config(config):
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture
def url(tmp_path):
    """The URL of a store of the test's own, which does not exist yet."""
    return f"sqlite:///{tmp_path}/temporis.db"


@pytest.fixture
def source(url):
    """The data source store_metrics, seen through another connection than that of the runs."""
    with connect(url) as temporis:
        yield temporis.create_data_source("store_metrics")


@pytest.fixture
def instance():
    """An instance in memory, for one test."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def project(url, instance):
    """Assets that share the store and the instance, and runs of them."""
    return Project(url, instance)


@pytest.fixture(scope="module")
def stored_instance():
    """An instance on disk, which all tests of a module share: to make one takes seconds."""
    with dg.instance_for_test() as made:
        yield made
