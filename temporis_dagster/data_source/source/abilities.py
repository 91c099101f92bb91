"""Abilities: a target as one that can do more than store, or the error that says what can do it instead.

Comes in: any target. Goes out: the same target, by the protocol of what is wanted from it.
Never: asks the service or the database: what a target can do is known from its kind.
"""

from __future__ import annotations

from temporis_dagster.data_source.local_service import to_delete, to_manage, to_read
from temporis_dagster.data_source.target import (
    ManageableTarget,
    MirroringTarget,
    ReadableTarget,
    Target,
    is_manageable,
    is_mirroring,
    is_readable,
)
from temporis_dagster.errors import NotSupportedError, ReadNotSupportedError


def manageable(target: Target, what: str, command: str) -> ManageableTarget:
    """Return the target as one that can do what the dashboard does for the cloud.

    Args:
        target: Any target.
        what: What the caller wants from it, for the error.
        command: The command that does the same on the store of a local service.

    Raises:
        NotSupportedError: The target cannot do that.
    """
    if not is_manageable(target):
        raise NotSupportedError(f"{target.url} cannot {what}. Do that {to_manage(target.url, command)}.")
    return target


def readable(target: Target) -> ReadableTarget:
    """Return the target as one that can be read.

    Raises:
        ReadNotSupportedError: It cannot.
    """
    if not is_readable(target):
        raise ReadNotSupportedError(
            f"{target.url} cannot be read: the API never returns observations. To see them, {to_read(target.url)};"
            " or keep a copy in a mirror: mirror='sqlite:///mirror.db' in Python, --mirror sqlite:///mirror.db in a"
            " shell."
        )
    return target


def deleting(target: Target, data_source: str) -> ManageableTarget:
    """Return the target as one that can delete observations.

    Args:
        target: Any target.
        data_source: The data source, for the command that deletes in the store of a local service.

    Raises:
        NotSupportedError: It cannot.
    """
    if not is_manageable(target):
        raise NotSupportedError(
            f"{target.url} cannot delete observations: the API has no request for that."
            f" {to_delete(target.url, data_source)}"
        )
    return target


def mirror_of(target: Target) -> MirroringTarget:
    """Return the target as one that has a mirror.

    Raises:
        NotSupportedError: It has none.
    """
    if not is_mirroring(target):
        raise NotSupportedError(f"{target.url} has no mirror. To have one, connect with mirror='sqlite:///mirror.db'.")
    return target
