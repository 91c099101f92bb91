"""First steps that a page shows, followed to the letter in an empty folder: what a newcomer copies works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SECTION = "## From pip install to a first run\n"
FILE = re.compile(r"^`([^`\n]+)`:\n\n((?:(?: {4}[^\n]*)?\n)+|```\w+\n.*?^```$)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STORED = "2024-06-01T00:00:00Z,example,1"


def script(section: str) -> str:
    """Everything that the section tells a reader to type and to save, in its order, as one shell script.

    What is indented is typed; a block after the name of a file is saved in it.
    """

    def saved(found: re.Match[str]) -> str:
        path, text = found[1], found[2]
        block = BLOCK.fullmatch(text.strip())
        body = block[1] if block else re.sub(r"^ {4}", "", text, flags=re.MULTILINE).strip() + "\n"
        lines = "".join(f"    {line}\n" for line in f"cat > {path} <<'END'\n{body}END".splitlines())
        return f"\n{lines}\n"

    told = BLOCK.sub("", FILE.sub(saved, section))
    lines = [line[4:] for line in told.splitlines() if line.startswith("    ")]
    return "\n".join(["set -ex", *lines, ""])


def followed(text: str, folder: Path, python: str, packages: str = "") -> str:
    """Run a script with the programs next to ``python``, and return what it printed.

    ``packages`` is a checkout to import the package from; without it, the package is the installed one.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORIS_", "PYTHONPATH"))}
    environment |= {
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_HOME": str(folder),
    }
    if packages:
        environment["PYTHONPATH"] = packages
        text = text.replace("PYTHONPATH=$PWD/src", f"PYTHONPATH=$PWD/src{os.pathsep}{packages}")
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
    return done.stdout


def follow(folder: Path, python: str, packages: str = "") -> None:
    """Follow the first steps of docs/components.md; the page's ``pip install`` is taken as done."""
    section = (DOCS / "components.md").read_text().split(SECTION)[1].split("\n## ")[0]
    install, steps = script(section).replace("set -ex\n", "", 1).split("\n", 1)
    assert install.startswith("pip install temporis-dagster"), install
    printed = followed(f"set -ex\n{steps}", folder, python, packages)
    resources = (folder / "shop" / "src" / "shop" / "defs" / "resources.py").read_text()
    assert resources in BLOCK.findall(section), "`dg scaffold` writes other resources than the page shows"
    assert STORED in printed, printed


def follow_the_tutorial(folder: Path, python: str, packages: str = "") -> str:
    """Follow the part of docs/tutorial.md that makes a project, and return what was printed."""
    section = (DOCS / "tutorial.md").read_text().split("\n## A project with dg\n")[1].split("\n## ")[0]
    return followed(script(section), folder, python, packages)
