"""Retry: what happened so far -> how long to wait, or stop.

Comes in: an answer and what is known of the service. Goes out: a wait in seconds, or the reason to give up.
Never: looks at a clock, sleeps, or does I/O: all that it needs is handed in, randomness too.

| answer | retried |
| --- | --- |
| no answer: refused, reset, timed out | yes |
| 408, 425, 429, 502, 503, 504, 520 to 524, 530 | yes |
| 500; 400, 409, 422 that are not the API's own | twice |
| 413 | no: sent again in halves |
| 400, 422 of the API | no: sent again in halves, to find the bad rows |
| 401, 404, 409, and whatever else | no |
"""

from __future__ import annotations

from dataclasses import dataclass

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer

LAST_MOMENT_S = 0.001
"""What is left of the patience when it is taken for used up: clocks count in floats."""


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        give_up_after_s: How long to go on without any acknowledgement.
        budget: How many requests beyond the first ones a service gets while it acknowledges nothing. Shared by all
            batches of a connection; an acknowledgement restores it.
        own_budget: How many of them each upsert gets even where the earlier ones used it up.
        first_wait_s: The longest first wait; it doubles with each failure in a row.
        longest_wait_s: The longest of all waits, unless the service asks for a longer one.
        unclear: How many answers that may not pass a batch gets retried.
        said: How a reason to give up names the first of these.
    """

    give_up_after_s: float = 300.0
    budget: int = 20
    own_budget: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    unclear: int = 2
    said: str = "give_up_after_s={:g}"


@dataclass(frozen=True)
class Situation:
    """What is known when an attempt failed.

    Attributes:
        failures: Failed attempts in a row: of this batch, or of the connection where nothing gets through.
        unclear: How many of this batch's answers may not pass.
        silence_s: How long ago the service last acknowledged anything, or the upsert began.
        budget_left: How much of the retry budget is left.
    """

    failures: int
    unclear: int
    silence_s: float
    budget_left: int


@dataclass(frozen=True)
class Wait:
    """Try again after so long."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Stop, and why."""

    reason: str


def is_transient(answer: Answer) -> bool:
    """Whether the same request may get another answer later."""
    return answer.meaning in (Meaning.TRANSIENT, Meaning.UNCLEAR)


def next_step(policy: RetryPolicy, situation: Situation, answer: Answer, chance: float) -> Wait | GiveUp:
    """Decide what follows a transient failure. The last wait ends with the patience, so that none of it is given away.

    Args:
        policy: How patient to be.
        situation: What is known.
        answer: The failure.
        chance: A random number in [0, 1): full jitter.

    Examples:
        >>> busy = Answer(503, "busy", retry_after_s=7)
        >>> next_step(RetryPolicy(), Situation(1, 0, silence_s=0, budget_left=20), busy, chance=0.5)
        Wait(seconds=7.25)
        >>> next_step(RetryPolicy(), Situation(1, 0, silence_s=0, budget_left=0), busy, chance=0.5)
        GiveUp(reason='the retry budget of 20 requests is used up')
    """
    if situation.unclear > policy.unclear:
        return GiveUp(f"it failed in this way {situation.unclear} times")
    if situation.budget_left <= 0:
        return GiveUp(f"the retry budget of {policy.budget} requests is used up")
    asked_s, left_s = answer.retry_after_s or 0.0, policy.give_up_after_s - situation.silence_s
    if left_s < max(asked_s, LAST_MOMENT_S):
        asked = "" if answer.retry_after_s is None else f" and asks to wait {asked_s:.0f} s"
        limit = policy.said.format(policy.give_up_after_s)
        return GiveUp(f"it acknowledged nothing for {situation.silence_s:.0f} s{asked} ({limit})")
    longest = min(policy.first_wait_s * 2.0 ** min(situation.failures - 1, 60), policy.longest_wait_s)
    return Wait(min(asked_s + chance * longest, left_s))
