"""Where the assets of the end-to-end story extract from: a folder, so that every process sees the same upstream.

Comes in: what a scene says of the upstream. Goes out: versions of values, failures, and a journal of what ran.
Never: is part of what is tested.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FORMAT = "%Y-%m-%d-%H:%M"
PATIENCE_S = 120


@dataclass(frozen=True)
class Extraction:
    """A body that ran.

    Attributes:
        asset: Whose.
        keys: Of its partitions.
        version: The version of the values that it saw.
        pid: Of its process.
    """

    asset: str
    keys: tuple[str, ...]
    version: float
    pid: int


@dataclass
class Upstream:
    """The values of every asset are the version that the upstream has when the body runs.

    Attributes:
        folder: Where all this is kept.
        version: Of the values.
        failing: Up to which extraction of a partition, counted from its first one, they fail.
    """

    folder: Path
    version: float = 1.0
    failing: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of_environment() -> "Upstream":
        return Upstream(Path(os.environ.get("E2E_FOLDER", ".")))

    def say(self, *, version: float | None = None, fails: tuple[str, int] | None = None) -> None:
        """Change what the next extractions find: a version, or a partition of which the next so many fail."""
        self.version = version or self.version
        if fails:
            key, times = fails
            self.failing[key] = len(self.extractions("load", key)) + times
        whole = self.folder / "upstream.new"
        whole.write_text(json.dumps({"version": self.version, "failing": self.failing}))
        whole.replace(self.folder / "upstream.json")

    def extract(self, asset: str, keys: Sequence[str]) -> float:
        """Called by a body: the version, once nobody holds it back; or a failure."""
        told = json.loads((self.folder / "upstream.json").read_text())
        with (self.folder / "journal").open("a") as journal:
            journal.write(json.dumps([asset, [*keys], told["version"], os.getpid()]) + "\n")
        self._wait_while_held()
        bad = [key for key in keys if len(self.extractions(asset, key)) <= told["failing"].get(key, 0)]
        if bad:
            raise RuntimeError(f"the upstream has no {', '.join(bad)}")
        return float(told["version"])

    def extractions(self, asset: str, key: str | None = None) -> list[Extraction]:
        """The bodies of an asset that ran, or only those that ran over a partition, in order."""
        journal = self.folder / "journal"
        lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        ran = [Extraction(name, tuple(keys), version, pid) for name, keys, version, pid in lines if name == asset]
        return [one for one in ran if key is None or key in one.keys]

    @contextmanager
    def held(self) -> Iterator[None]:
        """In here, extractions have seen their values and do not return."""
        (self.folder / "held").touch()
        try:
            yield
        finally:
            (self.folder / "held").unlink()

    def is_held(self) -> bool:
        return (self.folder / "held").exists()

    def _wait_while_held(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.is_held():
            if time.monotonic() > deadline:
                raise TimeoutError("held for too long")
            time.sleep(0.05)
