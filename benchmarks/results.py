"""From the figures of all rounds to tables: ratios with their range, goals, the page.

Comes in: ``results.json``, or tables that were just measured. Goes out: Markdown; docs/benchmarks.md between its
markers. Never: a figure that is not in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks.harness import ROOT

RESULTS, PAGE = ROOT / "benchmarks" / "results.json", ROOT / "docs" / "benchmarks.md"
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
FIGURE_OF_RATIO = {"ratio": "wall_s", "processor_ratio": "processor_s"}
Measured: TypeAlias = dict[str, Any]
"""A table as ``Table.as_json`` gives it."""


def ratios(table: Measured, way: str, step: str, base: str | None, figure: str) -> list[float]:
    """How many times as fast a way is as another, round by round: by speed, or by time where no rows were counted.

    Where the table has a ``base_step``, a step is compared with that step of the same way instead.
    """
    of_base = table["found"][way] if base is None else table["found"].get(base, {})
    pairs = zip(table["found"][way].get(step, ()), of_base.get(table["base_step"] or step, ()), strict=False)
    return [theirs[figure] / ours[figure] * ours.get("rows", 1) / theirs.get("rows", 1) for ours, theirs in pairs]


def number(value: float) -> str:
    """Three digits, in the way that people write them."""
    if abs(value) >= 100 or value == int(value):  # noqa: PLR2004  # three digits
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def ranged(values: list[float]) -> str:
    """The median, and between what it lies."""
    if not values:
        return ""
    low, middle, high = min(values), median(values), max(values)
    return number(middle) if len(values) == 1 else f"{number(middle)} ({number(low)} to {number(high)})"


def cell(table: Measured, way: str, step: str, column: str) -> str:
    """What a table shows of a figure."""
    rounds = table["found"][way][step]
    if column in FIGURE_OF_RATIO:
        figure = FIGURE_OF_RATIO[column]
        if way == table["base"] or step == table["base_step"] or any(figure not in one for one in rounds):
            return ""
        return ranged(ratios(table, way, step, table["base"], figure))
    if column == "rate":
        return number(median(one["rows"] / one["wall_s"] for one in rounds) / 1000) if rounds[0].get("rows") else ""
    values = [one[column] for one in rounds if column in one]
    return number(median(values)) if values else ""


def markdown(table: Measured) -> str:
    """One table: a line for each step and way, with what the peers are below it."""
    steps = list(dict.fromkeys(step for of_way in table["found"].values() for step in of_way))
    base = table["base"] or table["base_step"]
    compared = f", compared with *{base}*" if base else ""
    rounds = max((len(one) for of_way in table["found"].values() for one in of_way.values()), default=0)
    lines = [
        f"{table['title']}{compared}. {_of_rounds(rounds)}",
        "",
        f"| {' | '.join(['step', 'way', *table['columns'].values()])} |",
        f"| --- | --- |{' ---: |' * len(table['columns'])}",
    ]
    for step in steps:
        ways = [way for way in table["found"] if step in table["found"][way]]
        lines += [
            f"| {step if way == ways[0] else ''} | {way} |"
            f" {' | '.join(cell(table, way, step, column) for column in table['columns'])} |"
            for way in ways
        ]
    notes = [f"- *{way}*, {what}" for way, what in table["peers"].items()]
    notes += [f"- *{way}* was left out: {why}." for way, why in table["left_out"].items()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _of_rounds(rounds: int) -> str:
    return "One round." if rounds == 1 else f"Medians of {rounds} rounds; for ratios also the least and the largest."


def goal_values(table: Measured, goal: dict[str, Any]) -> list[float]:
    """What was measured of a goal, round by round; nothing if its way was left out."""
    way, step, figure = goal["way"], goal["step"], goal["figure"]
    if goal["over"]:
        return ratios(table, way, step, goal["over"], figure) if way in table["found"] else []
    own = table["found"].get(way, {}).get(step, [])
    if goal["above"]:
        others = table["found"].get(goal["above"], {}).get(step, [])
        return [one[figure] - other[figure] for one, other in zip(own, others, strict=False)]
    return [one[figure] for one in own]


def goals(results: dict[str, Any]) -> str:
    """Every line that should be reached, and what was measured."""
    lines = [
        "| | what | should be | least | median | most | reached |",
        "| ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    found = [(goal, goal_values(table, goal)) for table in tables_in(results) for goal in table["goals"]]
    for goal, values in sorted(found, key=lambda pair: pair[0]["line"]):
        unit = "x" if goal["unit"] == "x" else f" {goal['unit']}"
        bound = goal["at_least"] if goal["at_most"] is None else goal["at_most"]
        asked = f"{'at least' if goal['at_most'] is None else 'at most'} {number(bound)}{unit}"
        if values:
            middle = median(values)
            reached = middle >= bound if goal["at_most"] is None else middle <= bound
            shown = [f"{number(value)}{unit}" for value in (min(values), middle, max(values))]
        else:
            reached, shown = None, ["", "", ""]
        answer = {True: "yes", False: "**no**", None: "not measured"}[reached]
        lines.append(f"| {goal['line']} | {goal['what']} | {asked} | {' | '.join(shown)} | {answer} |")
    return "\n".join(lines)


def every_ratio(results: dict[str, Any]) -> str:
    """One table of everything that was compared: the least, the median and the largest ratio by the clock."""
    lines = [
        "| table | step | way | compared with | least | median | most |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for table in tables_in(results):
        base = table["base"] or table["base_step"]
        for way, steps in table["found"].items():
            for step in steps:
                if not base or way == table["base"] or step == table["base_step"]:
                    continue
                if "wall_s" not in steps[step][0]:
                    continue
                found = ratios(table, way, step, table["base"], "wall_s")
                if found:
                    shown = " | ".join(number(value) for value in (min(found), median(found), max(found)))
                    lines.append(f"| {table['name']} | {step} | {way} | {base} | {shown} |")
    return "\n".join(lines)


def machines(results: dict[str, Any]) -> str:
    """The machine and the versions, and of which script, where they differ."""
    by_text: dict[str, list[str]] = {}
    for script, run in results.items():
        text = "; ".join(f"{name} {value}" for name, value in run["machine"].items() if name != "load before")
        by_text.setdefault(text, []).append(f"{script} (load {run['machine']['load before'].split(',')[0]})")
    return "\n".join(f"- {', '.join(scripts)}: {text}." for text, scripts in by_text.items())


def tables_in(results: dict[str, Any]) -> Iterator[Measured]:
    """All tables, script by script."""
    for run in results.values():
        yield from run["tables"]


def read(path: Path = RESULTS) -> dict[str, Any]:
    """What was measured before, by script."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(results: dict[str, Any], path: Path = RESULTS) -> None:
    """Put down what was measured, with five digits; the old file stays until the new one is complete."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_rounded(dict(sorted(results.items()))), indent=1) + "\n")
    partial.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def generated(results: dict[str, Any]) -> dict[str, str]:
    """What stands between the markers of the page, by name."""
    tables = {table["name"]: markdown(table) for table in tables_in(results)}
    return {"goals": goals(results), "machines": machines(results), **tables}


def filled_page(page: str, results: dict[str, Any]) -> str:
    """The page with the tables of these results; a marker without a table says that it was not measured."""
    texts = generated(results)
    missing = texts.keys() - {name for _, name, _ in MARKED.findall(page)}
    if missing:
        raise LookupError(f"docs/benchmarks.md has no marker for: {', '.join(sorted(missing))}.")
    return MARKED.sub(lambda mark: f"{mark[1]}{texts.get(mark[2], 'Not measured yet.')}\n{mark[3]}", page)
