"""The pages of ``--help``: docs/cli.md shows them as they are printed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import pytest

from temporis_dagster.cli import main

SCRIPT = Path(__file__).parents[2] / "docs" / "cli.py"


@pytest.fixture(scope="module")
def script():
    """docs/cli.py, which writes the page."""
    spec = importlib.util.spec_from_file_location("cli_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_shows_every_help(script):
    """docs/cli.md is what the commands print. If it differs, write it again with `python docs/cli.py`."""
    assert script.page() == script.PAGE.read_text(encoding="utf-8")


def test_every_help_is_written_in_one_style(script):
    """A first line that ends with a full stop, a sentence for each option, and the exit codes at the end."""
    shown = list(script.commands(main, click.Context(main, info_name="temporis")))
    assert {context.command_path for context in shown} == set(script.EXAMPLES)
    for context in shown:
        command = context.command
        assert command.help.partition("\n")[0].endswith("."), context.command_path
        assert context.get_help().rstrip().endswith(script.EXIT_CODES.splitlines()[-1])
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (context.command_path, option.name)
                assert option.help[0].isupper(), (context.command_path, option.name)
                assert option.help.endswith("."), (context.command_path, option.name)
