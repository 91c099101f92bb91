"""Shares: who gets what is free, and that nothing is lost when a request gives up."""

from __future__ import annotations

import anyio
import pytest

from temporis_dagster.service.answers import Refusal, busy
from temporis_dagster.service.shares import Shares
from tests.support.service_fixture import PATIENCE_S


def held(shares: Shares, account: str, patience_s: float = PATIENCE_S, amount: int = 1):
    return shares.held(account, amount, most=2, most_of_account=1, patience_s=patience_s)


def test_what_is_free_goes_to_who_has_waited_longest_and_may_have_it():
    """Not to one who comes at the right moment, and an account that has its share keeps nobody else waiting."""
    order = list[str]()

    async def wait(shares: Shares, account: str, name: str) -> None:
        async with held(shares, account):
            order.append(name)

    async def main() -> None:
        shares = Shares(busy)
        async with anyio.create_task_group() as group:
            async with held(shares, "a"), held(shares, "b"):
                for account, name in (("a", "first"), ("a", "second"), ("c", "other")):
                    group.start_soon(wait, shares, account, name)
                    await anyio.wait_all_tasks_blocked()
            async with held(shares, "a"):
                order.append("late")
        assert not shares._taken
        assert not shares._waiting

    anyio.run(main)
    assert order.index("first") < order.index("second") < order.index("late")
    assert order.index("other") < order.index("second")


@pytest.mark.parametrize("patience_s", [0, 0.01])
def test_who_gives_up_holds_nothing(patience_s):
    """A refusal after its patience, or a client that is gone: what was asked for is still there for others."""

    async def main() -> None:
        shares = Shares(busy)
        async with held(shares, "a"):
            with pytest.raises(Refusal):
                async with held(shares, "a", patience_s):
                    pytest.fail("it was given twice")
            with anyio.move_on_after(0.01) as gone:
                async with held(shares, "a"):
                    pytest.fail("it was given twice")
            assert gone.cancelled_caught
        async with held(shares, "a", 0):
            assert shares._taken == {"a": 1}
        assert not shares._taken
        assert not shares._waiting

    anyio.run(main)
