"""The test run itself: it can be interrupted, and it ends, wherever it is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.system_parts import MissingError, Part, set_up

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def test_an_interrupt_arrives():
    """Tests that interrupt what they started do not wait for a signal that is ignored."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is not inherited there")
def test_an_interrupt_arrives_where_the_shell_ignores_it():
    """Under nohup and in background jobs, SIGINT is ignored, and so it would be in everything that the tests start."""
    code = f"import signal, sys, pytest; sys.exit(pytest.main(['-q', {__file__!r}, '-k', 'arrives and not shell']))"
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", ignoring, sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_test_that_hangs_fails(pytestconfig):
    """Every test has a time limit, so that a hang is a failure with a place, not a CI run that never ends."""
    assert int(pytestconfig.getini("timeout")) > 0


def test_make_test_starts_every_run_whatever_the_first_one_did():
    """The second run often says more about the cause than the first."""
    recipe = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert recipe.count("-m pytest") == recipe.count("|| failed=") == 4


@pytest.mark.parametrize("failing", [None, ".venv", ".venv-oldest", ".venv-newest", ".venv-distributed"])
def test_every_pass_runs_and_is_shown_in_order_and_one_that_fails_is_named(tmp_path, failing):
    """The fourth runs next to the others; the log reads as if it had come after them.

    Whatever the machine says, Python keeps what it compiles: the tests start hundreds of processes.
    """
    needed = ["Makefile", "pyproject.toml", "example_project/pyproject.toml", *map(str, ROOT.glob("constraints*.txt"))]
    for path in (ROOT / name for name in needed):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    environments = [".venv", ".venv-oldest", ".venv-newest", ".venv-distributed"]
    for name in environments:
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        compiles = "${PYTHONDONTWRITEBYTECODE+, which every process compiles anew}"
        python.write_text(f"#!/bin/sh\necho tests of {name}{compiles}\nexit {int(name == failing)}\n")
        python.chmod(0o755)
        (tmp_path / name / "ready").touch()
    done = subprocess.run(
        ["make", "--no-print-directory", "test"],
        env={**environment_of_a_run(), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line.removeprefix("tests of ") for line in lines if line.startswith("tests of ")] == environments
    assert [line[0] for line in lines if " of 4: " in line] == ["1", "2", "3", "4"]
    assert (done.returncode == 0) == (failing is None)
    if failing is not None:
        constraints = f"constraints{failing.removeprefix('.venv')}.txt"
        assert " ".join(lines[-1].split()) == f"Tests failed with the dependencies of: {constraints}"


# --- what is run again with other versions of the dependencies ---

THREE_KINDS = """
import pytest
from hypothesis import given, strategies

tried = []

@pytest.mark.once
def test_of_a_text():
    pass

@given(strategies.integers())
def test_any_number(number):
    tried.append(number)

def test_how_many_were_tried():
    print(f"tried {len(tried)}")
"""


@pytest.mark.parametrize(("options", "ran", "tried"), [([], 3, 100), (["--again"], 2, 25)], ids=["first", "again"])
def test_a_pass_with_other_dependencies_leaves_out_only_what_is_marked(tmp_path, options, ran, tried):
    """Property tests are run by every pass, with fewer examples again; the first pass runs everything in full."""
    (tmp_path / "test_story.py").write_text(THREE_KINDS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-s",
         "--rootdir", str(tmp_path), "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path), *options],
        env=environment_of_a_run(), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{ran} passed" in done.stdout
    assert f"tried {tried}" in done.stdout


CASES = """
import pytest

@pytest.mark.parametrize("case", ["first", "second[1]", "third"])
@pytest.mark.parametrize("other", [1, 2])
def test_of_cases(case, other):
    print(f"ran {case} {other}")

def test_without_cases():
    print("ran alone")
"""


@pytest.mark.parametrize(("folder", "ran"), [("core", 7), ("dagster", 2)])
def test_a_pass_with_other_dependencies_runs_one_case_of_what_is_not_about_data(tmp_path, folder, ran):
    """Every function runs with every set of versions; cases that are types and layouts of data all do."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "test_story.py").write_text(CASES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-s", "--again",
         "--rootdir", str(tmp_path), "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)],
        env=environment_of_a_run(), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{ran} passed" in done.stdout
    assert ("5 deselected" in done.stdout) == (ran == 2)
    assert "ran first 1" in done.stdout
    assert "ran alone" in done.stdout


# --- what a machine lacks ---

NEEDS_A_BROKER = """
def test_that_needs_a_broker(broker):
    assert broker.startswith("amqp://")

def test_that_needs_one_too(broker):
    pass

def test_that_needs_none():
    pass
"""


@pytest.fixture
def silent_address():
    """An address at which nothing answers, because this test holds it without listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def run_the_tests(tmp_path, **variables):
    """Run three tests, two of which need a broker, as this project's own tests are run."""
    (tmp_path / "test_story.py").write_text(NEEDS_A_BROKER)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--numprocesses", "2", "-p", "no:cacheprovider"]
    configuration = ["--rootdir", str(tmp_path), "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)]
    return subprocess.run(
        [*command, *configuration],
        env={**environment_of_a_run(), **variables}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def environment_of_a_run():
    """The environment without what the run that this test belongs to was told."""
    ours = ("TEMPORIS_TESTS_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def test_what_the_machine_cannot_run_is_left_out_and_named_at_the_end(tmp_path, silent_address):
    """A developer without a broker runs everything else, and reads what was not run, why, and what to do."""
    left_out = tmp_path / "left_out"
    done = run_the_tests(tmp_path, TEMPORIS_TESTS_BROKER=silent_address, TEMPORIS_TESTS_LEFT_OUT=str(left_out))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 skipped" in done.stdout
    line = f"2 tests in test_story.py: No RabbitMQ answers on {silent_address}. `make setup-system` sets one up.\n"
    assert line in done.stdout.partition(" left out ")[2]
    assert left_out.read_text() == line


def test_where_every_test_must_run_nothing_is_left_out(tmp_path, silent_address):
    """CI fails without a broker, instead of passing with less tested."""
    done = run_the_tests(tmp_path, TEMPORIS_TESTS_BROKER=silent_address, TEMPORIS_TESTS_COMPLETE="yes")
    assert done.returncode == 1, done.stdout
    assert "1 passed, 2 errors" in done.stdout
    assert (
        f"TEMPORIS_TESTS_COMPLETE=yes lets no test be left out. No RabbitMQ answers on {silent_address}." in done.stdout
    )


def test_a_run_in_which_nothing_is_missing_mentions_nothing(tmp_path):
    """With a broker, the tests that need it run, and there is nothing to read at the end."""
    with a_broker() as address:
        done = run_the_tests(tmp_path, TEMPORIS_TESTS_BROKER=address, TEMPORIS_TESTS_COMPLETE="yes")
    assert "3 passed" in done.stdout
    assert " left out " not in done.stdout


def test_make_test_ends_with_what_its_passes_left_out():
    """The list is not lost between the passes; in CI, nothing may be on it."""
    recipe = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert recipe.index("TEMPORIS_TESTS_LEFT_OUT=") < recipe.index("-m pytest")
    assert recipe.rindex("-m pytest") < recipe.index("Left out")
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    assert commands.index("make setup-system") < commands.index("make test")
    assert any(line.startswith("export TEMPORIS_TESTS_COMPLETE=yes") for line in commands)


@contextmanager
def a_broker():
    """Something that answers the first frame of AMQP as a broker does: the real one is in tests/distributed."""

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(8) == b"AMQP\x00\x00\x09\x01":
                    connection.sendall(b"\x01\x00\x00")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)  # which ends the thread's wait; closing alone does not
    thread.join()


def test_setting_up_the_system_changes_nothing_that_answers(tmp_path):
    """Running it again is safe, for every user."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("java", "chromium"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    with a_broker() as address:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.system_parts"],
            env={
                **environment_of_a_run(), "PATH": str(programs), "JAVA_HOME": str(tmp_path),
                "TEMPORIS_TESTS_BROKER": address,
            },
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    there = "is there already; nothing was changed."
    assert (done.returncode, done.stdout) == (0, f"RabbitMQ {there}\nJava {there}\nChromium {there}\n")


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with no program but those of the test, which log their calls; the user is root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return System(tmp_path)


class System:
    def __init__(self, folder):
        self.folder = folder
        self.part = Part(
            name="Part", needed_for="this test", answers=(folder / "started").exists, program="test-part-server",
            package="part", starts=(("test-part-server", "-detached"),),
        )  # fmt: skip

    def has(self, name, does="exit 0"):
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.folder}/called\n{does}\n')
        path.chmod(0o755)

    @property
    def has_server(self):
        return f"echo > {self.folder}/started"

    def called(self):
        return (self.folder / "called").read_text().splitlines()


def test_a_part_that_is_installed_is_only_started(system):
    """No package is looked at where the program is there."""
    system.has("test-part-server", system.has_server)
    assert set_up(system.part) == "was set up: it was started with `test-part-server -detached`."
    assert system.called() == ["test-part-server -detached"]


def test_a_part_that_is_missing_is_installed_and_started_unless_its_package_did(system):
    """As in a fresh container, whose lists of packages are empty."""
    system.has("apt-get", f'[ "$1" = update ] || {system.has_server}')
    assert set_up(system.part) == "was set up: the package part was installed."
    assert system.called() == ["apt-get update", "apt-get install --yes --no-install-recommends part"]


def test_without_root_a_missing_part_is_named_and_nothing_is_changed(system, monkeypatch):
    """The command that only root can run is in the text, and is not tried."""
    system.has("test-part-server", system.has_server)
    system.has("sudo", "exit 1")  # it asks for a password
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match=r"only root can run `\S*test-part-server -detached`\."):
        set_up(system.part)
    assert system.called() == ["sudo -n true"]


def test_a_user_who_may_become_root_needs_no_password(system, monkeypatch):
    """As on the machines of GitHub's CI."""
    system.has("test-part-server", system.has_server)
    system.has("sudo", '[ "$2" = true ] && exit; shift 3; "$@"')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert set_up(system.part).startswith("was set up")


def test_a_system_without_debians_packages_is_told_what_to_install(system):
    """A package has another name there, which a person who knows the system can find."""
    with pytest.raises(MissingError, match=r"has no apt-get\. Install what corresponds to Debian's part"):
        set_up(system.part)
