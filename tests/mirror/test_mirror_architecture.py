"""The house of the mirror: who changes a batch's state, and which rule a lease and an attempt share."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

import temporis_dagster
from temporis_dagster import connect
from temporis_dagster.data_source.http import deadline
from temporis_dagster.data_source.http.deadline import Deadline
from temporis_dagster.data_source.mirror import batches
from temporis_dagster.testing import FakeService, sample_frame

PACKAGE = Path(temporis_dagster.__file__).parent
WRITE = re.compile(
    r"(INSERT\s+(OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE|DELETE\s+FROM)\s+temporis_mirror_(batch|rows)\b"
)


def writes_of(module: Path) -> int:
    """How many statements of a module write a batch, also where a string is broken over several lines."""
    return len(WRITE.findall(re.sub(r'"\s*f?"', "", module.read_text())))


def test_one_module_changes_the_state_of_a_batch():
    """``mirror/batches.py``, which draws the states; no other one of the package writes into the table."""
    writers = {str(module.relative_to(PACKAGE)) for module in PACKAGE.rglob("*.py") if writes_of(module)}
    # A trigger of the schema deletes what a batch carried along with the batch.
    assert writers == {"data_source/mirror/batches.py", "data_source/mirror/sqlite/schema.py"}
    assert writes_of(PACKAGE / "data_source/mirror/sqlite/schema.py") == 1


def test_every_step_is_in_the_drawing():
    """The docstring of ``batches`` names each function that writes a batch's state, and each state."""
    source = (PACKAGE / "data_source/mirror/batches.py").read_text()
    functions = re.split(r"^def ", source, flags=re.MULTILINE)[1:]
    steps = {text.split("(")[0] for text in functions if WRITE.search(re.sub(r'"\s*f?"', "", text))} - {"_insert"}
    assert steps | {"insert", "move", "doubt"} <= set(re.findall(r"\w+", batches.__doc__))
    assert all(state in batches.__doc__ for state in ("WAITING", "IN FLIGHT", "CLOSED", "DOUBTFUL"))


def test_the_mirror_has_at_most_sixteen_rooms():
    """So that a newcomer finds the one that is meant."""
    assert len(list((PACKAGE / "data_source/mirror").glob("*.py"))) <= 16


@pytest.mark.parametrize("slowest", [50_000, 500, 5])
def test_a_lease_lasts_longer_than_the_client_lets_an_attempt_last(slowest, mirror_db, monkeypatch):
    """Whatever the rule for the length of an attempt, the client and the lease follow the same one.

    Asked where an attempt begins: the lease on disk ends after the attempt must be over. A second rule on either side
    would let the shorter one be too short, and a key could be in two requests.
    """
    monkeypatch.setattr(deadline, "SLOWEST_BYTES_PER_S", slowest)
    allowed, usual = [], Deadline.begin

    def begin(self, allowed_s: float) -> None:
        ((until,),) = mirror_db.rows("SELECT min(lease_until) FROM temporis_mirror_batch WHERE live > 0")
        allowed.append((allowed_s, until - time.time()))
        usual(self, allowed_s)

    monkeypatch.setattr(Deadline, "begin", begin)
    options = {"timeout_s": 0.5, "batch_rows": 100, "max_in_flight": 1}
    with (
        FakeService() as service,
        connect(service.url, service.token, mirror=mirror_db.url, **options) as temporis,
    ):
        # The names make a row longer than the lease takes for typical, so that it must be renewed for the body.
        frame = sample_frame(hours=50).add_suffix("n" * 150)
        assert temporis.data_source("store_metrics").upsert(frame).stored == 100
    assert allowed
    assert all(lease_s >= attempt_s for attempt_s, lease_s in allowed)
