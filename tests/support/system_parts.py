"""What tests need from the system beyond Python and make: whether it is there, and how to set it up.

Comes in: nothing; the address of the broker may be in ``TEMPORIS_TESTS_BROKER``. Goes out: each part that does not
answer is installed and started, where this user may do that, and one line says what was done or what is missing. Runs
with any Python, before anything is installed:

    python3 -m tests.support.system_parts

Never: changes a part that answers, stops anything, or says where packages come from: the system knows that.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

START_S = 120.0
"""How long a part may take from its start to its first answer, on a slow machine."""


@dataclass(frozen=True)
class Part:
    """Something that only the system's packages can bring."""

    name: str
    needed_for: str
    answers: Callable[[], bool]
    program: str
    package: str
    """Its name in Debian and Ubuntu."""
    starts: tuple[tuple[str, ...], ...]
    """Commands that start it, each tried until it answers; empty for a program that does not stay running."""


class MissingError(Exception):
    """A part is missing, and this user, or this system, cannot set it up."""


def broker_address() -> tuple[str, int]:
    """Return the host and port at which tests look for a RabbitMQ."""
    host, _, port = os.environ.get("TEMPORIS_TESTS_BROKER", "127.0.0.1:5672").rpartition(":")
    return host, int(port)


def broker_answers() -> bool:
    """Return whether a broker that speaks AMQP 0-9-1 answers there."""
    try:
        with socket.create_connection(broker_address(), timeout=10) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"  # a frame with a method: connection.start
    except OSError:
        return False


def java() -> str | None:
    """Return the program ``java`` that Spark uses; None if there is none that runs."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None or subprocess.run([found, "-version"], capture_output=True, check=False).returncode != 0:
        return None
    return found


def chromium() -> str | None:
    """Return the program with which tests look at pages; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


BROKER = Part(
    name="RabbitMQ",
    needed_for="tests/distributed: Dagster's celery executor sends its steps through it",
    answers=broker_answers,
    program="rabbitmq-server",
    package="rabbitmq-server",
    starts=(("service", "rabbitmq-server", "start"), ("rabbitmq-server", "-detached")),
)
JAVA = Part(
    name="Java",
    needed_for="tests/distributed: Spark runs in it",
    answers=lambda: java() is not None,
    program="java",
    package="default-jre-headless",
    starts=(),
)
CHROMIUM = Part(
    name="Chromium",
    needed_for="tests/dashboard: the pages are opened in it",
    answers=lambda: chromium() is not None,
    program="chromium",
    package="chromium",
    starts=(),
)
PARTS = (BROKER, JAVA, CHROMIUM)


def set_up(part: Part) -> str:
    """Install and start the part, unless it answers, and return what was done.

    Raises:
        MissingError: It does not answer, and this user or this system cannot change that.
    """
    if part.answers():
        return "is there already; nothing was changed."
    done = []
    if not _program(part.program):
        _install(part)
        done.append(f"the package {part.package} was installed")
    for command in part.starts:
        if _answers_in_time(part, 0 if not done else 5):  # many packages start what they install
            break
        program = _program(command[0])
        if program and _run_as_root(part, [program, *command[1:]]) and _answers_in_time(part, START_S):
            done.append(f"it was started with `{' '.join(command)}`")
            break
    if not part.answers():
        raise MissingError("is installed and was started, but does not answer. Its log says why.")
    return f"was set up: {', and '.join(done)}."


def _install(part: Part) -> None:
    apt = _program("apt-get")
    if apt is None:
        raise MissingError(
            f"is not installed, and this system has no apt-get. Install what corresponds to Debian's {part.package}."
        )
    installing = [apt, "install", "--yes", "--no-install-recommends", part.package]
    # The lists of packages may be missing, as in fresh containers, or old, so that files they name are gone.
    if not (_run_as_root(part, [apt, "update"]) and _run_as_root(part, installing)):
        raise MissingError(f"could not be installed. What apt-get said is above; the package is {part.package}.")


def _run_as_root(part: Part, command: list[str]) -> bool:
    """Run a command as root and return whether it succeeded; its output goes to stderr."""
    if os.geteuid() != 0:
        sudo = _program("sudo")
        if sudo is None or subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode != 0:
            raise MissingError(
                f"does not answer, and only root can run `{' '.join(command)}`. Ask whoever is root here."
            )
        command = [sudo, "-n", "env", "DEBIAN_FRONTEND=noninteractive", *command]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    output = sys.stderr.fileno()
    return (
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=False).returncode == 0
    )


def _program(name: str) -> str | None:
    """Find a program, also in the folders of root's path that other users' paths leave out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _answers_in_time(part: Part, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not part.answers():
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)
    return True


def main() -> int:
    """Set up every part, say what was done, and return 1 if anything is missing."""
    missing = False
    for part in PARTS:
        try:
            done = set_up(part)
        except MissingError as error:
            missing = True
            done = f"{error} It is needed for {part.needed_for}. `make test` leaves those tests out and says so."
        sys.stdout.write(f"{part.name} {done}\n")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
