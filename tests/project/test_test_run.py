"""The test run itself: it can be interrupted, and it ends, wherever it is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert recipe.count("-m pytest") == recipe.count("|| failed=") == 3
