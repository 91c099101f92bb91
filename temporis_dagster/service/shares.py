"""Shares: something that requests take some of for a while, divided so that one account cannot take all of it.

Comes in: an account and an amount. Goes out: the amount, held until the request gives it back, or a refusal.
Never: lets a request wait for longer than its patience, or gives one that comes late what an earlier one could have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from temporis_dagster.service.answers import Refusal


@dataclass(eq=False, frozen=True)
class _Request:
    account: str
    amount: int
    most: int
    most_of_account: int
    has_it: anyio.Event = field(default_factory=anyio.Event)


class Shares:
    """What is taken, by account.

    Args:
        refusal: Makes the refusal of a request for which there was not enough in time.
    """

    def __init__(self, refusal: Callable[[], Refusal]) -> None:
        self._refusal, self._taken = refusal, Counter[str]()
        self._waiting: dict[_Request, None] = {}

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
        request = _Request(account, amount, most, most_of_account)
        self._waiting[request] = None
        self._give()
        try:
            if not request.has_it.is_set():
                with anyio.move_on_after(patience_s):
                    await request.has_it.wait()
            if not request.has_it.is_set():
                raise self._refusal()
            yield
        finally:
            if request.has_it.is_set():
                self._taken[account] -= amount
                self._taken += Counter()  # drops accounts that hold nothing
                self._give()
            else:
                del self._waiting[request]

    def _give(self) -> None:
        """Give what is free to those who have waited longest. The others sleep on: to wake a thousand takes long."""
        taken = self._taken.total()
        for request in list(self._waiting):
            account, amount = request.account, request.amount
            if taken + amount <= request.most and self._taken[account] + amount <= request.most_of_account:
                taken += amount
                self._taken[account] += amount
                del self._waiting[request]
                request.has_it.set()
