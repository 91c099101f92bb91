"""Turns: how much the dashboard does at once, in all and for one account.

Comes in: work and for whom. Goes out: its result, or a refusal after a short wait.
Never: lets one account take every turn, or a client wait for long; lets clients that send nothing keep others out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from temporis_dagster.service.answers import RETRY_AFTER_S, Refusal
from temporis_dagster.service.shares import Shares

T = TypeVar("T")

PATIENCE_S = 2.0
"""How long a request waits for its turn before it is answered 503. choice"""


class Turns:
    """A number of turns, each of which is taken by one request at a time.

    Args:
        most: How many there are, which is also the number of threads.
        each: How many of them one account gets; None for all.
        waits: Whether a request waits for ``PATIENCE_S`` before it is refused.
    """

    def __init__(self, most: int, each: int | None = None, *, waits: bool = True) -> None:
        self._most, self._each, self._waits = most, most if each is None else each, waits
        self._shares, self._threads = Shares(_busy), anyio.CapacityLimiter(most)

    def turn(self, account: str = "") -> AbstractAsyncContextManager[None]:
        """Take a turn.

        Args:
            account: The account for which it is.

        Raises:
            Refusal: 503: none was free in time.
        """
        patience_s = PATIENCE_S if self._waits else 0
        return self._shares.held(account, 1, most=self._most, most_of_account=self._each, patience_s=patience_s)

    async def in_thread(self, work: Callable[[], T], account: str = "") -> T:
        """Take a turn, and do work in a thread.

        Args:
            work: What is done.
            account: The account for which it is.

        Raises:
            Refusal: 503: no turn was free in time; or what the work raises.
        """
        async with self.turn(account):
            return await self.within_turn(work)

    async def within_turn(self, work: Callable[[], T]) -> T:
        """Do work in a thread, for a request that has a turn."""
        return await run_sync(work, limiter=self._threads)


class Places:
    """Places of requests that wait for their clients. One too many takes the place of the one that has waited longest.

    A client that sends what it has to is soon done. So those that send nothing lose their places, and keep no other
    client out.

    Args:
        each: How many there are for each account.
    """

    def __init__(self, each: int) -> None:
        self._each, self._waiting = each, defaultdict[str, list[anyio.CancelScope]](list)

    @asynccontextmanager
    async def place(self, account: str = "") -> AsyncIterator[None]:
        """Take a place.

        Args:
            account: The account for which it is.

        Raises:
            Refusal: 503: others needed it.
        """
        waiting = self._waiting[account]
        if len(waiting) >= self._each:
            waiting.pop(0).cancel()
        with anyio.CancelScope() as scope:
            waiting.append(scope)
            try:
                yield
            finally:
                if scope in waiting:
                    waiting.remove(scope)
        if scope.cancelled_caught:
            raise _busy()


def _busy() -> Refusal:
    detail = "The dashboard does as much at once as it can. Try again in a moment."
    return Refusal(503, detail, {"Retry-After": str(RETRY_AFTER_S)})
