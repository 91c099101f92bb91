"""Helpers for users' own tests: a scripted fake of the Temporis API on a real loopback socket, and sample frames.

Comes in: which data sources exist, and what should go wrong. Goes out: a service to connect to, which records
everything it receives. Never: needs pytest, unless the fixture ``fake_temporis`` is used.

To use the fixture, write ``from temporis_dagster.testing import fake_temporis`` in a ``conftest.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporis_dagster.testing.fake_service import FakeService
from temporis_dagster.testing.faults import Fault, Script, answer, at_random, cut, held, html_page, in_sequence, silence
from temporis_dagster.testing.frames import sample_frame
from temporis_dagster.testing.requests import Request

if TYPE_CHECKING:
    from temporis_dagster.testing.fixtures import fake_temporis as fake_temporis

__all__ = [
    "FakeService",
    "Fault",
    "Request",
    "Script",
    "answer",
    "at_random",
    "cut",
    "fake_temporis",
    "held",
    "html_page",
    "in_sequence",
    "sample_frame",
    "silence",
]


def __getattr__(name: str) -> object:
    if name != "fake_temporis":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from temporis_dagster.testing.fixtures import fake_temporis

    return fake_temporis
