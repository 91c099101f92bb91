"""Tests with Airflow, which run in an environment of their own: `make airflow-test`. Elsewhere they are not collected.

Airflow reads its settings when it is imported, so its home, a folder for this run, is made before any test is.
"""

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    HOME = tempfile.mkdtemp(prefix="airflow")
    atexit.register(shutil.rmtree, HOME, ignore_errors=True)
    os.environ |= {
        "AIRFLOW_HOME": HOME,
        "AIRFLOW__CORE__DAGS_FOLDER": f"{HOME}/dags",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


@pytest.fixture(scope="session")
def dags_folder():
    """The folder of DAGs of an Airflow whose database is ready."""
    os.mkdir(f"{HOME}/dags")  # noqa: PTH102
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return f"{HOME}/dags"
