"""Retry: after this failure, how long to wait, or why to give up.

Comes in: an answer and what is known of the service. Goes out: a wait in seconds, or the reason to give up.
Never: looks at a clock, sleeps, or does I/O: everything it needs is passed in, including randomness.

The table follows from what each status means (``contract.meaning_of``); statuses change there.

| answer | retried |
| --- | --- |
| no answer: connection refused, reset or timed out | yes |
| 408, 425, 429, 502, 503, 504, 520 to 524, 530 | yes |
| 500; 400, 409, 422 that the API did not write itself; an unknown host | twice |
| 413 | no: sent again in halves |
| 400, 422 of the API | no: sent again in halves, to find the rejected rows |
| 401, 404, 409, and any other | no |
"""

from __future__ import annotations

from dataclasses import dataclass

from temporis_dagster.contract import Meaning
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.wording import counted

LAST_MOMENT_S = 0.001
"""How much of ``give_up_after_s`` may be left and still counts as none: clocks count in floats."""


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        give_up_after_s: How many seconds to go on without any acknowledgement.
        budget: The number of retries that a service receives while it acknowledges nothing. Shared by all bodies of a
            connection; an acknowledgement restores it.
        own_budget: How many of them each upsert has even if earlier ones used up the budget.
        first_wait_s: The longest first wait, in seconds; it doubles with each failure in a row.
        longest_wait_s: The longest of all waits, in seconds, unless the service asks for a longer one.
        unclear: How many answers that may be permanent are retried for each body.
        said: How a reason to give up writes ``give_up_after_s``, as a format.
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
        failures: Failed attempts in a row: of this body, or of the connection if nothing gets through.
        unclear: How many of the answers to this body may be permanent.
        silence_s: How many seconds ago the service last acknowledged anything, or the upsert began.
        budget_left: How many retries are left in the budget.
    """

    failures: int
    unclear: int
    silence_s: float
    budget_left: int


@dataclass(frozen=True)
class Wait:
    """Try again after this time."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Stop, for this reason."""

    reason: str


def is_transient(answer: Answer) -> bool:
    """Tell whether the same request may get another answer later."""
    return answer.meaning in (Meaning.TRANSIENT, Meaning.UNCLEAR)


def next_step(policy: RetryPolicy, situation: Situation, answer: Answer, chance: float) -> Wait | GiveUp:
    """Decide what follows a transient failure. The last wait ends when ``give_up_after_s`` does, for a last attempt.

    Args:
        policy: How patient to be.
        situation: What is known of the service.
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
        return GiveUp(f"it failed in this way {counted(situation.unclear, 'time')}")
    if situation.budget_left <= 0:
        return GiveUp(f"the retry budget of {counted(policy.budget, 'request')} is used up")
    asked_s, left_s = answer.retry_after_s or 0.0, policy.give_up_after_s - situation.silence_s
    if left_s < max(asked_s, LAST_MOMENT_S):
        asked = "" if answer.retry_after_s is None else f" and asks to wait {asked_s:.0f} s"
        limit = policy.said.format(policy.give_up_after_s)
        return GiveUp(f"it acknowledged nothing for {situation.silence_s:.0f} s{asked} ({limit})")
    longest = min(policy.first_wait_s * 2.0 ** min(situation.failures - 1, 60), policy.longest_wait_s)
    return Wait(min(asked_s + chance * longest, left_s))
