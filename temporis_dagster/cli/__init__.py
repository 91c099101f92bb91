"""The ``temporis`` command: data sources, tokens, observations and the local service, from a shell."""

from temporis_dagster.cli.main import main

__all__ = ["main"]
