"""The files of deploy/ that any environment can check: compose.yaml, the Dockerfile, the unit of systemd, Ray.

tests/acceptance/test_image.py runs the image and the services, tests/distributed the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import dagster as dg
import httpx
import pandas as pd
import pytest
import yaml

from temporis_dagster import connect
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.serve import GRACE_S
from tests.support.compose import SECRETS, compose
from tests.support.image import DEPLOY, instructions
from tests.support.left_out import left_out
from tests.support.postgres_server import _programs

ROOT = Path(__file__).parents[2]
SERVICE_KEYS = {
    "image", "build", "restart", "init", "cap_drop", "security_opt", "logging", "command", "environment", "read_only",
    "stop_grace_period", "shm_size", "tmpfs", "ports", "volumes", "depends_on", "healthcheck", "networks",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
UNIT = DEPLOY / "temporis.service"
RAY = DEPLOY / "ray" / "definitions.py"


def seconds(text: str) -> int:
    """A duration of Compose or systemd: 40s, 1m, 40."""
    return int(text.rstrip("sm")) * (60 if text.endswith("m") else 1)


def test_the_services_of_compose_are_complete():
    """Five services with health check, restart policy and pinned image, and no key that Compose does not know."""
    parsed = compose(SECRETS)
    services = parsed["services"]
    assert set(services) == {"postgres", "temporis", "code", "webserver", "daemon"}
    assert {key for key in parsed if not key.startswith("x-")} == {"name", "services", "networks", "volumes"}
    for name, service in services.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service["healthcheck"]) <= HEALTH_KEYS, name
        assert service["restart"] == "unless-stopped"
        assert re.fullmatch(r"[\w-]+:\d[\w.-]+", service["image"]), name
        assert set(service["networks"]) <= set(parsed["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in parsed["volumes"] or (DEPLOY / source).exists(), volume
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]
        for host in re.findall(r"(?://|@)([a-z]+):\d", " ".join(map(str, service["environment"].values()))):
            assert host in services, host
    assert seconds(services["temporis"]["stop_grace_period"]) > GRACE_S
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))


def test_compose_holds_no_secret_and_refuses_to_start_without_one():
    """Passwords and the token come from .env, each container gets its own only, and an empty one is an error."""
    text = (DEPLOY / "compose.yaml").read_text()
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            compose({**SECRETS, name: ""})
    services = compose({**SECRETS, "TEMPORIS_TOKEN": "the-token"})["services"]
    assert not re.search(r"://[^@\s]*:[^@\s]*@", text), "a URL holds a password"
    given = {
        name: " ".join(service["environment"].values()) for name, service in services.items() if name != "postgres"
    }
    for name, values in given.items():
        assert SECRETS["POSTGRES_PASSWORD"] not in values
        assert (SECRETS["TEMPORIS_DB_PASSWORD"] in values) == (name == "temporis")
        assert (SECRETS["DAGSTER_DB_PASSWORD"] in values) == (name != "temporis")
        assert ("the-token" in values) == (name == "code")
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert example == dict.fromkeys([*SECRETS, "TEMPORIS_TOKEN"], "")
    ignored = subprocess.run(["git", "check-ignore", "deploy/.env"], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode == 0 or not (ROOT / ".git").exists()


def test_docker_compose_reads_the_file():
    """The real parser, where Docker Compose is installed; it needs no engine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
        ):
            read = [*command, "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
            subprocess.run(read, env={**os.environ, **SECRETS}, check=True, timeout=60)


def test_the_image_gets_what_it_copies_and_nothing_else():
    """Each source of a COPY exists and passes the ignore file, whose first rule keeps everything out."""
    rules = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    copied = {
        source
        for kind, arguments in instructions()
        if kind == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_is_pinned_and_does_not_run_as_root():
    """Base image and packages have exact versions, and a numeric user without rights runs the processes."""
    kinds = instructions()
    [base] = [arguments for kind, arguments in kinds if kind == "ARG"]
    assert re.fullmatch(r"BASE=python:\d+\.\d+\.\d+-slim-bookworm", base)
    assert all(arguments.startswith("${BASE}") for kind, arguments in kinds if kind == "FROM")
    assert [arguments for kind, arguments in kinds if kind == "USER"] == ["10001:10001"]
    for name in ("requirements.txt", "requirements-build.txt"):
        lines = [line for line in (DEPLOY / name).read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), name


def test_the_image_has_the_releases_that_the_distributed_tests_run_with():
    """Dagster, its integrations and the drivers: a deployment runs what was tested."""
    tested, image = (
        dict(re.findall(r"^([\w-]+)==([\w.]+)", path.read_text().lower(), re.MULTILINE))
        for path in (ROOT / "constraints-distributed.txt", DEPLOY / "requirements.txt")
    )
    shared = set(tested) & set(image)
    assert {"dagster", "dagster-k8s", "dagster-postgres", "sqlalchemy", "psycopg", "psycopg2-binary"} <= shared
    assert {name: tested[name] for name in shared} == {name: image[name] for name in shared}


def unit() -> dict[str, list[str]]:
    """The settings of the unit, each with all its values in order."""
    settings: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        settings.setdefault(name, []).append(value)
    return settings


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    """`systemd-analyze verify` says nothing: it would name a key that it does not know."""
    if shutil.which("systemd-analyze") is None:
        left_out("systemd-analyze is not here; it comes with systemd.")
    tried = tmp_path / UNIT.name
    tried.write_text(UNIT.read_text().replace("/opt/temporis/bin/temporis", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(tried)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_command_of_the_unit_serves_and_stops_in_time(tmp_path):
    """ExecStart, with a filled-in environment file: it answers, and SIGTERM ends it within TimeoutStopSec."""
    [command], [patience] = unit()["ExecStart"], unit()["TimeoutStopSec"]
    assert int(patience) > GRACE_S
    assert unit()["KillSignal"] == ["SIGTERM"]
    store = f"sqlite:///{tmp_path}/temporis.db"
    SqlStore(store).close()
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "temporis.env.example").read_text(), re.MULTILINE))
    assert example["PGPASSWORD"] == ""
    environment = {**example, "TEMPORIS_STORE": store, "PATH": os.environ["PATH"]}
    program, *arguments = command.replace("--port 8008", "--port 0").split()
    started = [sys.executable, "-m", "temporis_dagster.cli", *arguments]
    assert Path(program).name == "temporis"
    with subprocess.Popen(
        started,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(int(patience)) == -signal.SIGTERM


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")
def test_the_example_for_ray_runs_with_another_executor(tmp_path, monkeypatch):
    """deploy/ray/definitions.py as it is, with steps in this process: Ray is in none of the test environments."""
    fake = types.ModuleType("dagster_ray")
    fake.ray_executor = dg.in_process_executor
    monkeypatch.setitem(sys.modules, "dagster_ray", fake)
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        source = temporis.create_data_source("sales")
        monkeypatch.setenv("TEMPORIS_URL", f"sqlite:///{tmp_path}/temporis.db")
        monkeypatch.setenv("TEMPORIS_TOKEN", "")
        loaded: dict[str, object] = {"__name__": "definitions"}
        exec(compile(RAY.read_text(), str(RAY), "exec", dont_inherit=True), loaded)
        defs = loaded["defs"]
        keys = {"dagster/asset_partition_range_start": "2024-06-20", "dagster/asset_partition_range_end": "2024-06-23"}
        assert defs.resolve_job_def("sales_job").execute_in_process(tags=keys).success
        assert len(source.read()) == 4 * 96


def test_a_dump_of_the_store_can_be_restored(private_postgres, tmp_path):
    """The commands of docs/deployment.md: a dump, made between two upserts, gives the store of that moment.

    The restored store has another id, so an upsert that began in the old one does not go on in it.
    """
    page = (ROOT / "docs" / "deployment.md").read_text()
    dump, restore, identify = (
        re.search(rf"^    ({program} .*metrics.*)$", page, re.MULTILINE)[1]
        for program in ("pg_dump", "pg_restore", "psql")
    )
    server = {"PGHOST": str(private_postgres.folder), "PGPORT": str(private_postgres.port), "PGUSER": "postgres"}
    environment = {**server, "PATH": f"{_programs()}:/usr/bin:/bin"}

    def shell(command: str) -> None:
        subprocess.run(
            ["sh", "-ec", command], env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120
        )

    identity = "SELECT id FROM temporis_store"
    with private_postgres.database() as url, private_postgres.database() as restored:
        one, other = (text.rsplit("/", 1)[1] for text in (url, restored))
        with connect(url) as temporis, connect(restored) as again:
            source = temporis.create_data_source("store_metrics")
            source.upsert(wide(3))
            before = source.content_digest()
            shell(dump.replace("metrics", one))
            source.upsert(wide(5))
            shell(restore.replace("metrics", other))
            assert again.data_source("store_metrics").content_digest() == before != source.content_digest()
            assert private_postgres.execute(identity, one) == private_postgres.execute(identity, other)
            shell(identify.replace("metrics", other))
            assert private_postgres.execute(identity, one) != private_postgres.execute(identity, other)
            assert (again.data_source("store_metrics").upsert(wide(5)).stored, source.upsert(wide(5)).stored) == (4, 0)
            assert again.data_source("store_metrics").content_digest() == source.content_digest()


def wide(rows: int) -> pd.DataFrame:
    """Two series with a value per minute."""
    minutes = pd.date_range("2024-06-20", periods=rows, freq="min", tz="UTC")
    return pd.DataFrame({"orders": range(rows), "visits": range(rows)}, index=minutes)


def test_every_yaml_file_has_each_key_once():
    """A key that stands twice would silently lose its first value."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[object, object]:
        keys = [
            loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"
        ]
        assert len(keys) == len(set(map(str, keys))), f"{node.start_mark}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]:
        assert list(yaml.load_all(path.read_text(), Strict)), path
