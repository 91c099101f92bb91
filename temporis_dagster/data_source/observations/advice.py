"""Advice: what a caller can do about a frame that cannot be read, which depends on where the caller stands.

Comes in: nothing. Goes out: texts that messages end with.
Never: decides what is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Advice:
    """What to do, in Python; the command line, which has files instead of frames, says it otherwise.

    Attributes:
        index: For an index that holds no moments, by what it holds.
        other_index: For one that holds something else.
        no_index: What a message adds where an index would do instead of a column.
        index_or_column: Where both hold timestamps; a place for the option that takes the index.
        index_levels: For an index of several levels.
        booleans: For booleans as values.
        calendar_numbers: For numbers that read as dates; a place for what ``pd.to_datetime`` takes to convert them.
        calendar_fractions: For those that it does not take.
        passes: For a repeated hour whose passes the rows do not tell apart; a place for the zone.
        durations: For durations as values.
        integers: For integers that float64 may not hold.
        labels: For column labels of a wide frame that are not text.
        names: For series names of a long frame that are not text.
        periods: For periods as timestamps.
        texts: For text as values.
        told_apart: For a column that was not used, though it tells conflicting rows apart.
    """

    index: Mapping[str, str] = field(
        default_factory=lambda: {
            "periods": "Take the start of each: frame.index = frame.index.to_timestamp()",
            "durations": "Add the moment that they are counted from: frame.index = start + frame.index",
            "intervals": "Take one end of each: frame.index = frame.index.left",
            "text": (
                "If that is time, convert it: frame.index = pd.to_datetime(frame.index, utc=True)"
                "  # without utc=True where the text is local time"
            ),
            "numbers": "If these are Unix seconds, pass {take_index}",
        }
    )
    other_index: str = "Make it a DatetimeIndex"
    no_index: str = ", and the index is not a DatetimeIndex"
    index_or_column: str = "Pass {take_index} to take the index, or call .reset_index(drop=True) to take the column."
    index_levels: str = "Call .reset_index() first, so that each of them is a column."
    calendar_numbers: str = "convert it with pd.to_datetime({conversion})"
    calendar_fractions: str = "convert it to datetimes"
    passes: str = (
        "order the rows of each series as they happened, or attach the zone with .dt.tz_localize({zone!r},"
        " ambiguous=[one bool per row: True is the first])"
    )
    booleans: str = "convert it with .astype(int), or leave the column out"
    durations: str = "convert it with .dt.total_seconds(), or leave the column out"
    integers: str = "scale it or convert it to float first"
    labels: str = "make the column labels text, with frame.rename(columns=str)"
    names: str = "make the names text, with .astype(str)"
    periods: str = "convert it with .dt.to_timestamp(), which takes the start of each"
    texts: str = "convert it, or leave the column out"
    told_apart: str = "if it says what was measured, make it part of the series names"


PYTHON = Advice()
