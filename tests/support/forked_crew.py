"""A crew of processes that a test starts, hears and kills: the other end of ``forked_workers``.

Comes in: a worker script, and what to ask of each worker. Goes out: what the workers tell, in the order of the pipe.
Never: leaves a process behind, or loses what a worker told before it was killed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
"""Far beyond what anything here takes: only a test that hangs meets it."""


class ForkedCrew:
    """The parent of the workers, and the pipes to it.

    Args:
        script: The worker, which calls ``fork_for_each_line``.

    Attributes:
        complaints: What the workers wrote on stderr.
    """

    def __init__(self, script: Path) -> None:
        self.told: queue.Queue = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.complaints: list[str] = []
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._hear_complaints)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.told.put(json.loads(line))
        self.told.put({"all gone": True})

    def _hear_complaints(self) -> None:
        self.complaints.extend(self.process.stderr)

    def ask(self, **line: Any) -> None:
        """Start a worker."""
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def next_told(self) -> dict[str, Any]:
        """Wait for the next thing that a worker tells."""
        record = self.told.get(timeout=PATIENCE_S)
        assert "all gone" not in record, "".join(self.complaints)
        return record

    def close(self) -> None:
        """End the parent, and with it all that is left: its children see their pipes close."""
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self.process.stdout.close()
        self.process.stderr.close()
