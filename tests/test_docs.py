"""Everything the README and the docs show is run: what a newcomer copies works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from temporis_dagster import connect

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_every_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    """Pasted block after block into one session, in an empty folder, a page's code runs and its assertions hold."""
    monkeypatch.chdir(tmp_path)
    session = {"__name__": "__main__"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec", dont_inherit=True), session)


def test_the_commands_of_the_readme_run(tmp_path):
    """The console session of the README, pasted line by line into a shell in an empty folder, ends well."""
    (session,) = blocks(ROOT / "README.md", "console")
    script = "set -e; trap 'kill $(jobs -p)' EXIT\n" + re.sub(r"^\$ ", "", session, flags=re.MULTILINE)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "TEMPORIS_URL": "", "TEMPORIS_TOKEN": ""}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    with connect(f"sqlite:///{tmp_path}/temporis.db") as temporis:
        assert temporis.data_source("store_metrics").read().value.tolist() == [42.0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_code_is_run(page):
    """No page shows code in a language that the tests of this file pass over."""
    kinds = {kind for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds <= ({"python", "sh", "console"} if page.name == "README.md" else {"python"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_shown_exists(page):
    """A command in the docs is a target of the Makefile."""
    for target in re.findall(r"\bmake (\w+)", " ".join(blocks(page, "sh"))):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    """No dead links between our own pages."""
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


def test_ci_runs_the_commands_of_the_readme():
    """The two commands that the README promises are what every landing has passed."""
    ci = (ROOT / ".ci" / "run").read_text()
    assert [code.strip() for code in blocks(ROOT / "README.md", "sh")] == ["make demo", "make test"]
    assert {"make demo", "make test"} <= set(ci.splitlines())


def test_no_file_names_a_registry_host():
    """The project installs from wherever the machine is set up to, so no address of a registry stands in any file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    pattern = re.compile(rb"https?://[^\s\"')]*(?:pypi|pythonhosted|npmjs|/simple)[^\s]*")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not pattern.search(path.read_bytes()), name
