"""Processes of one kind, forked from a parent that imported everything once: a hundredth of the time of a new process.

Comes in: lines of JSON on stdin, one per child; each has a ``number``. Goes out: what the children tell, lines of JSON
on stdout, and ``{"number": ..., "gone": status}`` once nothing of a child is on the pipe any more.
Never: mixes the lines of two children: each is one write, short enough for the system not to split it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

ATOMIC = select.PIPE_BUF
"""Up to so many bytes, a write into a pipe is never split."""


def tell(**record: object) -> None:
    line = json.dumps(record).encode() + b"\n"
    if len(line) > ATOMIC:
        raise ValueError(f"a line of {len(line)} bytes may mix with another writer's: {line[:200]!r}")
    os.write(1, line)


def fork_for_each_line(work: Callable[[dict[str, Any]], None]) -> None:
    """Fork a child for each line on stdin, which does the work and ends; tell of each one's end."""
    numbers: dict[int, int] = {}

    def bury(*_: object) -> None:
        while numbers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            tell(number=numbers.pop(pid), gone=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, bury)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        child = os.fork()
        if child:
            numbers[child] = asked["number"]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        status = 1
        try:
            work(asked)
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(status)
