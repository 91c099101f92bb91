"""What the processes of a distributed run tell the test that started them, through a folder.

Comes in: a folder that all of them see. Goes out: who queried which window, and who waits to be killed.
Never: imports Dagster, so that it costs a process nothing.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "deploy" / "celery"
FOLDER = "DISTRIBUTED_FOLDER"


@dataclass(frozen=True)
class Query:
    """One query of a window: by which process, for which first day."""

    pid: int
    first_day: str


class Watch:
    """What processes tell each other through a folder.

    Args:
        folder: A folder that all of them see.
    """

    def __init__(self, folder: Path) -> None:
        self._queries, self._armed, self._victim = folder / "queries", folder / "armed", folder / "victim"

    def queries(self) -> list[Query]:
        """Every query so far, in the order in which they began."""
        if not self._queries.exists():
            return []
        return [Query(**json.loads(line)) for line in self._queries.read_text().splitlines()]

    def arm(self) -> None:
        """Let the next query wait until its process is killed."""
        self._victim.unlink(missing_ok=True)
        self._armed.touch()

    def victim(self) -> Query | None:
        """The query that waits, if one does."""
        told = self._victim.read_text() if self._victim.exists() else ""
        return Query(**json.loads(told)) if told.endswith("\n") else None

    def asks(self, first_day: str) -> None:
        """Say that this process queries a window; if armed, wait for the end of the process."""
        line = json.dumps({"pid": os.getpid(), "first_day": first_day}) + "\n"
        with self._queries.open("a") as file:
            file.write(line)
        try:
            self._armed.rename(self._armed.with_name("disarmed"))  # one process only succeeds
        except FileNotFoundError:
            return
        self._victim.write_text(line)
        while True:
            time.sleep(1)
