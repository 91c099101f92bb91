"""What a contributor meets first: every command, path and setting on these pages and in these files is real."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import temporis_dagster

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md")]
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def loaded(path: Path):
    return yaml.safe_load(path.read_text())


def recipe(target: str, *variables: str) -> str:
    """Return the commands of a target without running them, as if the environments were installed."""
    command = ["make", "--dry-run", *(f"--old-file={name}/ready" for name in (".venv", ".venv-oldest", ".venv-newest"))]
    done = subprocess.run([*command, target, *variables], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_every_yaml_file_is_yaml():
    """No workflow, form or hook fails only after it was pushed."""
    files = [*GITHUB.rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    assert all(isinstance(loaded(path), dict) for path in files)


def test_the_workflow_runs_what_runs_here_on_the_oldest_and_the_newest_python():
    """CI on GitHub is `.ci/run`, with no steps of its own that a contributor could not repeat."""
    workflow = loaded(GITHUB / "workflows" / "ci.yml")
    job = workflow["jobs"]["run"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert job["strategy"]["matrix"]["python"] == [supported[0], supported[-1]]


def test_the_workflow_can_only_read_and_uses_named_versions():
    """A pull request gets no right to write, and an action changes only by a commit here."""
    workflow = loaded(GITHUB / "workflows" / "ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads the key `on` as true
    [job] = workflow["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action) for action in used)


@pytest.mark.parametrize("form", ["bug.yml", "idea.yml"])
def test_the_issue_forms_are_complete(form):
    """Each has a name, a description and fields with labels; GitHub ignores a form without them."""
    content = loaded(GITHUB / "ISSUE_TEMPLATE" / form)
    assert {"name", "description", "body"} <= set(content)
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in content["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)


def test_dependabot_leaves_the_oldest_dependencies_alone():
    """It follows Python packages and actions; the lower ends of the declared ranges are not behind, but meant."""
    updates = {update["package-ecosystem"]: update for update in loaded(GITHUB / "dependabot.yml")["updates"]}
    assert set(updates) == {"pip", "github-actions"}
    assert updates["pip"]["exclude-paths"] == ["constraints-oldest.txt"]


def test_the_hooks_are_the_tools_of_make_check():
    """A commit that passes the hooks was checked by the same versions with the same settings as in CI."""
    hooks = [hook for repo in loaded(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    checked = {Path(line.split()[0]).name for line in recipe("check").splitlines()}
    programs = {hook["entry"].split()[0] for hook in hooks}
    assert all(program.startswith(".venv/bin/") and Path(program).name in checked for program in programs)


def test_make_bench_measures_everything_unless_it_is_told_what():
    """A script added to benchmarks/ is measured without a change to the Makefile."""
    (everything,) = [line for line in recipe("bench").splitlines() if "-m benchmarks" in line]
    assert everything.split()[-1] == "run"
    (some,) = [
        line for line in recipe("bench", "SCRIPTS=store", "OPTIONS=--quick").splitlines() if "-m benchmarks" in line
    ]
    assert some.split()[-3:] == ["run", "--quick", "store"]


def test_make_test_fast_runs_one_environment_without_the_long_tests():
    """What a contributor runs while working: one pass, no other environment, no end-to-end test, no long form."""
    commands = recipe("test-fast")
    assert commands.count("-m pytest") == 1
    assert "--ignore tests/end_to_end" in commands
    assert not any(word in commands for word in (".venv-oldest", ".venv-newest", "--soak"))


def test_the_number_of_processes_is_a_variable():
    """`make test-fast WORKERS=4` runs the tests in four processes."""
    assert "--numprocesses 4" in recipe("test-fast", "WORKERS=4")


def test_ci_measures_coverage_and_has_a_floor():
    """The number is printed at the end of the first pass, which fails below the floor."""
    assert "export COVERAGE=yes" in (ROOT / ".ci" / "run").read_text()
    assert recipe("test", "COVERAGE=yes").count("--cov-fail-under=") == 1
    assert "--cov" not in recipe("test", "COVERAGE=")


def test_only_the_passes_with_other_dependencies_leave_out_what_those_cannot_change():
    """The first pass runs every test, and what the others leave out is marked; no form of the run leaves out more."""
    passes = [line for line in recipe("test").splitlines() if "-m pytest" in line]
    again = {word for one in passes if "--again" in one for word in re.findall(r"\.venv\S*(?=/bin/python)", one)}
    assert len(passes) == 4
    assert again == {".venv-oldest", ".venv-newest"}
    assert not any(word in recipe("test") for word in ("--deselect", " -k ", "not once"))
    assert "--again" not in recipe("test-fast") + recipe("coverage") + recipe("soak")


def test_resetting_the_demo_keeps_the_environments():
    """`make clean-demo` removes what the demo made and nothing that takes minutes to install."""
    assert ".venv" not in recipe("clean-demo")
    assert ".venv" in recipe("clean")


def test_make_help_lists_every_target():
    """A target without a description is one that a newcomer never finds."""
    command = ["make", "--no-print-directory", "help"]  # which a make that runs the tests would have it print
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert {line.split()[1] for line in listed.splitlines()} == set(phony.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_on_the_page_exists(page):
    """A file or folder that a page names is where the page puts it."""
    for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_on_the_page_leads_somewhere(page):
    """No dead links between our own pages."""
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_on_the_page_exists(page):
    """A command that a contributor copies is a target of the Makefile."""
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"`?\bmake ([a-z]+(?:-[a-z]+)*)`", page.read_text())) <= set(phony.split())


def test_the_changelog_has_a_heading_for_this_version():
    """What is released is described, and what comes next has a place."""
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert temporis_dagster.__version__ in headings
