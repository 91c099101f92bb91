"""Follow the first steps of docs/components.md to the letter, in an empty folder: what a newcomer copies works.

Run by the Python of an environment that holds the package and `dg`: the `pip install` of the page is taken as done.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "components.md"
SECTION = "## From pip install to a first run\n"
FILE = re.compile(r"^`([^`\n]+)`:\n\n((?:(?: {4}[^\n]*)?\n)+|```python\n.*?^```$)", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(section: str) -> str:
    """What the section tells to type and to save, in its order, as one shell script."""

    def saved(found: re.Match[str]) -> str:
        path, text = found[1], found[2]
        python = PYTHON.fullmatch(text.strip())
        body = python[1] if python else re.sub(r"^ {4}", "", text, flags=re.MULTILINE).strip() + "\n"
        lines = "".join(f"    {line}\n" for line in f"cat > {path} <<'END'\n{body}END".splitlines())
        return f"\n{lines}\n"

    told = PYTHON.sub("", FILE.sub(saved, section))
    lines = [line[4:] for line in told.splitlines() if line.startswith("    ")]
    install, *rest = lines
    assert install.startswith("pip install temporis-dagster"), install  # noqa: S101
    return "\n".join(["set -ex", *rest, ""])


def follow(folder: Path) -> str:
    """What the last command shows. The resources that were scaffolded are those of the page."""
    section = PAGE.read_text().split(SECTION)[1].split("\n## ")[0]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    packages = os.environ.get("PYTHONPATH", "")  # the checkout, where that is what is tried
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORIS_")} | {
        "PATH": programs,
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_HOME": str(folder),
    }
    text = script(section).replace(
        "PYTHONPATH=$PWD/src", f"PYTHONPATH=$PWD/src{os.pathsep}{packages}".rstrip(os.pathsep)
    )
    done = subprocess.run(  # noqa: S603
        ["bash", "-c", text],  # noqa: S607
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(done.stderr[-5_000:], file=sys.stderr)
    assert done.returncode == 0, done.stdout[-5_000:]  # noqa: S101
    resources = (folder / "shop" / "src" / "shop" / "defs" / "resources.py").read_text()
    assert resources in PYTHON.findall(section), resources  # noqa: S101
    return done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        shown = follow(Path(folder))
    assert "2024-06-01T00:00:00Z,example,1" in shown, shown  # noqa: S101
    print("The first steps of docs/components.md work as they stand there.")
