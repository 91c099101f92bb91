"""Temporis for pandas and Dagster: DataFrames become idempotent upserts against a data source.

Comes in: ``from temporis_dagster import ...``. Goes out: the public names, each imported when first touched, so that a
notebook pays neither for Dagster nor for SQLAlchemy. Never: holds code of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from temporis_dagster._version import __version__ as __version__

if TYPE_CHECKING:
    from temporis_dagster.assets import data_source_spec as data_source_spec
    from temporis_dagster.assets import temporis_asset as temporis_asset
    from temporis_dagster.checks.archive_sensor import build_archive_state_sensor as build_archive_state_sensor
    from temporis_dagster.checks.archive_state import build_archive_state_checks as build_archive_state_checks
    from temporis_dagster.checks.gate import gated_selection as gated_selection
    from temporis_dagster.checks.series_checks import build_series_checks as build_series_checks
    from temporis_dagster.components import TemporisIngestComponent as TemporisIngestComponent
    from temporis_dagster.data_source.connection import Temporis as Temporis
    from temporis_dagster.data_source.connection import connect as connect
    from temporis_dagster.data_source.observations.series import Series as Series
    from temporis_dagster.data_source.plan import Limits as Limits
    from temporis_dagster.data_source.plan import Plan as Plan
    from temporis_dagster.data_source.report import UpsertReport as UpsertReport
    from temporis_dagster.data_source.source import DataSource as DataSource
    from temporis_dagster.data_source.target import ArchiveState as ArchiveState
    from temporis_dagster.data_source.target import PendingInfo as PendingInfo
    from temporis_dagster.errors import AuthenticationError as AuthenticationError
    from temporis_dagster.errors import ConfigurationError as ConfigurationError
    from temporis_dagster.errors import DataSourceArchivedError as DataSourceArchivedError
    from temporis_dagster.errors import DataSourceNotFoundError as DataSourceNotFoundError
    from temporis_dagster.errors import DeliveryError as DeliveryError
    from temporis_dagster.errors import InvalidObservationsError as InvalidObservationsError
    from temporis_dagster.errors import MirrorError as MirrorError
    from temporis_dagster.errors import NotSupportedError as NotSupportedError
    from temporis_dagster.errors import ReadNotSupportedError as ReadNotSupportedError
    from temporis_dagster.errors import RejectedObservationsError as RejectedObservationsError
    from temporis_dagster.errors import StoreError as StoreError
    from temporis_dagster.errors import StreamError as StreamError
    from temporis_dagster.errors import TemporisError as TemporisError
    from temporis_dagster.errors import UnavailableError as UnavailableError
    from temporis_dagster.io_manager.io_manager import TemporisIOManager as TemporisIOManager
    from temporis_dagster.resource import TemporisResource as TemporisResource
    from temporis_dagster.schedules.gap_fill import build_gap_fill_sensor as build_gap_fill_sensor
    from temporis_dagster.schedules.mirror_flush import build_mirror_flush_schedule as build_mirror_flush_schedule
    from temporis_dagster.schedules.trailing_window import (
        build_trailing_window_schedule as build_trailing_window_schedule,
    )

_ROOMS = {
    "data_source.connection": ("connect", "Temporis"),
    "data_source.source": ("DataSource",),
    "data_source.observations.series": ("Series",),
    "data_source.report": ("UpsertReport",),
    "data_source.plan": ("Limits", "Plan"),
    "data_source.target": ("ArchiveState", "PendingInfo"),
    "errors": (
        "TemporisError",
        "ConfigurationError",
        "InvalidObservationsError",
        "DeliveryError",
        "AuthenticationError",
        "DataSourceNotFoundError",
        "DataSourceArchivedError",
        "RejectedObservationsError",
        "UnavailableError",
        "NotSupportedError",
        "ReadNotSupportedError",
        "MirrorError",
        "StoreError",
        "StreamError",
    ),
    "resource": ("TemporisResource",),
    "io_manager.io_manager": ("TemporisIOManager",),
    "assets": ("temporis_asset", "data_source_spec"),
    "checks.archive_state": ("build_archive_state_checks",),
    "checks.gate": ("gated_selection",),
    "checks.archive_sensor": ("build_archive_state_sensor",),
    "checks.series_checks": ("build_series_checks",),
    "components": ("TemporisIngestComponent",),
    "schedules.trailing_window": ("build_trailing_window_schedule",),
    "schedules.gap_fill": ("build_gap_fill_sensor",),
    "schedules.mirror_flush": ("build_mirror_flush_schedule",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = list(_ROOM_OF)


if not TYPE_CHECKING:  # a type checker that saw this function would take every misspelt name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
