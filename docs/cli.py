"""Writes the pages of ``temporis ... --help`` into cli.md; tests/cli/test_help.py compares them.

python docs/cli.py
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from temporis_dagster.cli import main
from temporis_dagster.cli.exits import EPILOG

EXIT_CODES = EPILOG.removeprefix("\b\n").strip()
PAGE = Path(__file__).with_suffix(".md")
COLUMNS = 78  # what click uses on a terminal of at least 80 columns

INTRODUCTION = """\
# The command line

The `temporis` command manages data sources and tokens in a store of your own, moves observations between files and
data sources, looks after a [mirror](mirror.md), and serves the Temporis API on your machine. [Files](files.md) has the
details of what `temporis ingest` reads, and [The local service](service.md) of what `temporis serve` answers.

Options that name a place or a secret can also be set in the environment: `TEMPORIS_URL`, `TEMPORIS_TOKEN`,
`TEMPORIS_MIRROR` and `TEMPORIS_STORE`. Data goes to stdout; warnings, progress and errors go to stderr. `temporis
--version` prints the version.

This page is generated: `docs/cli.py` writes it from the commands in `temporis_dagster/cli/`. Every page of `--help`
ends with the exit codes, shown here only once:
"""

EXAMPLES = {
    "temporis": "temporis --help",
    "temporis ingest": "temporis ingest orders.csv --data-source store_metrics --url sqlite:///temporis.db",
    "temporis delete": "temporis delete --data-source store_metrics --store sqlite:///temporis.db --name orders",
    "temporis mirror": "temporis mirror --help",
    "temporis mirror discard-pending": "temporis mirror discard-pending --data-source store_metrics --yes",
    "temporis mirror discard-rejected": "temporis mirror discard-rejected --data-source store_metrics",
    "temporis mirror flush": "temporis mirror flush --mirror sqlite:///mirror.db --url http://127.0.0.1:8008",
    "temporis mirror rebind": "TEMPORIS_TOKEN=$NEW_TOKEN temporis mirror rebind --mirror sqlite:///mirror.db",
    "temporis mirror rebuild": "temporis mirror rebuild --mirror sqlite:///mirror.db --url http://127.0.0.1:8009",
    "temporis mirror rejected": "temporis mirror rejected --data-source store_metrics > rejected.csv",
    "temporis mirror retry-rejected": "temporis mirror retry-rejected && temporis mirror flush",
    "temporis mirror status": "temporis mirror status --json",
    "temporis plan": "temporis plan orders.csv --data-source store_metrics --url sqlite:///temporis.db",
    "temporis read": "temporis read --data-source store_metrics --start 2024-06-20T00:00Z > orders.csv",
    "temporis serve": "temporis serve --store sqlite:///temporis.db --port 8008",
    "temporis sources": "temporis sources --help",
    "temporis sources archive": "temporis sources archive store_metrics --store sqlite:///temporis.db",
    "temporis sources create": "temporis sources create store_metrics --store sqlite:///temporis.db",
    "temporis sources list": "temporis sources list --store sqlite:///temporis.db",
    "temporis sources unarchive": "temporis sources unarchive store_metrics --store sqlite:///temporis.db",
    "temporis tokens": "temporis tokens --help",
    "temporis tokens create": "export TEMPORIS_TOKEN=$(temporis tokens create laptop --store sqlite:///temporis.db)",
    "temporis tokens delete": "temporis tokens delete laptop --store sqlite:///temporis.db",
    "temporis tokens list": "temporis tokens list --store sqlite:///temporis.db",
}


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Every command with its subcommands, in the order of ``--help``."""
    yield context
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from commands(child, click.Context(child, context, info_name=name))


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, f"```text\n{EXIT_CODES}\n```\n"]
    for context in commands(main, click.Context(main, info_name="temporis", terminal_width=COLUMNS)):
        shown = context.get_help().removesuffix(textwrap.indent(EXIT_CODES, "  "))
        parts.append(f"## {context.command_path}\n")
        parts.append(f"```text\n$ {EXAMPLES[context.command_path]}\n```\n")
        parts.append(f"```text\n{shown.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
