"""docs/airflow.md, run by Airflow: its blocks are a file of DAGs; what its tables promise becomes of their tasks."""

import importlib.util
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from temporis_dagster import UnavailableError, connect
from temporis_dagster.testing import FakeService, answer, cut, in_sequence

PAGE = Path(__file__).parents[2] / "docs" / "airflow.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHORTER = {
    "give_up_after_s=60": "give_up_after_s=1",
    "give_up_after_s=10": "give_up_after_s=1",
    "retries=12": "retries=0",
}
"""What a test cannot wait for."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]  # Airflow warns of its own use of itself


@pytest.fixture(scope="module")
def page(dags_folder):
    """The module that the blocks of the page make."""
    text = "\n\n".join(BLOCK.findall(PAGE.read_text()))
    for long, short in SHORTER.items():
        assert long in text
        text = text.replace(long, short)
    path = Path(dags_folder, "store_metrics.py")
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("store_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(page, monkeypatch):
    """A function that runs a DAG of the page against a service, and returns its tasks by name."""

    def tasks(name, service, hour, **variables):
        for key, value in {"url": service.url, "token": service.token, **variables}.items():
            monkeypatch.setenv(f"TEMPORIS_{key.upper()}", value)
        when = datetime(2024, 6, 1, hour, 5, tzinfo=timezone.utc)
        done = getattr(page, name)().test(logical_date=when)
        return {task.task_id: task for task in done.get_task_instances()}

    return tasks


def test_a_task_upserts_and_hands_on_the_report(run):
    """Three hours of two series are stored, and the counts are the task's XCom."""
    with FakeService() as service:
        ingest = run("store_metrics", service, hour=3)["ingest"]
        assert len(service.content) == 6
    assert ingest.state == "success"
    assert ingest.xcom_pull(task_ids="ingest")["stored"] == 6


def test_a_wait_that_the_service_asks_for_is_a_reschedule(run):
    """The task gives its worker back and runs again, not before that moment, and without using a retry."""
    with FakeService(script=in_sequence(answer(429, retry_after=2))) as service:
        ingest = run("store_metrics", service, hour=4)["ingest"]
        first, second = service.requests
        assert len(service.content) == 6
    assert ingest.state == "success"
    assert ingest.try_number == 1
    assert second.arrived_at - first.arrived_at >= 2


def test_an_archived_data_source_skips_the_task(run):
    """Nothing is stored, and nothing fails."""
    with FakeService({"store_metrics": True}) as service:
        assert run("store_metrics", service, hour=5)["ingest"].state == "skipped"
        assert not service.content


def test_what_a_retry_cannot_fix_fails_at_once(run):
    """The task has three retries, and none is used for a wrong token."""
    with FakeService() as service:
        ingest = run("store_metrics", service, hour=6, token="ts_wrong")["ingest"]
        assert len(service.requests) == 1
    assert ingest.state == "failed"
    assert ingest.try_number == 1


def test_an_outage_is_left_to_the_retries_of_the_task(page):
    """The error is raised as it came, so Airflow retries the task."""
    sales = page.extract(datetime(2024, 6, 1, tzinfo=timezone.utc), datetime(2024, 6, 2, tzinfo=timezone.utc))
    with (
        FakeService(script=lambda request: cut()) as service,
        connect(service.url, service.token, give_up_after_s=0.01) as temporis,
        pytest.raises(UnavailableError),
        page.outcomes_for_airflow(),
    ):
        temporis.data_source("store_metrics").upsert(sales)


def test_with_a_mirror_an_outage_fails_no_ingest(run, tmp_path):
    """Rows are kept; the flush fails while the service is away; the next run delivers them."""
    mirror = f"sqlite:///{tmp_path}/mirror.db"
    with FakeService(script=lambda request: answer(503)) as service:
        tasks = run("store_metrics_with_a_mirror", service, hour=3, mirror=mirror)
        assert {name: task.state for name, task in tasks.items()} == {"ingest": "success", "flush": "failed"}
        assert tasks["ingest"].xcom_pull(task_ids="ingest")["pending"] == 6
        service.state.script = lambda request: None  # the outage is over
        tasks = run("store_metrics_with_a_mirror", service, hour=4, mirror=mirror)
        assert {task.state for task in tasks.values()} == {"success"}
        assert len(service.content) == 8
