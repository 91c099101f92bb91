"""Attempts: the retry loop of one request, until there is an answer that another attempt cannot change.

Comes in: what makes an attempt, and the throttle of the connection. Goes out: the last answer, and why it is the last.
Never: knows request bodies or observations, or what the answer means for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.http.retry import GiveUp, is_transient
from temporis_dagster.data_source.http.throttle import HeldBack, Throttle, is_sign_of_life

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """The last answer to a request so far.

    Attributes:
        answer: The answer.
        attempts: The number of attempts.
        maybe_applied: Whether any of them may have been applied.
        gave_up: Why a transient failure was not retried again, as a clause; empty if the answer is final.
    """

    answer: Answer
    attempts: int
    maybe_applied: bool
    gave_up: str = ""


def reply_to(
    attempt: Callable[[Reply], Answer],
    throttle: Throttle,
    *,
    body_bytes: int = 0,
    maybe_applied: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Reply:
    """Attempt a request until another attempt makes no sense.

    Args:
        attempt: Makes one attempt, given the reply so far.
        throttle: Decides when the next attempt may start.
        body_bytes: The size of the request, by which the throttle compares how long answers take.
        maybe_applied: Whether the records may have been applied before, by a larger request.
        stopped: Whether not to start another attempt.

    Returns:
        The last answer, and why it is the last.

    Raises:
        Stopped: The delivery was stopped before an attempt.
    """
    unclear, reply, not_before = 0, Reply(Answer(None, "not sent"), 0, maybe_applied), 0.0
    while True:
        try:
            number = throttle.turn(stopped, not_before=not_before)
        except HeldBack as held:
            return Reply(held.answer, reply.attempts, reply.maybe_applied, held.reason)
        try:
            answer = attempt(reply)
        except BaseException:
            throttle.leave(number)
            raise
        reply = Reply(answer, reply.attempts + 1, reply.maybe_applied or answer.maybe_applied)
        if not is_transient(answer):
            if is_sign_of_life(answer):
                throttle.alive(number, body_bytes if answer.meaning is Meaning.STORED else 0)
            else:
                throttle.leave(number)
            return reply
        LOGGER.info("Attempt %d failed: %s %s", reply.attempts, answer.status or "no answer", answer.words)
        unclear += answer.meaning is Meaning.UNCLEAR
        resume = throttle.failed(number, answer, reply.attempts, unclear)
        if isinstance(resume, GiveUp):
            return Reply(answer, reply.attempts, reply.maybe_applied, resume.reason)
        not_before = resume
