"""The first steps of docs/components.md, followed to the letter in an empty folder: what a newcomer copies works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "components.md"
SECTION = "## From pip install to a first run\n"
FILE = re.compile(r"^`([^`\n]+)`:\n\n((?:(?: {4}[^\n]*)?\n)+|```python\n.*?^```$)", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STORED = "2024-06-01T00:00:00Z,example,1"


def script(section: str) -> str:
    """Everything that the section tells a reader to type and to save, in its order, as one shell script."""

    def saved(found: re.Match[str]) -> str:
        path, text = found[1], found[2]
        python = PYTHON.fullmatch(text.strip())
        body = python[1] if python else re.sub(r"^ {4}", "", text, flags=re.MULTILINE).strip() + "\n"
        lines = "".join(f"    {line}\n" for line in f"cat > {path} <<'END'\n{body}END".splitlines())
        return f"\n{lines}\n"

    told = PYTHON.sub("", FILE.sub(saved, section))
    lines = [line[4:] for line in told.splitlines() if line.startswith("    ")]
    install, *rest = lines
    assert install.startswith("pip install temporis-dagster"), install
    return "\n".join(["set -ex", *rest, ""])


def follow(folder: Path, python: str, packages: str = "") -> None:
    """Run the section's script with the programs next to ``python``; the page's ``pip install`` is taken as done.

    ``packages`` is a checkout to import the package from; without it, the package is the installed one.
    """
    section = PAGE.read_text().split(SECTION)[1].split("\n## ")[0]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORIS_", "PYTHONPATH"))}
    environment |= {
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_HOME": str(folder),
    }
    text = script(section)
    if packages:
        environment["PYTHONPATH"] = packages
        text = text.replace("PYTHONPATH=$PWD/src", f"PYTHONPATH=$PWD/src{os.pathsep}{packages}")
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
    resources = (folder / "shop" / "src" / "shop" / "defs" / "resources.py").read_text()
    assert resources in PYTHON.findall(section), "`dg scaffold` writes other resources than the page shows"
    assert STORED in done.stdout, done.stdout
