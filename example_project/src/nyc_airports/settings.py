"""Where the example finds its files and its Temporis target: the defaults, and the variables that override them.

In: environment variables, read at each call and never at import. Out: paths and one URL. Never: opens anything.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "data"


def dagster_home() -> Path:
    """Return the folder of this project's runs; `DAGSTER_HOME` overrides it."""
    return Path(os.environ.get("DAGSTER_HOME", PROJECT / ".dagster_home"))


def operational_db() -> Path:
    """Return the SQLite file that plays the airports' operational database; `NYC_OPERATIONAL_DB` overrides it."""
    return Path(os.environ.get("NYC_OPERATIONAL_DB", PROJECT / "operational.db"))


def temporis_url() -> str:
    """Return the target of every upsert: a SQLite file in this project, unless `TEMPORIS_URL` names another."""
    return os.environ.get("TEMPORIS_URL", f"sqlite:///{PROJECT / 'temporis.db'}")
