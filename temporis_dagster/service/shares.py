"""Shares: something that requests take some of for a while, divided so that one account cannot take all of it.

Comes in: an account and an amount. Goes out: the amount, held until the request gives it back, or a refusal.
Never: lets a request wait for longer than its patience.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from temporis_dagster.service.answers import Refusal


class Shares:
    """What is taken, by account.

    Args:
        refusal: Makes the refusal of a request for which there was not enough in time.
    """

    def __init__(self, refusal: Callable[[], Refusal]) -> None:
        self._refusal, self._taken = refusal, Counter[str]()
        self._freed = anyio.Event()

    @asynccontextmanager
    async def held(
        self, account: str, amount: int, *, most: int, most_of_account: int, patience_s: float
    ) -> AsyncIterator[None]:
        """Take an amount.

        Args:
            account: The account for which it is.
            amount: How much.
            most: How much there is in all.
            most_of_account: How much of that one account gets.
            patience_s: How many seconds to wait for it.

        Raises:
            Refusal: There was not enough in time.
        """
        with anyio.move_on_after(patience_s) as wait:
            while self._taken.total() + amount > most or self._taken[account] + amount > most_of_account:
                await self._freed.wait()
        if wait.cancelled_caught:
            raise self._refusal()
        self._taken[account] += amount
        try:
            yield
        finally:
            self._taken[account] -= amount
            self._taken += Counter()  # drops accounts that hold nothing
            freed, self._freed = self._freed, anyio.Event()
            freed.set()
