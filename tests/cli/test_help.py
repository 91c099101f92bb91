"""The pages of ``--help``: docs/cli.md shows them as they are printed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click
import pytest

from temporis_dagster.cli import main
from temporis_dagster.contract import DATA_SOURCE_NAME_RULE
from tests.support.cli_tools import run

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


def test_tables_of_a_help_are_shown_as_tables(script):
    """No help shows click's mark of a paragraph that keeps its lines, and the options to try stand below each other."""
    for context in script.commands(main, click.Context(main, info_name="temporis")):
        assert "\\b" not in context.get_help(), context.command_path
    ingest = click.Context(main.commands["ingest"], info_name="ingest").get_help()
    assert "    milliseconds                         --unit ms\n    decimal commas  " in ingest


def test_a_command_of_a_store_names_its_option_when_it_is_given_a_url(tmp_path):
    """`--url` is what `temporis ingest` takes, so it is tried here, too."""
    url = f"sqlite:///{tmp_path}/temporis.db"
    for command in (["sources", "create", "store_metrics"], ["sources", "list"], ["tokens", "list"], ["serve"]):
        done = run(*command, "--url", url)
        assert done.exit_code == 2
        assert "Pass the URL of the store with --store." in done.stderr
    assert "--url" not in run("sources", "create", "--help").stdout


def test_a_command_of_a_service_names_its_option_when_it_is_given_a_store(tmp_path):
    """`--store` is what `temporis sources create` takes, so it is tried here, too."""
    (tmp_path / "a.csv").write_text("timestamp,a\n0,1\n")
    for command in (["read"], ["ingest", tmp_path / "a.csv"], ["plan", tmp_path / "a.csv"]):
        done = run(*command, "--data-source", "a", "--store", f"sqlite:///{tmp_path}/temporis.db")
        assert done.exit_code == 2
        assert "Pass the URL of either with --url." in done.stderr
        assert "--store" not in re.sub(r"sources create NAME --store", "", run(command[0], "--help").stdout)


def test_what_a_newcomer_must_know_first_is_in_the_help():
    """That the data source must exist, how it is created, how it may be called, and UTC before other zones."""
    shown = {
        command: " ".join(run(*command, "--help").stdout.split()) for command in [("ingest",), ("sources", "create")]
    }
    assert "must exist: `temporis sources create NAME --store URL`" in shown["ingest",]
    assert "--timezone UTC" in shown["ingest",].partition("--timezone Europe/Berlin")[0]
    assert "[default: timestamp]" in shown["ingest",]
    for text in shown.values():
        assert DATA_SOURCE_NAME_RULE in text
        assert "four slashes before an absolute path" in text
