"""Attempts: one body, sent until there is an answer that trying again cannot change.

Comes in: a body, something that sends, and the pace of the connection. Goes out: the last answer, and why it is last.
Never: knows observations, or what the answer means for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.retry import GiveUp, is_transient
from temporis_dagster.data_source.http.throttle import HeldBack, Throttle, is_sign_of_life

LOGGER = logging.getLogger(__name__)


class Transport(Protocol):
    """One attempt of one request."""

    def post(self, body: bytes) -> Answer:
        """Attempt one ingest; never raises for what happens on the wire."""
        ...


@dataclass(frozen=True)
class Reply:
    """The last answer to a body.

    Attributes:
        answer: The answer.
        attempts: How many attempts there were.
        maybe_applied: Whether any of them may have been applied.
        gave_up: Why a transient failure was not tried again; empty where the answer is final.
    """

    answer: Answer
    attempts: int
    maybe_applied: bool
    gave_up: str = ""


def reply_to(
    body: bytes,
    transport: Transport,
    throttle: Throttle,
    *,
    maybe_applied: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    before: Callable[[int], None] = lambda _attempt: None,
    after: Callable[[Reply], None] = lambda _reply: None,
) -> Reply:
    """Attempt a body until that makes no more sense.

    Args:
        body: What to send.
        transport: Sends it.
        throttle: Says when.
        maybe_applied: Whether its records may have been applied before, by a larger request.
        stopped: Whether to start no further attempt.
        before: Told the number of each attempt, from 0, before it starts.
        after: Told what is known after each attempt.

    Raises:
        Stopped: It was stopped before an attempt.
    """
    unclear, reply, not_before = 0, Reply(Answer(None, "not sent"), 0, maybe_applied), 0.0
    while True:
        try:
            number = throttle.turn(stopped, not_before=not_before)
        except HeldBack as held:
            return Reply(held.answer, reply.attempts, reply.maybe_applied, held.reason)
        try:
            before(reply.attempts)
            answer = transport.post(body)
            reply = Reply(answer, reply.attempts + 1, reply.maybe_applied or answer.maybe_applied)
            after(reply)
        except BaseException:
            throttle.leave()
            raise
        if not is_transient(answer):
            if is_sign_of_life(answer):
                throttle.alive(number)
            else:
                throttle.leave()
            return reply
        LOGGER.info("attempt %d failed: %s %s", reply.attempts, answer.status or "no answer", answer.words)
        unclear += answer.meaning is Meaning.UNCLEAR
        resume = throttle.failed(number, answer, reply.attempts, unclear)
        if isinstance(resume, GiveUp):
            return Reply(answer, reply.attempts, reply.maybe_applied, resume.reason)
        not_before = resume
