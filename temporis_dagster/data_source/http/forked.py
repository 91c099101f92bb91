"""Forked: what a forked child must not share with its parent.

Comes in: objects with connections, locks or threads. Goes out: nothing; a forked child starts each of them anew first.
Never: keeps anything alive.

A fork copies only the thread that forks. In the child, a lock that another thread held stays locked forever, a request
of another thread counts as under way forever, and a shared connection would deliver the answers of the parent.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object that can start anew."""

    def begin_anew(self) -> None:
        """Forget connections, locks and threads, because they belong to the parent."""
        ...


_ALL: WeakSet[Renewable] = WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Make an object start anew in every child that is forked while the object exists."""
    _ALL.add(thing)


def _begin_anew() -> None:
    for thing in list(_ALL):
        thing.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
