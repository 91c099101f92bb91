"""What the asset passed to its external process: which partitions to write, and by which rules.

Comes in: the context of Dagster Pipes. Goes out: partitions with their windows, rules.
Never: imports Dagster, or holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.wording import listed
from temporis_dagster.writing.message import FORMAT, KIND
from temporis_dagster.writing.rules import WriteRules
from temporis_dagster.writing.rules_json import rules_from_json

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

HOW_TO_LAUNCH = (
    "Launch it from an asset, with temporis.run_pipes(client, context=context, ...), or pass "
    "extras=temporis.pipes_extras(context) to the client yourself."
)


@dataclass(frozen=True)
class Window:
    """A partition and its time.

    Attributes:
        partition: The partition key.
        start: The first moment, in UTC.
        end: The moment after the last, in UTC.
    """

    partition: str
    start: pd.Timestamp
    end: pd.Timestamp


@dataclass(frozen=True)
class Task:
    """One asset that the process is to write.

    Attributes:
        asset: The asset, as Dagster Pipes calls it.
        rules: What applies to the write.
        stated: The metadata keys that the asset itself has put on its materialization.
    """

    asset: str
    rules: WriteRules
    stated: frozenset[str]


def windows(pipes: PipesContext, asset_key: str | None = None) -> list[Window]:
    """Return the partitions that the process is to write, with their time windows, in the order of time.

    This also works in a run over a range of partitions, where Dagster Pipes themselves give neither key nor window.

    Args:
        pipes: The context, from ``open_dagster_pipes``.
        asset_key: Which asset, if the process writes several.

    Returns:
        One entry per partition; none if the asset has no partitions.

    Raises:
        ConfigurationError: The asset passed no extras, or its partitions have no time.

    Examples:
        .. code-block:: python

            with open_dagster_pipes() as pipes:
                for window in windows(pipes):
                    rows = extract(window.start, window.end)
    """
    rules = task_of(pipes, asset_key).rules
    if rules.windows is None and rules.partitions is not None:
        raise ConfigurationError(
            "The partitions of this asset have no time, so they have no windows. Use partition_keys(pipes)."
        )
    if rules.windows is None:
        return []
    found = rules.windows
    starts, ends = (pd.to_datetime(bounds, unit="s", utc=True) for bounds in (found.starts, found.ends))
    return [
        Window(key, starts[number], ends[number])
        for key, number in zip(found.keys, found.numbers.tolist(), strict=True)
    ]


def partition_keys(pipes: PipesContext, asset_key: str | None = None) -> tuple[str, ...]:
    """Return the keys of the partitions that the process is to write, in the order of their definition.

    Args:
        pipes: The context, from ``open_dagster_pipes``.
        asset_key: Which asset, if the process writes several.

    Raises:
        ConfigurationError: The asset passed no extras.
    """
    return task_of(pipes, asset_key).rules.partitions or ()


def task_of(pipes: PipesContext, asset_key: object) -> Task:
    """Return one asset that the process is to write.

    Args:
        pipes: The context, from ``open_dagster_pipes``.
        asset_key: Which asset; None if there is only one.

    Raises:
        ConfigurationError: The process was launched without extras for us, or the asset is not among them.
    """
    given = getattr(pipes, "extras", None)
    if not isinstance(given, Mapping):  # dagster-pipes give a stand-in where nothing launched the process
        raise ConfigurationError(
            f"This process was not launched by Dagster Pipes, so there is nothing to write or report. {HOW_TO_LAUNCH}"
        )
    extras = given.get(KIND)
    if not isinstance(extras, Mapping) or not isinstance(extras.get("assets"), Mapping):
        raise ConfigurationError(f"The asset passed nothing for Temporis to this process. {HOW_TO_LAUNCH}")
    if extras.get("format") != FORMAT:
        raise ConfigurationError(
            "The asset's process and this one have versions of temporis-dagster that do not understand each other. "
            "Install the same version in both."
        )
    return _task(extras["assets"], asset_key)


def _task(assets: Mapping[str, Mapping[str, Any]], asset_key: object) -> Task:
    if asset_key is None:
        if len(assets) != 1:
            raise ConfigurationError(
                f"This process writes {listed(sorted(assets))}. Pass asset_key=, for each of them."
            )
        (asset_key,) = assets
    if not isinstance(asset_key, str) or asset_key not in assets:
        raise ConfigurationError(
            f"asset_key={asset_key!r:.80} is not among the assets that this process is to write: "
            f"{listed(sorted(assets))}."
        )
    given = assets[asset_key]
    return Task(asset_key, rules_from_json(given["rules"]), frozenset(given["stated"]))
