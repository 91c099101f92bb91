"""Templates of series: ``load_{zone}`` is ``load_north`` in the partition whose zone is north.

A template names dimensions of the asset's partitions: those of a ``MultiPartitionsDefinition`` by their names, and the
one dimension of static or dynamic partitions as ``{partition}``. Names do not contain times, as each observation has
its timestamp. A doubled brace is a brace.

Templates tell the partitions of an asset apart, so every one uses every dimension other than time, and no two
partitions may get the same name, or a prefix with which the other's begins.

Comes in: texts with braces, a partitions definition, partition keys. Goes out: names or prefixes, the partition that a
name belongs to, and a ConfigurationError for what cannot tell partitions apart.
Never: reads or writes observations, or what an event log holds.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from temporis_dagster.errors import ConfigurationError
from temporis_dagster.partition_parts import Parts, parts_of
from temporis_dagster.partition_windows import has_time
from temporis_dagster.series_of_parts import SeriesOfParts, dimensions_in, escaped, parsed


@dataclass(frozen=True)
class SeriesTemplates:
    """The templates of an asset's series.

    Attributes:
        texts: The templates, as they were given.
        exact: Whether they are names; otherwise prefixes.
    """

    texts: tuple[str, ...]
    exact: bool

    def __contains__(self, name: str) -> bool:
        """Tell whether some partition, of any key, might have this series."""
        return any(pattern.fullmatch(name) if self.exact else pattern.match(name) for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(map(_pattern, self.texts))

    def of_parts(self, partitions_def: dg.PartitionsDefinition | None, keys: Iterable[str]) -> SeriesOfParts:
        """Return the series of some partitions.

        Args:
            partitions_def: The asset's partitions; None if it has none.
            keys: The partitions.

        Raises:
            ConfigurationError: The templates do not fit the partitions, or a partition's key gives no name.
        """
        parts = self._fitting(partitions_def)
        return SeriesOfParts(self.texts, self.exact, parts, frozenset(map(parts.of, map(str, keys))))

    def of_all_parts(self, partitions_def: dg.PartitionsDefinition | None) -> SeriesOfParts | None:
        """Return the series of all partitions; None if some of them are dynamic, which only an instance knows.

        Raises:
            ConfigurationError: The templates do not fit the partitions, or a partition's key gives no name.
        """
        parts = self._fitting(partitions_def)
        return None if parts.dynamic else SeriesOfParts(self.texts, self.exact, parts, parts.all(None))

    def ensure_apart(
        self,
        partitions_def: dg.PartitionsDefinition | None,
        keys: Iterable[str] | None = None,
        instance: dg.DagsterInstance | None = None,
    ) -> None:
        """Refuse templates that do not fit the partitions, or do not tell two of them apart.

        Args:
            partitions_def: The asset's partitions; None if it has none.
            keys: Only compare these partitions with all the others; None for all with all.
            instance: Knows the dynamic partitions. Without it, these are not compared.

        Raises:
            ConfigurationError: The message says what to write instead.
        """
        parts = self._fitting(partitions_def)
        if parts.dynamic and instance is None:
            return
        every = SeriesOfParts(self.texts, self.exact, parts, parts.all(instance))
        concerned = None if keys is None else frozenset(map(parts.of, map(str, keys)))
        for (name, part), (other, other_part) in every.clashes():
            if concerned is None or part in concerned or other_part in concerned:
                raise ConfigurationError(self._clash((name, part), (other, other_part)))

    def _fitting(self, partitions_def: dg.PartitionsDefinition | None) -> Parts:
        parts = None if partitions_def is None else parts_of(partitions_def)
        first = next(text for text in self.texts if dimensions_in(text))
        if parts is None:
            has = "the asset has no partitions" if partitions_def is None else "time alone tells its partitions apart"
            raise ConfigurationError(
                f"series={first!r} is a template, but {has}. Leave the braces out, or double them if they belong to "
                f"the name: {escaped(first)!r}."
            )
        timed = _time_dimensions(parts.partitions_def)
        usable = " and ".join(f"{{{dimension}}}" for dimension in parts.dimensions)
        for text in self.texts:
            used = dimensions_in(text)
            if times := used & timed:
                raise ConfigurationError(
                    f"series={text!r} uses the time dimension {_listed(times)}, but a series goes on from one time to "
                    f"the next: each observation has its timestamp. Use only {usable}."
                )
            if unknown := used - set(parts.dimensions):
                raise ConfigurationError(
                    f"series={text!r} uses {_listed(unknown)}, but the asset's partitions have no such dimension. "
                    f"Use {usable}, or double braces that belong to the name: {escaped(text)!r}."
                )
            if missing := [dimension for dimension in parts.dimensions if dimension not in used]:
                raise ConfigurationError(
                    f"series={text!r} does not use {{{missing[0]}}}, so partitions that differ in it would share their "
                    f"series. Use {usable} in every name."
                )
        return parts

    def _clash(self, one: tuple[str, str], other: tuple[str, str]) -> str:
        (name, part), (longer, other_part) = one, other
        if self.exact:
            return (
                f"The partitions {part!r} and {other_part!r} would share the series {name!r}. Put a character that no "
                f"key has, such as '/', between the dimensions of series={list(self.texts)!r}."
            )
        first = self.texts[0]
        return (
            f"The partitions {part!r} and {other_part!r} would share series: series={first!r} is a prefix, and "
            f"{longer!r} begins with {name!r}. End the prefix with a character that no key has, as in {first + '/'!r}, "
            f"or list exact names: series=[{first!r}]."
        )


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of the names that a template gives; the same dimension is the same text everywhere in it."""
    groups: dict[str, str] = {}
    pattern = ""
    for literal, field in parsed(text):
        pattern += re.escape(literal)
        if field is not None:
            pattern += f"(?P={groups[field]})" if field in groups else f"(?P<d{len(groups)}>.+)"
            groups.setdefault(field, f"d{len(groups)}")
    return re.compile(pattern, re.DOTALL)


def _listed(dimensions: Collection[str]) -> str:
    return ", ".join(f"{{{dimension}}}" for dimension in sorted(dimensions))


def _time_dimensions(partitions_def: dg.PartitionsDefinition) -> set[str]:
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return set()
    return {each.name for each in partitions_def.partitions_defs if has_time(each.partitions_def)}
