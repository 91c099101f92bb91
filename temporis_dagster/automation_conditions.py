"""Automation conditions of assets that depend on a data source, whose external asset Dagster never materializes.

Comes in: a condition, and the key of the data source's external asset. Goes out: a condition that does not wait for
that asset, but is still gated by its archive check.
Never: changes what a condition requires of any other dependency.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import dagster as dg

Condition: TypeAlias = dg.AutomationCondition[Any]

NEWLY_TRUE = "NEWLY_TRUE"
CHECKS = ("ANY_CHECKS_MATCH", "ALL_CHECKS_MATCH")


def without_waiting_for(condition: Condition, data_source: dg.AssetKey) -> Condition:
    """Return a condition that ignores the data source's external asset where it considers dependencies.

    For Dagster, an external asset that is never materialized is a dependency that is always missing and never updated,
    so ``eager()``, ``on_missing()`` and ``on_cron()`` would never fire. Conditions on the *checks* of dependencies are
    kept, so that ``all_deps_blocking_checks_passed()`` still gates the asset. A condition that names the data source
    itself, with ``.allow(...)``, is kept as well.

    Args:
        condition: The condition that the user wrote.
        data_source: The key of the data source's external asset.

    Examples:
        >>> import dagster as dg
        >>> key = dg.AssetKey(["temporis", "store_metrics"])
        >>> without_waiting_for(dg.AutomationCondition.any_deps_missing(), key).name
        'ANY_DEPS_MATCH(ignore_selection=key:"temporis/store_metrics")'
        >>> gate = dg.AutomationCondition.all_deps_blocking_checks_passed()
        >>> without_waiting_for(gate, key) == gate
        True
    """
    if hasattr(condition, "ignore_selection"):
        if _is_of_checks(condition) or data_source in _allowed(condition):
            return condition
        return cast("Condition", cast("Any", condition).ignore(dg.AssetSelection.assets(data_source)))
    changed = condition
    for child in condition.children:
        new = without_waiting_for(child, data_source)
        if new == child:
            continue
        # ``replace`` does not reach into the operand of ``newly_true``.
        changed = new.newly_true() if condition.name == NEWLY_TRUE else changed.replace(child, new)
    label = condition.get_label()
    return cast("Any", changed).with_label(label) if label and changed is not condition else changed


def _is_of_checks(condition: Condition) -> bool:
    return condition.name.startswith(CHECKS) or any(map(_is_of_checks, condition.children))


def _allowed(condition: Condition) -> Sequence[dg.AssetKey]:
    """Return the assets to which a condition is restricted with ``allow``."""
    return getattr(getattr(condition, "allow_selection", None), "selected_keys", ())
