"""deploy/compose.yaml without an engine: what it says, and its services as processes of this machine.

Comes in: the file, secrets, the image's environment, a PostgreSQL. Goes out: running services, on loopback.
Never: changes a command, except for host names, ports and paths, which are those of containers.
"""

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.end_to_end_processes import end_group, free_ports
from tests.support.image import DEPLOY, Image
from tests.support.postgres_server import PrivatePostgres, _programs

SECRETS = {
    name: f"{name.lower()}_4f1c" for name in ("POSTGRES_PASSWORD", "DAGSTER_DB_PASSWORD", "TEMPORIS_DB_PASSWORD")
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[?-])([^}]*))?\}")
LONGEST_S = 240.0
PORTS = ("8008", "4000", "3000")


def compose(secrets: Mapping[str, str]) -> dict[str, Any]:
    """The file with the secrets put in, as Docker Compose reads it. A required one that is missing is an error."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if secrets.get(name):
            return secrets[name]
        if operator == ":?":
            raise KeyError(f"{name}: {rest}")
        return rest or ""

    return yaml.safe_load(VARIABLE.sub(value, (DEPLOY / "compose.yaml").read_text()))


@dataclass
class Deployment:
    """The services of the file as processes.

    Attributes:
        image: What they run.
        database: Host and port of the PostgreSQL, as in a URL.
        secrets: What `.env` would hold.
        logs: Where each service's output goes.
        ports: The port of this machine for each port of a container.
    """

    image: Image
    database: str
    secrets: dict[str, str]
    logs: Path
    ports: dict[str, str] = field(default_factory=lambda: dict(zip(PORTS, map(str, free_ports(3)), strict=True)))
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """The text of a container, for this machine: loopback, a free port, a path below the folder of the image."""
        text = self.image.here(text).replace("@postgres:5432/", f"@{self.database}/")
        for port in PORTS:
            text = re.sub(rf"(?<!\d){port}(?!\d)", self.ports[port], text)
        return re.sub(r"0\.0\.0\.0|(?<=//)(?:temporis|webserver|code)(?=:)", "127.0.0.1", text)

    def service(self, name: str) -> dict[str, Any]:
        """What the file says about a service."""
        return compose(self.secrets)["services"][name]

    def program(self, name: str) -> str:
        """A program of the image, where its PATH finds it."""
        return str(self.image.root / "opt/venv/bin" / name)

    def environment(self, name: str) -> dict[str, str]:
        """What a service has in its environment."""
        given = {key: self.here(value) for key, value in self.service(name)["environment"].items()}
        return self.image.environment(**given)

    def run(self, name: str, command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
        """What `docker compose exec` does: a command next to a service, in the same environment."""
        program = self.program(command[0])
        return subprocess.run(
            [program, *map(self.here, command[1:])],
            cwd=self.image.folder, env=self.environment(name) | variables,
            capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip

    def start(self, name: str) -> None:
        """Start a service by its command, and wait until its health check, as it stands in the file, succeeds."""
        service = self.service(name)
        command = [self.program(service["command"][0]), *map(self.here, service["command"][1:])]
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=self.image.folder,
                env=self.environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        kind, *check = service["healthcheck"]["test"]
        assert kind == "CMD"
        deadline = time.monotonic() + LONGEST_S
        while (done := self.run(name, check)).returncode:
            said = (self.logs / f"{name}.log").read_text()[-3_000:]
            assert self.running[name].poll() is None, f"{name} has ended:\n{said}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {done.stdout}{done.stderr}\n{said}"
            time.sleep(1)

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop a service as `docker stop` does, within its `stop_grace_period`; its exit code."""
        seconds = {"s": 1, "m": 60}
        period = self.service(name).get("stop_grace_period", "10s")
        process = self.running.pop(name)
        process.send_signal(how)
        try:
            return process.wait(int(period[:-1]) * seconds[period[-1]])
        finally:
            end_group(process.pid)
            process.wait()

    def end(self) -> None:
        """End whatever still runs."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            end_group(process.pid)
            process.wait()


@contextmanager
def deployment(image: Image, server: PrivatePostgres, folder: Path) -> Iterator[Deployment]:
    """A database as the image of PostgreSQL makes it when its volume is empty; nothing else runs yet.

    Args:
        image: What the services run.
        server: A PostgreSQL that wants passwords, except from its superuser on the socket, as that image does.
        folder: Where the logs go.
    """
    service = compose(SECRETS)["services"]["postgres"]
    [mounted] = [volume.split(":")[0] for volume in service["volumes"] if "initdb" in volume]
    given = {"PATH": f"{_programs()}:/usr/bin:/bin", "PGHOST": str(server.folder), "PGPORT": str(server.port)}
    script, environment = ["sh", str(DEPLOY / mounted)], {**given, **service["environment"]}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    deployed = Deployment(image, f"127.0.0.1:{server.port}", dict(SECRETS), folder)
    workspace = (DEPLOY / "workspace.yaml").read_text()
    there = workspace.replace("host: code", "host: 127.0.0.1").replace("port: 4000", f"port: {deployed.ports['4000']}")
    assert there != workspace
    (image.folder / "workspace.yaml").write_text(there)
    try:
        yield deployed
    finally:
        deployed.end()
