"""Fixtures of the tests of the command line: no settings of this machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No setting of the machine that runs the tests."""
    for name in ("TEMPORIS_URL", "TEMPORIS_TOKEN", "TEMPORIS_STORE", "TEMPORIS_MIRROR"):
        monkeypatch.delenv(name, raising=False)
