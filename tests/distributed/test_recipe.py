"""The files of deploy/celery: their settings reach the workers and the runs, and belong together."""

import re
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from celery.app.defaults import SETTING_KEYS
from dagster_celery import celery_executor
from dagster_celery.make_app import make_app

from tests.support.distributed_watch import RECIPE

SAFE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
}
URLS = {
    "DAGSTER_CELERY_BROKER_URL": "pyamqp://someone:secret@broker:5672/dagster",
    "DAGSTER_CELERY_BACKEND_URL": "db+postgresql+psycopg2://someone:secret@database/dagster",
}


def settings(name):
    return yaml.safe_load((RECIPE / name).read_text())


@pytest.fixture
def environment(monkeypatch):
    """The two URLs, as every process of a deployment has them."""
    for name, url in URLS.items():
        monkeypatch.setenv(name, url)


def test_a_worker_has_the_settings_that_bring_a_killed_workers_step_back(environment, monkeypatch):
    """Where `worker.sh` starts Celery, the module with the settings is found, and Celery obeys it."""
    monkeypatch.syspath_prepend(RECIPE)
    monkeypatch.delitem(sys.modules, "dagster_celery_config", raising=False)
    configuration = make_app().conf
    assert {name: configuration[name] for name in SAFE} == SAFE
    assert [configuration.broker_url, configuration.result_backend] == list(URLS.values())


def job():
    @dg.op
    def nothing():
        pass

    @dg.job(executor_def=celery_executor)
    def steps():
        nothing()

    return steps


def test_a_run_accepts_the_settings_and_they_are_celerys(environment):
    """Dagster takes the file as run config, and Celery knows each setting: Dagster would accept any name there."""
    given = dg.validate_run_config(job(), settings("celery.yaml"))["execution"]["celery"]
    assert given["config_source"] == SAFE
    assert given["config_source"].keys() <= SETTING_KEYS
    assert [given["broker"], given["backend"]] == list(URLS.values())


def test_a_misspelt_setting_of_the_executor_is_refused(environment):
    """A typo does not become a default."""
    misspelt = settings("celery.yaml")
    misspelt["execution"]["config"]["brokr"] = misspelt["execution"]["config"].pop("broker")
    with pytest.raises(dg.DagsterInvalidConfigError, match="brokr"):
        dg.validate_run_config(job(), misspelt)


def test_a_step_is_redelivered_only_when_its_run_has_been_ended():
    """RabbitMQ waits longer for the end of a step than Dagster does for the end of a run."""
    timeout_ms = re.search(r"^consumer_timeout = (\d+)$", (RECIPE / "rabbitmq.conf").read_text(), re.MULTILINE)
    assert int(timeout_ms[1]) > 1_000 * settings("dagster.yaml")["run_monitoring"]["max_runtime_seconds"]


def test_no_file_of_the_recipe_holds_a_url():
    """Every URL is a variable of the environment, because the settings travel and are stored."""
    for path in RECIPE.iterdir():
        assert path.is_dir() or "://" not in path.read_text(), path.name


def test_the_workspace_names_the_definitions():
    """The file that it names is there."""
    (location,) = settings("workspace.yaml")["load_from"]
    assert (RECIPE / Path(location["python_file"]["relative_path"])).is_file()
