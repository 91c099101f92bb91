"""Idle connections: what stays open between transactions, and what a fork does to it.

Comes in: connections that are given back, and databases. Goes out: the same connections, for the next transactions.
Never: holds a lock that is written in Python while it hands out a connection.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

IDLE_CONNECTIONS = 5
"""The number of connections that stay open for the next transactions."""


class IdlePool(NullPool):
    """A pool that keeps some idle connections.

    SQLAlchemy's QueuePool has locks that are written in Python: an interrupt inside would leave them locked, and every
    other thread would wait forever. This pool has no locks.
    """

    _idle: deque[ConnectionPoolEntry] | None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle = deque()

    def _do_get(self) -> ConnectionPoolEntry:
        idle = self._idle
        # A thread may come too late: its engine was given up by another one. What it opens now closes after its use.
        if not idle:
            return super()._do_get()
        try:
            return idle.pop()
        except IndexError:
            return super()._do_get()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        idle = self._idle
        if idle is None or len(idle) >= IDLE_CONNECTIONS:  # disposed, or enough
            super()._do_return_conn(record)
        else:
            idle.append(record)

    def recreate(self) -> IdlePool:
        """Return the same pool: that of a disposed engine keeps nothing any more."""
        return self

    def dispose(self) -> None:
        """Close the idle connections; those in use, and those still to come, close when they are given back."""
        idle, self._idle = self._idle, None
        while idle:
            idle.pop().close()


class Forkable(Protocol):
    """A database whose connections a forked child must not use."""

    def close(self) -> None:
        """Close the idle connections."""
        ...

    def forget(self) -> None:
        """In a forked child, drop what belongs to the parent without closing it or having it collected."""
        ...


def forget_in_children(database: Forkable) -> None:
    """Close the idle connections of a database before each fork, and have the child forget the others."""
    _databases.add(database)


_databases: weakref.WeakSet[Forkable] = weakref.WeakSet()

ABANDONED: list[sa.Engine] = []
"""Engines of the parent that a child must keep: collecting them would close the parent's connections."""


def _close_all() -> None:
    for database in list(_databases):
        database.close()


def _forget_all() -> None:
    for database in list(_databases):
        database.forget()


if hasattr(os, "register_at_fork"):
    # A child that inherits an open file also inherits SQLite's belief in locks that only the parent holds, even for
    # connections that the child opens itself; a child that inherits the socket of a server ends the parent's session
    # when it closes it. So idle connections are closed before a fork, and opened again when they are needed. (A fork
    # while another thread is in the middle of a call is as unsafe as Python's documentation warns.)
    os.register_at_fork(before=_close_all, after_in_child=_forget_all)
