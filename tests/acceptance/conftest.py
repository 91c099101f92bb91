"""Acceptance tests use what users get: the built distributions. ``make wheel`` builds them and runs this folder.

The tests run in the development environment and start the Python of another one, which holds nothing but the wheel, so
that nothing the tests import can stand in for a missing dependency. Without ``--wheel-python`` they are not collected.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--wheel-python", help="the Python of an environment in which the built wheel is installed")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if config.getoption("--wheel-python", default=None) else True


@pytest.fixture(scope="session")
def wheel_python(pytestconfig: pytest.Config) -> Path:
    """The interpreter of the wheel's environment. Not resolved: its symbolic link is what makes it that one's."""
    return Path(pytestconfig.getoption("--wheel-python")).absolute()


@pytest.fixture
def run(wheel_python: Path, tmp_path: Path) -> Run:
    """Run a program of the wheel's environment in an empty folder, and return what it printed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORIS_", "PYTHON", "DAGSTER_"))}
    clean |= {"DAGSTER_DISABLE_TELEMETRY": "yes", "PATH": f"{wheel_python.parent}{os.pathsep}{clean['PATH']}"}

    def run_it(program: str, *arguments: str, fails: bool = False, cwd: Path = tmp_path, **variables: str) -> str:
        done = subprocess.run(
            [str(wheel_python.with_name(program)), *arguments],
            cwd=cwd, env=clean | variables, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"{program} {' '.join(arguments)}: exit {done.returncode}\n{printed}"
        return printed

    return run_it
