"""The plan of the package: what imports what, what the front door shows, and what a bare import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import temporis_dagster
from temporis_dagster import metadata_keys
from temporis_dagster.asset_options import PER_RUN_OPTIONS
from temporis_dagster.data_source.report import COUNTS
from temporis_dagster.metadata_keys import count_key, option_key, row_count_key, rows_key

PACKAGE = Path(temporis_dagster.__file__).parent
FLOORS = [
    ("_version", "settings", "contract", "errors", "markup", "metadata_keys", "wording"),
    ("data_source",),
    ("dagster_keys", "frame_schema", "key_parts", "metadata_values", "progress_log", "refusal", "spark"),
    ("series_of_parts", "time_windows", "write_options"),
    ("ask_all", "automation_conditions", "dagster_metadata", "env_vars", "event_log", "partition_windows"),
    ("partition_parts", "series_templates", "catalog"),
    ("asset_options", "change_options", "input_options"),
    ("dagster_failures", "assets"),
    ("data_source_page", "writing"),
    ("pipes",),
    ("resource",),
    ("io_manager", "checks"),
    ("schedules",),
    ("components",),
    ("service",),
    ("dashboard",),
    ("cli", "testing"),
    ("__init__",),
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CORE_ROOMS = [
    *("options", "observations", "reading", "plan", "report", "progress", "streams", "local_service", "target"),
    *("store", "http", "mirror"),
    *("source", "connection"),
]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(module: Path) -> set[str]:
    """Every module that this one imports when it runs, wherever the import stands; not those for type checkers."""
    tree = ast.parse(module.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} - {"temporis_dagster"}  # a room named in ``from temporis_dagster import room``
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_point_down_only(module):
    """errors, contract < data_source < the Dagster surface < service, cli, testing < the front door: never upwards."""
    mine = FLOOR_OF[room_of(module)]
    for name in imports_of(module):
        package, _, rest = name.partition(".")
        if package == "temporis_dagster":
            room = rest.split(".")[0]
            floor = FLOOR_OF.get(room, FLOOR_OF["__init__"])  # anything else is a name of the front door
            assert floor <= mine, f"{module.name} imports {name}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: str(module.relative_to(PACKAGE)))
def test_inside_the_core_imports_point_down_only(module):
    """Data flows one way: observations < plan < report < target < store, http < mirror < source < connection."""
    parts = module.relative_to(PACKAGE).parts
    if parts[0] != "data_source" or parts[1] == "__init__.py":
        return
    mine = CORE_ROOMS.index(parts[1].removesuffix(".py"))
    for name in imports_of(module):
        room = name.split(".")[2] if name.startswith("temporis_dagster.data_source.") else None
        if room in CORE_ROOMS:
            assert CORE_ROOMS.index(room) <= mine, f"{module.name} imports {name}"


def test_the_hall_of_the_core_stays_small():
    """At most 14 rooms and 44 arrows between them, so that a newcomer sees the plan at a glance."""
    rooms = {
        path.stem for path in (PACKAGE / "data_source").iterdir() if path.stem != "__init__" and path.name[0] != "_"
    }
    arrows = {
        (module.relative_to(PACKAGE).parts[1].removesuffix(".py"), name.split(".")[2])
        for module in (PACKAGE / "data_source").rglob("*.py")
        for name in imports_of(module)
        if name.startswith("temporis_dagster.data_source.") and name.split(".")[2] in CORE_ROOMS
    }
    assert rooms == set(CORE_ROOMS)
    assert len(rooms) <= 14
    assert len([arrow for arrow in arrows if arrow[0] != arrow[1]]) <= 44


def test_the_core_never_imports_dagster():
    """Notebooks and cron jobs use the core without Dagster."""
    for module in (PACKAGE / "data_source").rglob("*.py"):
        assert not any(name.split(".")[0] == "dagster" for name in imports_of(module)), module


def test_the_package_uses_only_the_public_api_of_dagster():
    """No private import that the next Dagster release may break."""
    for module in modules():
        assert not any("._" in f".{name}" and name.startswith("dagster") for name in imports_of(module)), module


def test_every_key_for_dagster_stands_in_one_module():
    """Metadata keys and tags come from ``metadata_keys``: nowhere else does a text begin with ``temporis/``."""
    for module in modules():
        if module.stem == "metadata_keys":
            continue
        tree = ast.parse(module.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                assert not node.value.startswith("temporis/"), f"{module.name}:{node.lineno} spells out a key"


def test_every_key_that_a_text_names_exists():
    """An error, a docstring or advice that says ``temporis/...`` names a key or an option that there is."""
    keys = {value for value in vars(metadata_keys).values() if isinstance(value, str)}
    keys |= {option_key(option) for option in PER_RUN_OPTIONS}
    keys |= {count_key(outcome) for outcome in COUNTS}
    keys |= {key(kind) for kind in ("invalid", "rejected", "conflict") for key in (row_count_key, rows_key)}
    keys |= {"temporis/store_metrics"}  # the asset key of a data source, in examples
    for module in modules():
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.findall(r"(?<![\w.:])temporis/[a-z_]+", node.value)
                assert set(named) <= keys, f"{module.name}:{node.lineno} names {sorted(set(named) - keys)}"


def test_every_module_says_its_duty_first():
    """Each module opens with what comes in, what goes out and what it never does; each package with its duty."""
    for module in modules():
        docstring = ast.get_docstring(ast.parse(module.read_text()))
        assert docstring, module
        if module.name != "__init__.py":
            assert all(word in docstring for word in ("Comes in:", "Goes out:", "Never:")), module


def test_the_front_door_shows_exactly_the_public_names():
    """``__all__`` is the list of public names, and each of them can be imported."""
    assert sorted(temporis_dagster.__all__) == sorted(
        [
            *("connect", "Temporis", "DataSource", "Series", "UpsertReport", "PendingInfo", "ArchiveState"),
            *("Plan", "Limits"),
            *("TemporisError", "ConfigurationError", "InvalidObservationsError", "DeliveryError"),
            *("AuthenticationError", "DataSourceNotFoundError", "DataSourceArchivedError"),
            *("RejectedObservationsError", "UnavailableError", "NotSupportedError", "ReadNotSupportedError"),
            *(
                "MirrorError",
                "StoreError",
                "StreamError",
                "TemporisResource",
                "TemporisIOManager",
                "temporis_asset",
                "data_source_spec",
            ),
            *("build_archive_state_checks", "build_archive_state_sensor", "build_series_checks", "gated_selection"),
            "TemporisIngestComponent",
            *("build_trailing_window_schedule", "build_gap_fill_sensor", "build_mirror_flush_schedule"),
        ]
    )
    for name in temporis_dagster.__all__:
        assert getattr(temporis_dagster, name).__name__ == name
    assert set(temporis_dagster.__all__) <= set(dir(temporis_dagster))
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        temporis_dagster.conect  # noqa: B018


COMMAND = "from temporis_dagster.cli import main; main({}, standalone_mode=False)"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import temporis_dagster", {"dagster", "sqlalchemy", "pandas", "tqdm"}),
        (
            "from temporis_dagster import connect, InvalidObservationsError",
            {"dagster", "sqlalchemy", "tqdm", "matplotlib"},
        ),
        (
            "import temporis_dagster as t; t.connect('sqlite:///x.db').data_source('a')._repr_html_()",
            {"dagster", "tqdm", "matplotlib"},
        ),
        (
            COMMAND.format(["ingest", "--help"]),
            {"dagster", "sqlalchemy", "pandas", "numpy", "httpx", "asyncio", "tqdm"},
        ),
        (
            COMMAND.format(["sources", "list", "--store", "sqlite:///x.db"]),
            {"dagster", "httpx", "msgspec", "starlette", "polars", "tqdm"},
        ),
    ],
)
def test_a_bare_import_loads_nothing_that_it_does_not_need(code, absent, tmp_path):
    """A bare import and help load neither SQLAlchemy nor pandas; connecting and commands never load Dagster."""
    report = f"{code}; import sys; print('loaded:', *sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]
    assert list(tmp_path.iterdir()) == [], "connecting opened a file"
