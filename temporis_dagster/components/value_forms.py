"""Recognizes the form in which values hold time, and whether it can be the declared one.

Comes in: a few values of a column, and its declaration. Goes out: what they look like, and how to declare them.
Never: connects to a database, or decides if two readings are possible.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
USUAL = tuple(int(datetime(year, 1, 1, tzinfo=timezone.utc).timestamp()) for year in (1980, 2100))
"""A number that only one unit places between these years was counted in that unit."""

JULIAN = (2_444_239.5, 2_488_069.5)
CALENDAR = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
CONVERT = "compare and convert it in the query"
TEXT = re.compile(
    r"\d{4}(?P<date>[-/.]?)\d\d(?P=date)\d\d"
    r"(?:(?P<between>[T _]?)\d\d(?:(?P<clock>:?)\d\d(?P<seconds>(?P=clock)\d\d(?P<fraction>[.,]\d+)?)?)?)?"
    r"(?P<zone> ?(?:Z|UTC)| ?[+-]\d\d(?::?\d\d)?)?"
)


@dataclass(frozen=True)
class Form:
    """What a value looks like.

    Attributes:
        kind: ``timestamptz``, ``naive``, ``date``, ``epoch``, ``text``, ``number`` or ``other``.
        words: What it is, in words.
        advice: How to declare or to convert it.
        unit: The unit of ``epoch``.
        format: The strftime format of ``text``; empty if it does not sort as time does.
    """

    kind: str
    words: str
    advice: str
    unit: str = ""
    format: str = ""


def form_of(value: object, dialect: str) -> Form:
    """Return the form of a value that stands for a time.

    Args:
        value: The value, as the driver returned it.
        dialect: SQLAlchemy's name of the database.

    Examples:
        >>> form_of(1_718_870_400_000, "sqlite").advice
        'declare stored_as: epoch with unit: ms'
        >>> form_of("2024-06-20T08:00:00Z", "sqlite").format
        '%Y-%m-%dT%H:%M:%SZ'
    """
    if isinstance(value, datetime):
        if value.utcoffset() is not None:
            return Form("timestamptz", "a moment with a zone", "declare stored_as: timestamptz")
        return Form("naive", "a time without a zone", "declare stored_as: naive with the timezone of its clock")
    if isinstance(value, date):
        return Form("date", "a date", "declare stored_as: naive with the timezone of its days")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, str):
        return _text(value, dialect)
    return Form("other", f"a value of type {type(value).__name__}", CONVERT)


def _number(value: float | Decimal) -> Form:
    unit = next((unit for unit, per_second in PER_SECOND.items() if _usual(value, per_second)), "")
    form = _calendar(value)
    if form and (not unit or len(str(int(value))) > 8):  # noqa: PLR2004  as seconds, 2024062008 is in 2034
        advice = f"cast it to text in the query, and declare stored_as: text with timezone and format: '{form}'"
        return Form("number", f"a date of the calendar, {form}, written as a number", advice, unit=unit, format=form)
    if unit:
        declared = f"declare stored_as: epoch{'' if unit == 's' else f' with unit: {unit}'}"
        return Form("epoch", f"{UNITS[unit]} since 1970", declared, unit=unit)
    words = "a Julian day" if JULIAN[0] <= value < JULIAN[1] else "a number"
    return Form("number", words, CONVERT)


def _usual(value: float | Decimal, per_second: int) -> bool:
    return USUAL[0] <= value / per_second < USUAL[1]


def _calendar(value: float | Decimal) -> str:
    """Return the strftime format of a number whose digits are a date between 1980 and 2100; empty if it has none."""
    digits = str(int(value)) if value == value // 1 and value > 0 else ""
    form = CALENDAR.get(len(digits), "")
    return form if form and "1980" <= digits[:4] < "2100" and _reads(digits, form) else ""


def _text(value: str, dialect: str) -> Form:
    text = value.strip()
    if text == value and (found := TEXT.fullmatch(text)):
        form = _format(found)
        if _reads(text, form):
            return _written(form, dialect)
        if found["zone"]:
            return Form("text", "text with an offset, which does not sort as time does", CONVERT)
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        number = _number(Decimal(text))
        advice = f"cast it to a number in the query, and {number.advice}"
        return Form("text", f"text of digits ({number.words})", advice)
    return Form("text", "text", CONVERT)


def _written(form: str, dialect: str) -> Form:
    if dialect == "sqlite" and form.startswith("%Y-%m-%d") and "T" not in form and form[-1] in "dMSf":
        return Form("text", "text", "declare stored_as: naive with the timezone of its clock", format=form)
    zone = "timezone: UTC" if form.endswith(("Z", "UTC")) else "the timezone of its clock"
    return Form("text", "text", f"declare stored_as: text with {zone} and format: '{form}'", format=form)


def _format(found: "re.Match[str]") -> str:
    """Return the strftime format of text that the pattern matched; a numeric offset makes one that never parses."""
    separator, clock, text = found["date"], found["clock"], found[0]
    form = f"%Y{separator}%m{separator}%d"
    if found["between"] is not None:
        form += f"{found['between']}%H"
    if clock is not None:
        form += f"{clock}%M"
    if found["seconds"]:
        form += f"{clock}%S"
    if found["fraction"]:
        form += f"{found['fraction'][0]}%f"
    zone = found["zone"] or ""
    return form + (zone if zone.strip() in ("Z", "UTC") else "" if not zone else f"<{text}>")


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007  only whether it can be read
    except ValueError:
        return False
    return True


def shown(value: object) -> str:
    """Return a value as messages show it: text in quotes, cut if it is long."""
    return f"{value!r:.80}" if isinstance(value, str | bytes) else f"{value!s:.80}"


def misfits(values: Iterable[object], fits: Callable[[object], bool]) -> tuple[list[object], bool]:
    """Return the values that cannot be of the declared form, and whether those are all of them.

    Examples:
        >>> misfits([1, "b", None], lambda value: isinstance(value, int))
        (['b'], False)
    """
    known = [value for value in values if value is not None]
    wrong = [value for value in known if not fits(value)]
    return wrong, bool(wrong) and len(wrong) == len(known)


def fits_epoch(value: object, unit: str, dialect: str) -> bool:
    """Tell whether a number may count this unit: not if only another unit places it between 1980 and 2100."""
    form = form_of(value, dialect)
    if form.kind == "epoch":
        return form.unit == unit or _usual(value, PER_SECOND[unit])  # type: ignore[arg-type]  # a number
    if form.kind == "number":
        calendar = bool(form.format) and not form.unit
        return not calendar and form.words != "a Julian day"
    return False


def fits_format(value: object, form: str) -> bool:
    """Tell whether text begins in this format; whatever follows does not change how it sorts.

    Examples:
        >>> fits_format("2024-06-20 08:00", "%Y-%m-%d"), fits_format("2024-06-20", "%Y-%m-%d %H:%M")
        (True, False)
    """
    text = str(value) if isinstance(value, int) else value  # a column of numeric affinity turns digits into numbers
    if not isinstance(text, str):
        return False
    try:
        datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError as error:
        remains = re.fullmatch(r"unconverted data remains: (.*)", str(error), re.DOTALL)
        return remains is not None and _reads(text[: len(text) - len(remains[1])], form)
    return True
