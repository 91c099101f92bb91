"""Number texts: text where numbers are expected, which may show that the whole column is written another way.

Comes in: cells that are not numbers. Goes out: faults.
Never: reads a number, because that would be a guess at what a comma means.
"""

from __future__ import annotations

import re

import numpy as np

from temporis_dagster.data_source.observations.dtypes import Column
from temporis_dagster.data_source.observations.faults import Fault, where
from temporis_dagster.data_source.observations.model import Mask

SEPARATED = (
    "the number has a decimal comma, a thousands separator or an unusual minus sign, so other numbers of this column"
    " may not mean what they seem to: {}"
)
GAP = "['\u2019_ \u00a0\u2009\u202f]"
NEGATIVE = r"[\u2212\u2013]\d+(?:\.\d+)?|\(\d+(?:\.\d+)?\)|\d+(?:\.\d+)?-"
"""Minus signs of typesetters, accountants and mainframes. If such rows were dropped, no number would be negative."""

CURRENCY = "[$\u20ac\u00a3\u00a5]?"
COMMA = r"\d*,\d+(?:[eE][+-]?\d+)?"
THOUSANDS = rf"\d{{1,3}}(?:(?:[.,]|{GAP})\d{{3}})+(?:[.,]\d+)?|\d{{1,3}}(?:{GAP}\d{{3}})*,\d+"
SEPARATED_NUMBER = re.compile(rf"{NEGATIVE}|{CURRENCY} ?[(]?[+\-\u2212]?(?:{COMMA}|{THOUSANDS})-?[)]? ?{CURRENCY}")


def is_separated_number(text: str) -> bool:
    """Return whether a text is a number with a decimal comma, separated thousands or an unusual minus sign.

    >>> [is_separated_number(text) for text in ("1,5", "1.234,5", "1 234", "1,234.5", "(12)", "12.05.2024", "many")]
    [True, True, True, True, True, False, False]
    """
    return SEPARATED_NUMBER.fullmatch(text.strip()) is not None


def faults_of(items: Column, present: Mask, reason: str, how: str) -> list[Fault]:
    """Make the faults of cells that are not numbers.

    Args:
        items: The cells.
        present: Which of them are not missing.
        reason: What is wrong with them, unless something more specific is known.
        how: What to do about numbers that are written another way.

    Returns:
        The faults. Numbers that are written another way are a fault of the call: dropping only such cells would keep
        the numbers of the column that happen to have no comma.
    """
    cells = items.tolist() if present.any() else []
    found = [
        there and isinstance(cell, str) and is_separated_number(cell)
        for cell, there in zip(cells, present, strict=False)
    ]
    separated = np.array(found, dtype=np.bool_) if any(found) else np.zeros_like(present)
    return where(separated, SEPARATED.format(how), of_call=True) + where(present & ~separated, reason)
