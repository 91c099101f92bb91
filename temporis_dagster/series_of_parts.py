"""The series of some partitions, made of templates: ``load_{zone}`` is ``load_north`` in the partition of that zone.

Comes in: texts with braces, and the parts of partition keys. Goes out: names or prefixes, and the part that a name
belongs to.
Never: imports Dagster, or knows which partitions there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from string import Formatter

from temporis_dagster.contract import series_name_fault
from temporis_dagster.errors import ConfigurationError
from temporis_dagster.key_parts import KeyParts
from temporis_dagster.wording import listed

Pieces = tuple[tuple[str, "str | None"], ...]


class SeriesOfParts:
    """The series of some partitions of an asset, and which of these a series belongs to.

    Args:
        texts: The templates of the asset's series.
        exact: Whether they are names; otherwise prefixes.
        parts: How the asset's partition keys are divided.
        some: The parts of the partitions.

    Attributes:
        templates: The templates.
        exact: Whether their series are names; otherwise prefixes.
        parts: How the asset's partition keys are divided.
        some: The parts of the partitions, sorted.
    """

    def __init__(self, texts: Sequence[str], exact: bool, parts: KeyParts, some: Collection[str]) -> None:
        self.templates, self.exact, self.parts = tuple(texts), exact, parts
        self.some = tuple(sorted(some))
        pieces = [parsed(text) for text in texts]
        words = {part: parts.words_of(part) for part in self.some}
        self._expanded = [(filled(each, words[part]), part) for part in words for each in pieces]
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
    return bool(dimensions_in(text))


def without_doubled_braces(text: str) -> str:
    """Return a text that names no dimension as what it stands for.

    Examples:
        >>> without_doubled_braces("load_{{zone}}")
        'load_{zone}'
    """
    return filled(parsed(text), {})


def parsed(text: str) -> Pieces:
    """Return the pieces of a text: each a literal, and the dimension that follows it, if one does.

    Raises:
        ConfigurationError: A brace is neither doubled nor part of a pair around a name.
    """
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        pieces = [("", "", "", "")]
    if any(field is not None and (not field or spec or conversion) for _, field, spec, conversion in pieces):
        raise ConfigurationError(
            f"series={text!r} cannot be used: braces stand around a dimension of the asset's partitions, as in "
            f"'load_{{zone}}'. Double braces that belong to the name: {escaped(text)!r}."
        )
    return tuple((literal, field) for literal, field, _, _ in pieces)


def filled(pieces: Pieces, words: Mapping[str, str]) -> str:
    """Return a text with the dimensions in it filled in."""
    return "".join(literal + ("" if field is None else words[field]) for literal, field in pieces)


def dimensions_in(text: str) -> set[str]:
    """Return the dimensions that a text names."""
    return {field for _, field in parsed(text) if field is not None}


def escaped(text: str) -> str:
    """Return a text whose braces belong to the name."""
    return text.replace("{", "{{").replace("}", "}}")
