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
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

import dagster as dg

from temporis_dagster.contract import series_name_fault
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.partition_parts import Parts, parts_of
from temporis_dagster.partition_windows import has_time
from temporis_dagster.wording import listed

Pieces = tuple[tuple[str, str | None], ...]


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

    def of_parts(self, partitions_def: dg.PartitionsDefinition | None, keys: Iterable[str]) -> "SeriesOfParts":
        """Return the series of some partitions.

        Args:
            partitions_def: The asset's partitions; None if it has none.
            keys: The partitions.

        Raises:
            ConfigurationError: The templates do not fit the partitions, or a partition's key gives no name.
        """
        parts = self._fitting(partitions_def)
        return SeriesOfParts(self, parts, frozenset(map(parts.of, map(str, keys))))

    def of_all_parts(self, partitions_def: dg.PartitionsDefinition | None) -> "SeriesOfParts | None":
        """Return the series of all partitions; None if some of them are dynamic, which only an instance knows.

        Raises:
            ConfigurationError: The templates do not fit the partitions, or a partition's key gives no name.
        """
        parts = self._fitting(partitions_def)
        return None if parts.dynamic else SeriesOfParts(self, parts, parts.all(None))

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
        every = SeriesOfParts(self, parts, parts.all(instance))
        concerned = None if keys is None else frozenset(map(parts.of, map(str, keys)))
        for (name, part), (other, other_part) in every.clashes():
            if concerned is None or part in concerned or other_part in concerned:
                raise ConfigurationError(self._clash((name, part), (other, other_part)))

    def _fitting(self, partitions_def: dg.PartitionsDefinition | None) -> Parts:
        parts = None if partitions_def is None else parts_of(partitions_def)
        first = next(text for text in self.texts if _dimensions_in(text))
        if parts is None:
            has = "the asset has no partitions" if partitions_def is None else "time alone tells its partitions apart"
            raise ConfigurationError(
                f"series={first!r} is a template, but {has}. Leave the braces out, or double them if they belong to "
                f"the name: {_escaped(first)!r}."
            )
        timed = _time_dimensions(parts.partitions_def)
        usable = " and ".join(f"{{{dimension}}}" for dimension in parts.dimensions)
        for text in self.texts:
            used = _dimensions_in(text)
            if times := used & timed:
                raise ConfigurationError(
                    f"series={text!r} uses the time dimension {_listed(times)}, but a series goes on from one time to "
                    f"the next: each observation has its timestamp. Use only {usable}."
                )
            if unknown := used - set(parts.dimensions):
                raise ConfigurationError(
                    f"series={text!r} uses {_listed(unknown)}, but the asset's partitions have no such dimension. "
                    f"Use {usable}, or double braces that belong to the name: {_escaped(text)!r}."
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


class SeriesOfParts:
    """The series of some partitions of an asset, and which of these a series belongs to.

    Args:
        templates: The templates of the asset's series.
        parts: How the asset's partition keys are divided.
        some: The parts of the partitions.

    Attributes:
        exact: Whether their series are names; otherwise prefixes.
    """

    def __init__(self, templates: SeriesTemplates, parts: Parts, some: Collection[str]) -> None:
        self.parts = parts
        self.some = tuple(sorted(some))
        pieces = [_parsed(text) for text in templates.texts]
        words = {part: parts.words_of(part) for part in self.some}
        self._expanded = [(_filled(each, words[part]), part) for part in words for each in pieces]
        self.exact = templates.exact
        for name, part in self._expanded:
            if fault := series_name_fault(name):
                raise ConfigurationError(f"The partition {part!r} cannot have series of its own: {fault}.")

    @property
    def in_words(self) -> str:
        """The parts, or the first of them and how many more there are, as text."""
        return listed(self.some)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The names or prefixes, sorted."""
        return tuple(sorted({name for name, _ in self._expanded}))

    def texts_of(self, parts: Collection[str]) -> tuple[str, ...]:
        """Return the names or prefixes of these parts, sorted."""
        wanted = frozenset(parts)
        return tuple(sorted({name for name, part in self._expanded if part in wanted}))

    def part_of(self, name: str) -> str | None:
        """Return the part to which a series belongs; None if it belongs to none of these."""
        if self.exact:
            return self._parts.get(name)
        place = bisect_right(self.texts, name) - 1  # no prefix begins with another: the last one before it, or none
        found = self.texts[place] if place >= 0 else ""
        return self._parts[found] if found and name.startswith(found) else None

    @cached_property
    def _parts(self) -> dict[str, str]:
        return dict(self._expanded)

    def clashes(self) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        """Yield pairs of (name, part) that are not apart, the shorter name first."""
        open_prefixes: list[tuple[str, str]] = []
        for name, part in sorted(self._expanded):
            while open_prefixes and not self._covers(open_prefixes[-1][0], name):
                open_prefixes.pop()
            for earlier in open_prefixes:
                if earlier[1] != part:
                    yield earlier, (name, part)
            open_prefixes.append((name, part))

    def _covers(self, name: str, other: str) -> bool:
        return name == other if self.exact else other.startswith(name)


def is_template(text: str) -> bool:
    """Tell whether a text names a dimension in braces.

    Raises:
        ConfigurationError: A brace is neither doubled nor part of a pair around a name.

    Examples:
        >>> is_template("load_{zone}"), is_template("load_{{zone}}"), is_template("load")
        (True, False, False)
    """
    return bool(_dimensions_in(text))


def without_doubled_braces(text: str) -> str:
    """Return a text that names no dimension as what it stands for.

    Examples:
        >>> without_doubled_braces("load_{{zone}}")
        'load_{zone}'
    """
    return _filled(_parsed(text), {})


def _parsed(text: str) -> Pieces:
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        pieces = [("", "", "", "")]
    if any(field is not None and (not field or spec or conversion) for _, field, spec, conversion in pieces):
        raise ConfigurationError(
            f"series={text!r} cannot be used: braces stand around a dimension of the asset's partitions, as in "
            f"'load_{{zone}}'. Double braces that belong to the name: {_escaped(text)!r}."
        )
    return tuple((literal, field) for literal, field, _, _ in pieces)


def _filled(pieces: Pieces, words: Mapping[str, str]) -> str:
    return "".join(literal + ("" if field is None else words[field]) for literal, field in pieces)


def _dimensions_in(text: str) -> set[str]:
    return {field for _, field in _parsed(text) if field is not None}


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern of the names that a template gives; the same dimension is the same text everywhere in it."""
    groups: dict[str, str] = {}
    pattern = ""
    for literal, field in _parsed(text):
        pattern += re.escape(literal)
        if field is not None:
            pattern += f"(?P={groups[field]})" if field in groups else f"(?P<d{len(groups)}>.+)"
            groups.setdefault(field, f"d{len(groups)}")
    return re.compile(pattern, re.DOTALL)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _listed(dimensions: Collection[str]) -> str:
    return ", ".join(f"{{{dimension}}}" for dimension in sorted(dimensions))


def _time_dimensions(partitions_def: dg.PartitionsDefinition) -> set[str]:
    if not isinstance(partitions_def, dg.MultiPartitionsDefinition):
        return set()
    return {each.name for each in partitions_def.partitions_defs if has_time(each.partitions_def)}
