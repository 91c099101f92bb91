"""Advice: what the caller can do about a frame that cannot be read. Other surfaces replace it with their own.

Comes in: nothing. Goes out: the texts that messages end with.
Never: decides what is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Advice:
    """What to do, in terms of pandas. The command line, which reads files, and SQL queries have their own wording.

    Attributes:
        index: For an index that does not hold moments in time, by what it holds instead.
        other_index: For an index that holds anything else.
        no_index: What a message adds where an index would serve instead of a column.
        index_or_column: Where both hold timestamps; with a placeholder for the option that takes the index.
        index_levels: For an index with several levels.
        booleans: For booleans as values.
        calendar_numbers: For numbers that read as dates; with a placeholder for the arguments of
            ``pd.to_datetime`` that convert them (``conversion``), or for their format (``directives``).
        calendar_fractions: For those that have nothing to put there.
        other_unit: For numbers of a finer unit; with placeholders for what that is ``called``, the ``step`` to the unit
            that is ``meant``, the ``moment`` that the number stands for, and the option for the ``unit``.
        written: For a single such number among others; with a placeholder for its format.
        passes: For a repeated hour whose two passes the rows do not tell apart; with a placeholder for the zone.
        durations: For durations as values.
        separated: For numbers with a decimal comma, with a separator of thousands, or with an unusual minus sign.
        integers: For integers that float64 may not hold exactly.
        missing: For missing values of a long frame.
        labels: For column labels of a wide frame that are not text.
        names: For series names of a long frame that are not text.
        periods: For periods as timestamps.
        texts: For text as values.
        told_apart: For an unused column that tells conflicting rows apart; with a placeholder for its name.
        untold: For conflicting rows that no such column tells apart, as a sentence; empty for none.
    """

    index: Mapping[str, str] = field(
        default_factory=lambda: {
            "periods": "Take the start of each: frame.index = frame.index.to_timestamp()",
            "durations": "Add the moment that they are counted from: frame.index = start + frame.index",
            "intervals": "Take one end of each: frame.index = frame.index.left",
            "text": (
                "If these are times, convert them: frame.index = pd.to_datetime(frame.index, utc=True)"
                "  # without utc=True where the text is local time"
            ),
            "numbers": "If these are Unix seconds, pass {take_index}",
        }
    )
    other_index: str = "Make it a DatetimeIndex"
    no_index: str = ", and the index is not a DatetimeIndex"
    index_or_column: str = "Pass {take_index} to take the index, or call .reset_index(drop=True) to take the column."
    index_levels: str = "Call .reset_index() first, so that each level is a column."
    calendar_numbers: str = "convert it with pd.to_datetime({conversion})"
    calendar_fractions: str = "convert it to datetimes"
    other_unit: str = (
        "the timestamp looks like {called}: divide it by {step:_} to get {meant} ({moment}), or pass {unit} if all of"
        " them are"
    )
    written: str = "convert it to a datetime"
    separated: str = "write all of them with a decimal point, without separators, and negative ones with a leading -"
    passes: str = (
        "order the rows of each series as they happened, or attach the zone with .dt.tz_localize({zone!r},"
        " ambiguous=[one bool per row: True is the first])"
    )
    booleans: str = "convert it with .astype(int), or leave the column out"
    durations: str = "convert it with .dt.total_seconds(), or leave the column out"
    missing: str = "leave the row out"
    integers: str = "scale it or convert it to float first"
    labels: str = "make the column labels text, with frame.rename(columns=str)"
    names: str = "make the names text, with .astype(str)"
    periods: str = "convert it with .dt.to_timestamp(), which takes the start of each"
    texts: str = "convert it, or leave the column out"
    told_apart: str = (
        "if it identifies what was measured, make it part of the series names; if it is a part of the time, make it"
        " part of the timestamps"
    )
    untold: str = ""

    def calendar(self, *, conversion: str, directives: str) -> str:
        """Return what to do about numbers that read as dates.

        Args:
            conversion: The arguments of ``pd.to_datetime`` that convert them; empty if there are none.
            directives: Their format, as for ``strptime``; empty if they have none.
        """
        known = directives if "{directives}" in self.calendar_numbers else conversion
        return (
            self.calendar_numbers.format(conversion=conversion, directives=directives)
            if known
            else self.calendar_fractions
        )


PYTHON = Advice()
