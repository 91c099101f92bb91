"""Everything the README and the docs show is run: what a newcomer copies works."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

import temporis_dagster
from temporis_dagster import (
    DataSource,
    PendingInfo,
    Temporis,
    TemporisResource,
    UpsertReport,
    connect,
    errors,
    spark,
    testing,
)
from temporis_dagster.cli.exits import EPILOG
from temporis_dagster.data_source.report import COUNTS
from tests.support.dagster_reference import FOR_TESTS, reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {
    "airflow.md": "tests/airflow/test_airflow_page.py",  # `make airflow-test`
    "spark.md": "tests/distributed/test_spark_page.py",  # `make test`
}
"""Pages whose blocks other tests run, in an environment that has what they import."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OF_A_FILE = re.compile(r"^# (deploy/\S+)\n")  # the first line of a block that shows a part of a file of ours
ENVIRONMENT = re.compile(r"\bTEMPORIS_[A-Z]+\b")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$|^    .*?$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """What a page shows in a language, without the parts of files, which are tested as files."""
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language and not OF_A_FILE.match(code)]


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`", "ignore:Function `build_:dagster.BetaWarning")
@pytest.mark.filterwarnings("ignore:Function `migrate_io_storage` is currently in preview")
@pytest.mark.filterwarnings("ignore:Parameter `include_sources`:dagster.BetaWarning")
@pytest.mark.filterwarnings(
    "ignore:AssetExecutionContext:DeprecationWarning", "ignore::dagster.PreviewWarning"
)  # Pipes
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_the_python_and_the_sql_of_every_page_run_from_top_to_bottom(page, tmp_path, monkeypatch, request):
    """Pasted block after block into one session, in an empty folder, a page's code runs and its assertions hold.

    A page that connects to PostgreSQL has a server of its own, which stands for every host that the page names.
    """
    monkeypatch.chdir(tmp_path)
    code = [(kind, text) for kind, text in BLOCK.findall(page.read_text()) if kind in ("python", "sql")]
    code = [(kind, text) for kind, text in code if not OF_A_FILE.match(text)]
    server = None
    if any(kind == "sql" or "postgresql+psycopg://" in text for kind, text in code):
        server = request.getfixturevalue("private_postgres")
        for variable, value in {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(server.port), "PGSERVICEFILE": ""}.items():
            monkeypatch.setenv(variable, value)
    session = {"__name__": "__main__"}
    for kind, text in code:
        if kind == "sql":
            run_sql(server, text)
        else:
            exec(compile(text, str(page), "exec", dont_inherit=True), session)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_a_page_that_needs_another_environment_is_run_there(page):
    """Here it only compiles. There, a test runs its blocks, and says so by naming the page."""
    for code in blocks(ROOT / "docs" / page, "python"):
        compile(code, page, "exec")
    assert f"docs/{page}" in (ROOT / ELSEWHERE[page]).read_text().split('"""')[1]


def run_sql(server, text: str) -> None:
    """Run a block of SQL as psql would, as the administrator, in the database that the page has made by then."""
    made = [name for (name,) in server.execute("SELECT datname FROM pg_database WHERE datname = 'metrics'")]
    for statement in re.sub(r"--.*", "", text).split(";"):
        if statement.strip():
            server.execute(statement, *made)


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")
def test_the_readme_runs_again_and_its_dagster_part_runs_alone(tmp_path, monkeypatch):
    """Who runs a notebook twice, in the same folder, sees what the first run said; who copies only Dagster, too."""
    everything = blocks(ROOT / "README.md", "python")
    alone = everything[next(i for i, code in enumerate(everything) if "import dagster" in code) :]
    for folder, code in (("both", [*everything, *everything]), ("alone", alone)):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        session = {"__name__": "__main__"}
        for block in code:
            exec(compile(block, "README.md", "exec", dont_inherit=True), session)


def listed(heading: str) -> list[list[str]]:
    """The table under a heading of docs/api.md: the code in the first cell of each row, and the second cell."""
    section = (ROOT / "docs" / "api.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return [[*re.findall(r"`(\w+)", names), second.strip(" `")] for names, second in rows]


def test_the_page_of_the_api_is_complete():
    """Every option of connect with its default, every public method, every variable: all that are, and no others."""
    options = {name: repr(parameter.default) for name, parameter in inspect.signature(connect).parameters.items()}
    assert listed("connect") == [list(option) for option in options.items()]
    for kind, extra in ((Temporis, set()), (DataSource, {"name"})):
        named = {name for *names, _ in listed(kind.__name__) for name in names}
        assert named == {name for name in dir(kind) if not name.startswith("_")} | extra
    assert {name for *names, _ in listed("PendingInfo") for name in names} == set(vars(PendingInfo()))
    shown = (ROOT / "docs" / "api.md").read_text().split("## UpsertReport")[1]
    assert all(f"`{name}" in shown for name in vars(UpsertReport) if not name.startswith("_") and name not in COUNTS)
    used = {
        name for path in (ROOT / "temporis_dagster").rglob("*.py") for name in ENVIRONMENT.findall(path.read_text())
    }
    assert sorted(name for name, _ in listed("The environment")) == sorted(used)


def test_the_page_of_spark_has_every_argument_with_its_default():
    """Those that ``DataSource.upsert`` has as well are listed; they have the same defaults as there."""
    text = (ROOT / "docs" / "spark.md").read_text().split("| argument | default |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| `")]
    parameters, of_frames = inspect.signature(spark.upsert).parameters, inspect.signature(DataSource.upsert).parameters
    own = {name.strip("`"): default.strip("`") for name, default in rows if "," not in name}
    shared = next(re.findall(r"`(\w+)`", names) for names, _ in rows if "," in names)
    assert [*own, *shared] == list(parameters)
    for name, default in own.items():
        assert default == (
            "" if parameters[name].default is inspect.Parameter.empty else repr(parameters[name].default)
        )
    assert {name: parameters[name].default for name in shared} == {name: of_frames[name].default for name in shared}


def test_every_exit_code_is_in_the_docs():
    """The table of docs/delivery.md is the one of --help."""
    page = (ROOT / "docs" / "delivery.md").read_text()
    for code, meaning in re.findall(r"^  (\d)  (.*)$", EPILOG, re.MULTILINE):
        assert re.search(
            rf"^\| {code} \| {re.escape(meaning.removesuffix(' Nothing was sent.'))}", page, re.MULTILINE
        ), code


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


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore:`parse_obj_as` is deprecated")  # Dagster's own
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_components_of_every_page_load(page, monkeypatch):
    """Each YAML file that is shown, in a project with the page's functions in modules next to it, loads."""
    for text in blocks(page, "yaml"):
        with create_defs_folder_sandbox() as sandbox:
            folder = sandbox.defs_folder_path / "shown"
            folder.mkdir(parents=True)
            (folder / "defs.yaml").write_text(text)
            for module in re.findall(r": \.(\w+)\.\w+$", text, re.MULTILINE):
                (folder / f"{module}.py").write_text("\n".join(blocks(page, "python")))
            resources = {"temporis": object(), "temporis_io_manager": dg.mem_io_manager}  # the page's, without a URL
            with sandbox.build_all_defs() as shown:
                defs = dg.Definitions.merge(shown, dg.Definitions(resources=resources))
                found = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
                attributes = yaml.safe_load(text)["attributes"]
                prefix = attributes.get("translation", {}).get("key_prefix")
                assert found == {"/".join(filter(None, [prefix, attributes["asset"]["key"]]))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_code_is_run(page):
    """No page shows code in a language that the tests of this file pass over."""
    kinds = {kind for kind, code in BLOCK.findall(page.read_text()) if not OF_A_FILE.match(code)}
    of_page = {
        "README.md": {"python", "sh", "console"},
        "cli.md": {"text"},  # tests/cli/test_help.py compares it
        "postgres.md": {"python", "sql"},
        "sql_views.md": {"python", "sql"},
    }
    assert kinds <= of_page.get(page.name, {"python", "yaml"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_part_of_a_file_that_is_shown_is_in_the_file(page):
    """A block that begins with the name of a file under deploy/ is copied from it; other tests use the file itself."""
    for _, code in BLOCK.findall(page.read_text()):
        if shown := OF_A_FILE.match(code):
            path = ROOT / shown[1]
            assert f"\n{code[shown.end() :]}" in f"\n{path.read_text()}", f"{page.name} shows what {path} does not have"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_shown_exists(page):
    """A command in the docs is a target of the Makefile."""
    for target in re.findall(r"\bmake (\w+)", " ".join(blocks(page, "sh"))):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    """Between our own pages there are no dead links, and none to a heading that is not there."""
    for link, anchor in LINK.findall(FENCED.sub("", page.read_text())):
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def test_every_page_is_in_the_index_and_in_the_readme():
    """No page can be found by chance only."""
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= {link for link, _ in LINK.findall((ROOT / "docs" / "index.md").read_text())}
    assert {f"docs/{page}" for page in pages} <= {link for link, _ in LINK.findall((ROOT / "README.md").read_text())}


def test_the_links_of_the_readme_work_on_the_package_index():
    """Relative links are dead there, so once pyproject.toml knows the repository's address, all links begin with it."""
    known = re.search(r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    relative = [link for link, _ in LINK.findall(FENCED.sub("", (ROOT / "README.md").read_text()))]
    assert not known or not relative, f"begin them with {known[1] if known else ''}"


def test_ci_runs_the_commands_of_the_readme():
    """The two commands that the README promises are what every landing has passed."""
    ci = (ROOT / ".ci" / "run").read_text()
    assert [code.strip() for code in blocks(ROOT / "README.md", "sh")] == ["make demo", "make test"]
    assert {"make demo", "make test"} <= set(ci.splitlines())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="looks at the files that git tracks")
def test_no_file_names_a_registry_host():
    """The project installs from wherever the machine is set up to, so no address of a registry stands in any file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    pattern = re.compile(rb"https?://[^\s\"')]*(?:pypi|pythonhosted|npmjs|/simple)[^\s]*")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            assert not pattern.search(path.read_bytes()), name


def test_the_dagster_reference_is_complete():
    """Each Dagster name has every parameter with its type and default, in order, and says what it means."""
    text = (ROOT / "docs" / "dagster_reference.md").read_text()
    sections = dict(part.split("\n", 1) for part in re.split(r"^###? ", text, flags=re.MULTILINE)[1:])
    for name, parameters in reference().items():
        table = sections[name].split("| parameter |")[1].split("\n\n")[0]
        rows = [
            [cell.strip() for cell in line.split("|")[1:5]] for line in table.splitlines() if line.startswith("| `")
        ]
        assert [(shown.strip("`"), kind, default) for shown, kind, default, _ in rows] == parameters, name
        assert all(meaning for *_, meaning in rows), name
        assert "Example" in sections[name] or name in FOR_TESTS, name
    core = {
        "connect",
        "Temporis",
        "DataSource",
        "Series",
        "UpsertReport",
        "ArchiveState",
        "PendingInfo",
        "Plan",
        "Limits",
        *vars(errors),
    }
    assert set(temporis_dagster.__all__) - core <= set(sections), "a public name has no section"
    assert all(f"`{name}`" in text or name in sections for name in testing.__all__)
    members = {name for name in vars(TemporisResource) if not name.startswith(("_", "model_", "setup_", "teardown_"))}
    shown = set(re.findall(r"^\| `(\w+)", sections["TemporisResource"], re.MULTILINE))
    assert members - set(TemporisResource.model_fields) <= shown


def test_the_reference_names_the_real_default_of_each_option_of_a_frame():
    """Where None means "as the IO manager", the page adds the IO manager's default, and it is the one in the code."""
    text = (ROOT / "docs" / "dagster_reference.md").read_text()
    real = {name: default for name, _, default in reference()["TemporisIOManager"]}
    for section in ("temporis_asset", "TemporisIngestComponent"):
        table = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
        named = re.findall(r"^\| `(\w+)` \|.* IO manager: (`[^`]+`)", table, re.MULTILINE)
        assert len(named) == 14
        assert all(real["name" if option == "name_column" else option] == shown for option, shown in named)
