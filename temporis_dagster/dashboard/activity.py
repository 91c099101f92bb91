"""Activity: the recent ingests of each account and the refusals, as far as this process answered them.

Comes in: each ingest, once it has been answered. Goes out: the newest ones of an account, with the reasons of refusals.
Never: keeps a token or an address; shows one account what another one sent; grows without bound.

An ingest that was refused before its account was known, for want of a valid token, is listed for all accounts, but only
with its time and the reason: its sender is not known.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.service.access_log import noted, without_tokens
from temporis_dagster.service.middleware import AfterAnswers

MOST_KEPT = 100
"""How many ingests, and how many refusals, are kept for each account: apart, so that neither displaces the other."""

MOST_UNKNOWN = 20
"""How many refusals of unknown senders are kept: any program can cause them, so there are few of
them next to an account's own."""

MOST_ACCOUNTS = 1_000
SHOWN_CHARACTERS = 300
STORED = 204
UNKNOWN = "The service failed, or the client did not wait for the answer."


class Ingest(NamedTuple):
    """One ingest.

    Attributes:
        at: When it was answered, in Unix seconds.
        data_source: The data source that it named; None if that was not read.
        records: The number of its records; None if they were not read.
        status: The status of the answer; 0 if the client was gone.
        reason: Why it was refused; None if it was stored.
    """

    at: float
    data_source: str | None
    records: int | None
    status: int
    reason: str | None


@dataclass
class _OfAccount:
    stored: deque[Ingest] = field(default_factory=lambda: deque[Ingest](maxlen=MOST_KEPT))
    refused: deque[Ingest] = field(default_factory=lambda: deque[Ingest](maxlen=MOST_KEPT))


class Activity:
    """The ring buffers of this process.

    Args:
        clock: Returns the time in Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self._lock = clock, threading.Lock()
        self.since = clock()
        self._accounts = OrderedDict[str, _OfAccount]()
        self._unknown = deque[Ingest](maxlen=MOST_UNKNOWN)

    def note(self, account: str | None, ingest: Ingest) -> None:
        """Keep an ingest."""
        with self._lock:
            if account is None:
                self._unknown.append(ingest)
                return
            kept = self._accounts.setdefault(account, _OfAccount())
            self._accounts.move_to_end(account)
            (kept.stored if ingest.status == STORED else kept.refused).append(ingest)
            if len(self._accounts) > MOST_ACCOUNTS:
                self._accounts.popitem(last=False)

    def stored(self, account: str) -> Sequence[Ingest]:
        """Return the ingests of an account that were stored, the newest first."""
        with self._lock:
            return list(self._accounts.get(account, _OfAccount()).stored)[::-1]

    def refused(self, account: str) -> Sequence[Ingest]:
        """Return the ingests of an account that were refused, and those of unknown accounts, the newest first."""
        with self._lock:
            both = [*self._accounts.get(account, _OfAccount()).refused, *self._unknown]
        return sorted(both, key=lambda ingest: ingest.at)[::-1]


class Watching(AfterAnswers):
    """Note each ingest after it has been answered.

    Args:
        app: The application inside.
        activity: Where to.
    """

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        super().__init__(app)
        self._activity = activity

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        is_ingest = scope["path"] == INGEST_PATH and scope["method"] == "POST"
        await (super().handle if is_ingest else self.app)(scope, receive, send)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:  # noqa: ARG002  # as in the base class
        """Note an ingest."""
        note, reason = noted(scope), None
        if status != STORED:
            reason = without_tokens(note.refusal or UNKNOWN, SHOWN_CHARACTERS)
        name = None if note.data_source is None else without_tokens(note.data_source, SHOWN_CHARACTERS)
        self._activity.note(note.account, Ingest(self._activity.clock(), name, note.records, status, reason))
