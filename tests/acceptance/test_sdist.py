"""The source distribution: it holds the whole repository, and its own tests pass in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAST = ["tests/core/test_errors.py", "tests/core/test_observations.py", "tests/cli", "tests/project"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    [archive] = (ROOT / "dist").glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    [project] = folder.iterdir()
    return project


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="compares with what git tracks")
def test_it_holds_every_file_of_the_repository_and_no_other(unpacked):
    """Documentation, example, benchmarks and tests included, so that a packager needs nothing else."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert packed - {"PKG-INFO"} == tracked


@pytest.mark.timeout(1_800)
def test_its_tests_pass_in_it(unpacked):
    """A fast part of them, against the unpacked package and not this checkout."""
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "2", *FAST]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    where = "import temporis_dagster; print(temporis_dagster.__file__)"
    imported = subprocess.run(
        [sys.executable, "-c", where], cwd=unpacked, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert Path(imported.strip()).is_relative_to(unpacked)
