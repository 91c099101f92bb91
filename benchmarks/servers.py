"""The server that clients are measured against: a process of its own that reads every body and answers 204.

Comes in: how long it should take. Goes out: its URL.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).with_name("null_server.py")


@contextmanager
def null_server(delay_s: float = 0.0) -> Iterator[str]:
    """A server that swallows everything: its URL.

    Args:
        delay_s: Seconds between the end of a request and its answer.
    """
    process = subprocess.Popen([sys.executable, str(SERVER), str(delay_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()
