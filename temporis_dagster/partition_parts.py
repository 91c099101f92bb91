"""How the keys of an asset's partitions are divided into time and the rest: static, dynamic, the zone of (day, zone).

Comes in: a partitions definition. Goes out: how its keys are divided, and every part that there is.
Never: knows series or observations.
"""

from dataclasses import dataclass
from operator import itemgetter
from typing import cast

import dagster as dg

from temporis_dagster.key_parts import KeyParts
from temporis_dagster.partition_windows import has_time


@dataclass(frozen=True, kw_only=True)
class Parts(KeyParts):
    """How the keys of an asset's partitions are divided into time and part.

    Attributes:
        partitions_def: The asset's partitions.
    """

    partitions_def: dg.PartitionsDefinition

    @property
    def dynamic(self) -> bool:
        """Whether only an instance knows the parts."""
        return any(isinstance(each, dg.DynamicPartitionsDefinition) for each in self._definitions)

    def all(self, instance: dg.DagsterInstance | None) -> frozenset[str]:
        """Return every part that exists now; a dynamic partition may have been deleted.

        Args:
            instance: Knows the dynamic partitions; without any, it may be None.
        """
        with dg.partition_loading_context(dynamic_partitions_store=instance):
            combined = [""]
            for each in self._definitions:
                keys = each.get_partition_keys()
                combined = [f"{first}|{key}" if first else str(key) for first in combined for key in keys]
            return frozenset(combined)

    @property
    def _definitions(self) -> list[dg.PartitionsDefinition]:
        if self.places is None:
            return [self.partitions_def]
        several = _dimensions(cast("dg.MultiPartitionsDefinition", self.partitions_def))
        return [several[place][1] for place in self.places]


def parts_of(partitions_def: dg.PartitionsDefinition) -> Parts | None:
    """Return how partition keys are divided; None if time alone tells the partitions apart."""
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return None if has_time(partitions_def) else Parts(partitions_def=partitions_def, timed=False, places=None)
    dimensions = _dimensions(partitions_def)
    places = tuple(place for place, (_, each) in enumerate(dimensions) if not has_time(each))
    if not places:
        return None
    names = tuple(dimensions[place][0] for place in places)
    return Parts(partitions_def=partitions_def, timed=len(places) < len(dimensions), places=places, dimensions=names)


def _dimensions(partitions_def: dg.MultiPartitionsDefinition) -> list[tuple[str, dg.PartitionsDefinition]]:
    """Return the dimensions in Dagster's order of a key's words: by their names."""
    return sorted(((each.name, each.partitions_def) for each in partitions_def.partitions_defs), key=itemgetter(0))
