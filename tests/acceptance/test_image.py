"""The image and the services of compose.yaml, as far as a machine without a container engine can try them.

The instructions of the Dockerfile are carried out below a folder; then the commands of compose.yaml run from there, on
loopback, over a real PostgreSQL that wants passwords. What only a container has (the base image, the account that it
runs as, capabilities, networks, volumes, restarts) is not tried.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import httpx
import pytest

from tests.support.compose import LONGEST_S, Deployment, deployment
from tests.support.end_to_end_processes import BACKFILL
from tests.support.image import build, instructions, interpreter, python_version
from tests.support.left_out import left_out
from tests.support.postgres_server import PrivatePostgres

pytestmark = pytest.mark.timeout(
    3_600
)  # it installs the image's hundred packages, and starts four processes of Dagster

DAYS = ["2013-03-09", "2013-03-10", "2013-03-11"]
ALONE = """
import sys, dagster as dg
from nyc_airports.definitions import defs
tags = {"dagster/asset_partition_range_start": sys.argv[1], "dagster/asset_partition_range_end": sys.argv[2]}
with dg.DagsterInstance.ephemeral() as instance:
    job = defs().resolve_implicit_global_asset_job_def()
    job.execute_in_process(asset_selection=[dg.AssetKey("departures")], tags=tags, instance=instance)
"""
DIGEST = """
from temporis_dagster import connect
with connect() as temporis:
    source = temporis.data_source("nyc_airports")
    print(source.content_digest(), len(source.read()))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    # The image's own Python where the machine has it, otherwise the one that runs the tests.
    python = interpreter(python_version()) or interpreter("{}.{}".format(*sys.version_info))
    if python is None:
        left_out("No Python that can make environments is here.")
    return build(tmp_path_factory.mktemp("image"), python)


@pytest.fixture(scope="module")
def deployed(image, tmp_path_factory):
    with (
        PrivatePostgres(password="superuser_4f1c") as server,
        deployment(image, server, tmp_path_factory.mktemp("services")) as services,
    ):
        yield services


def test_the_instructions_of_the_image_can_be_carried_out(image):
    """From empty environments to one that holds the wheel and every dependency that it declares, at pinned versions."""
    assert image.instructions == instructions()
    installed = subprocess.run(
        [str(image.root / "opt/venv/bin/python"), "-m", "pip", "list", "--format", "json"],
        env=image.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    versions = {package["name"].lower(): package["version"] for package in json.loads(installed.stdout)}
    assert versions["dagster"] == "1.13.27"
    assert "temporis-dagster" in versions


@pytest.mark.parametrize("module", ["definitions", "definitions_k8s"])
def test_its_code_locations_load(image, module):
    """Those of compose.yaml and of Kubernetes, with the image's own releases and no secret in the environment."""
    loads = [
        str(image.root / "opt/venv/bin/python"),
        "-W",
        "ignore",
        "-c",
        f"import {module}; {module}.defs.get_repository_def()",
    ]
    subprocess.run(loads, cwd=image.folder, env=image.environment(DAGSTER_HOME=""), check=True, timeout=300)


def test_the_services_of_compose_run_a_backfill(deployed: Deployment, tmp_path):
    """Webserver, daemon, code location and service, by their commands and health checks: rows end up in PostgreSQL.

    What is stored is what one process stores in a SQLite file, to the bit.
    """
    deployed.start("temporis")
    deployed.run("temporis", ["temporis", "sources", "create", "nyc_airports"]).check_returncode()
    token = deployed.run("temporis", ["temporis", "tokens", "create", "dagster"])
    deployed.secrets["TEMPORIS_TOKEN"] = token.stdout.strip()
    for service in ("code", "webserver", "daemon"):
        deployed.start(service)
    launched = ask(
        deployed, BACKFILL, {"params": {"assetSelection": [{"path": ["departures"]}], "partitionNames": DAYS}}
    )
    backfill = launched["launchPartitionBackfill"]["backfillId"]
    deadline = time.monotonic() + LONGEST_S
    while (status := state(deployed, backfill)) not in ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED"):
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert status == "COMPLETED_SUCCESS", (deployed.logs / "code.log").read_text()[-5_000:]
    alone = {"TEMPORIS_URL": f"sqlite:///{tmp_path}/alone.db"}
    deployed.run("code", ["temporis", "sources", "create", "nyc_airports", "--store", alone["TEMPORIS_URL"]])
    expected = [
        python(deployed, "code", program, *of, **alone) for program, of in ((ALONE, (DAYS[0], DAYS[-1])), (DIGEST, ()))
    ]
    stored = python(deployed, "temporis", DIGEST, TEMPORIS_URL=deployed.environment("temporis")["TEMPORIS_STORE"])
    assert stored == expected[-1] != ""
    for secret in deployed.secrets.values():
        for log in deployed.logs.iterdir():
            assert secret not in log.read_text(), f"{log.name} shows a secret"


def test_the_service_stops_in_time(deployed: Deployment):
    """SIGTERM, as `docker stop` sends it: the service ends by itself before its grace period is over."""
    if "temporis" not in deployed.running:
        deployed.start("temporis")
    assert deployed.stop("temporis") == -15


def python(deployed: Deployment, service: str, program: str, *arguments: str, **variables: str) -> str:
    """What a program in Python prints, next to a service."""
    done = deployed.run(service, ["python", "-W", "ignore", "-c", program, *arguments], **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(deployed: Deployment, query: str, variables: dict[str, object]) -> dict[str, object]:
    """What the webserver answers."""
    asked = {"query": query, "variables": variables}
    where = f"http://127.0.0.1:{deployed.ports['3000']}/graphql"
    answer = httpx.post(where, json=asked, timeout=LONGEST_S, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def state(deployed: Deployment, backfill: str) -> str:
    query = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
    return ask(deployed, query, {"id": backfill})["partitionBackfillOrError"]["status"]
