"""The project's entry point for Dagster: everything that is defined under `defs/`. Never: defines anything itself."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Load everything in the folder `defs`."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
