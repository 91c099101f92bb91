"""docs/spark.md, block after block: on a Spark cluster, with Dask's threads and with processes of Ray."""

import re
import shutil
import tempfile
import uuid
from pathlib import Path

import pandas as pd
import pytest

from tests.support.spark_cluster import OF_PANDAS_3

PAGE = Path(__file__).parents[2] / "docs" / "spark.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def ray_on_this_machine(run, monkeypatch):
    """Ray, started in that environment, with a token of its own, in a folder with a short name for its sockets."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # read when Ray is imported
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    import ray

    folder = tempfile.mkdtemp(prefix="ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    yield
    ray.shutdown()
    shutil.rmtree(folder)


@pytest.fixture
def run(tmp_path, monkeypatch, source, postgres_url):
    """A function that runs the blocks of some sections, where the environment names a data source."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORIS_URL", postgres_url)
    source.upsert(pd.DataFrame())  # creates it

    def blocks(start, end):
        page = PAGE.read_text()
        notebook = {"__name__": "__main__"}
        for code in BLOCK.findall(page[page.index(start) : page.index(end)]):
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), notebook)

    return blocks


@pytest.mark.filterwarnings(OF_PANDAS_3, "ignore:Parameter `backfill_policy`")
def test_what_the_page_says_of_spark_runs_from_top_to_bottom(session, source, run):
    """On a cluster; the asset and the batches of a stream upsert the same rows again."""
    run("\n## Spark\n", "\n## Dask\n")
    assert source.read().groupby("name").size().to_dict() == {"orders": 24}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray's own use of its own settings
def test_the_recipes_for_dask_and_ray_run(ray_on_this_machine, source, run):
    """With Dask's threads, and with processes of Ray."""
    run("\n## Dask\n", "\n## What was measured\n")
    assert source.read().groupby("name").size().to_dict() == {"returns": 24, "visitors": 24}
