"""Tests that this machine cannot run: left out, counted at the end of the run, and refused where all must run.

Comes in: a reason, from a test or fixture that misses something which `make setup-system` sets up. Goes out: the test
is skipped, and the run ends with a list of what was left out and why. With ``TEMPORIS_TESTS_COMPLETE=yes``, as in CI,
the test fails instead.
Never: leaves out a test because it is slow, or silently.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from temporis_dagster.wording import counted

COMPLETE = "TEMPORIS_TESTS_COMPLETE"
LIST_FILE = "TEMPORIS_TESTS_LEFT_OUT"
"""The file to which each pass of `make test` adds what it left out, so that all of it is shown at the end."""

_MARK = "Left out: "


def left_out(reason: str) -> NoReturn:
    """Leave the test out, because the system lacks something; if every test must run, fail it.

    Args:
        reason: What is missing, and which command sets it up, as a sentence.
    """
    if os.environ.get(COMPLETE) == "yes":
        pytest.fail(f"{COMPLETE}=yes lets no test be left out. {reason}", pytrace=False)
    pytest.skip(_MARK + reason)


def summary(reports: list[pytest.TestReport]) -> Iterator[str]:
    """Yield a line for each reason for which tests of a run were left out: how many, why, and in which files.

    Args:
        reports: The reports of tests that were skipped, for whatever reason.
    """
    files = defaultdict(list)
    for report in reports:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if _MARK in text:
            files[text.partition(_MARK)[2]].append(report.nodeid.partition("::")[0])
    for reason, paths in sorted(files.items()):
        yield f"{counted(len(paths), 'test')} in {', '.join(sorted(set(paths)))}: {reason}"


def add_to_list(lines: list[str]) -> None:
    """Add the lines to the list of all passes, if there is one."""
    if path := os.environ.get(LIST_FILE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
