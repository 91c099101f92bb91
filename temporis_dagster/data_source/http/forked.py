"""Forked: what a forked child begins anew.

Comes in: things with connections, locks or threads. Goes out: nothing; in a child they are told before all else runs.
Never: keeps anything alive.

A fork copies the thread that forks and no other. A lock that another thread held stays locked in the child for ever, a
request of another thread counts as under way for ever, and on a shared connection it would read its parent's answers.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Something that can begin anew."""

    def begin_anew(self) -> None:
        """Forget connections, locks and threads: there is one thread, and none of those is its own."""
        ...


_ALL: WeakSet[Renewable] = WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have it begin anew in every child that is forked while it exists."""
    _ALL.add(thing)


def _begin_anew() -> None:
    for thing in list(_ALL):
        thing.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
