"""Planning: what a target answers about observations, from the stored rows of one transaction.

Comes in: observations, what they are about, ids of series, stored rows. Goes out: a plan, ghosts, the latest rows.
Never: begins a transaction: the store and the mirror do, each in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from temporis_dagster.data_source.observations.model import Observations
from temporis_dagster.data_source.plan.changes import Changes
from temporis_dagster.data_source.plan.ghosts import NO_ROWS, SHOWN_ROWS
from temporis_dagster.data_source.plan.inputs import InputKeys
from temporis_dagster.data_source.plan.plan import Counts, Plan, plan_of
from temporis_dagster.data_source.plan.within import Within, own_spans
from temporis_dagster.data_source.store.compare import (
    Compared,
    Counted,
    Subject,
    compared,
    counted,
    frame_of,
    ghosts_of,
)
from temporis_dagster.data_source.store.read import in_order
from temporis_dagster.data_source.store.stored import StoredRows


class Findings(NamedTuple):
    """What was found in the transaction, from which the plan is made after it."""

    subject: Subject
    compared: Compared
    counted: Counted
    ghost_rows: pd.DataFrame
    archived: bool

    def plan(self, data_source: str) -> Plan:
        """Make the plan."""
        found = self.compared
        return plan_of(
            data_source,
            self.subject.observations,
            Counts(found.new, found.changed, found.unchanged),
            found.changes,
            spans=self.subject.keys.spans,
            ghosts=self.counted.by_series,
            stored=self.counted.stored,
            unreadable=unreadable_in(self.subject),
            ghost_rows=self.ghost_rows,
            archived=self.archived,
        )


def findings(rows: StoredRows, subject: Subject, *, archived: bool) -> Findings:
    """Compare, count the ghosts and read the first of them."""
    found = compared(rows, subject)
    ghosts = counted(rows, subject, found.expected)
    first = frame_of(ghosts_of(rows, subject, ghosts.by_series), SHOWN_ROWS)
    return Findings(subject, found, ghosts, first, archived)


def planned_anew(data_source: str, observations: Observations) -> Plan:
    """Return the plan for a data source that does not exist yet: every observation is new."""
    new = observations.counts
    none = np.zeros_like(new)
    changes = Changes.joined([])
    return plan_of(
        data_source,
        observations,
        Counts(new, none, none),
        changes,
        spans=own_spans(observations),
        ghosts={},
        stored=0,
        unreadable=0,
        ghost_rows=NO_ROWS.copy(),
        archived=False,
    )


def ghosts_counted(rows: StoredRows, subject: Subject, *, stored: bool) -> Counted:
    """Count the ghosts. Observations that have been ``stored`` need not be looked up for that."""
    return counted(rows, subject, None if stored else compared(rows, subject).expected)


def unreadable_in(subject: Subject) -> int:
    """Return how many dropped rows may be among the ghosts."""
    return subject.keys.unreadable_in(subject.within.covered(subject.observations.names))


def subject_of(observations: Observations, within: Within, ids: Mapping[str, int]) -> Subject:
    """Return what is compared."""
    return Subject(observations, within, InputKeys(observations), ids)


def latest_of(rows: StoredRows, ids: Mapping[str, int]) -> pd.DataFrame:
    """Return the last row of each series that has one: name, timestamp (datetime64[s, UTC]), value; by name."""
    ordered = in_order(ids)
    places, last = rows.latest(np.fromiter(ordered.values(), dtype=np.int64, count=len(ordered)))
    names: Sequence[str] = list(ordered)
    order = np.argsort(places)
    return pd.DataFrame(
        {
            "name": pd.Series(names, dtype=str).array.take(places[order]) if names else pd.Series(dtype=str),
            "timestamp": pd.DatetimeIndex(last.timestamps[order].astype("datetime64[s]")).tz_localize("UTC"),
            "value": last.values[order],
        }
    )
