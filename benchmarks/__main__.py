"""The command: ``python -m benchmarks run``, which is what ``make bench`` does, and its parts.

Comes in: the command line. Goes out: tables on the terminal, ``results.json``, docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks import machine, results
from benchmarks.harness import ROOT, ROUNDS, ROWS, Given, scripts, tables_of

QUICK_ROWS, QUICK_ROUNDS = 100_000, 3
OF_DUCKDB = ROOT / ".venv-bench-duckdb"


def measure(script: str, given: Given, path: Path | None) -> None:
    """Measure one script in this process; print its tables, and write what was measured."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    run = {"machine": machine.described(), "tables": []}
    for table in tables_of(script, given):
        run["tables"].append(table.as_json())
        print(f"\n{results.markdown(run['tables'][-1])}", flush=True)
    if path:
        path.write_text(json.dumps(run))


def run(names: list[str], options: list[str], path: Path, page: Path | None) -> int:
    """Measure each script in a process of its own; what one has found is kept before the next begins.

    Args:
        names: The scripts.
        options: What is given to each.
        path: Where the results of all scripts are, of which these are replaced.
        page: The page that is written; None for none.

    Returns:
        0, or 1 if a script failed.
    """
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder) / "found.json"
            command = [sys.executable, "-m", "benchmarks", "measure", name, "--json", str(found), *options]
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                failed.append(name)
                continue
            results.write({**results.read(path), name: json.loads(found.read_text())}, path)
        print(f"\n({name} took {time.perf_counter() - started:,.0f} s)", flush=True)
    everything = results.read(path)
    if page:
        page.write_text(results.filled_page(page.read_text(), everything))
    print(f"\n{results.every_ratio(everything)}\n\n{results.goals(everything)}\n\n{results.machines(everything)}")
    if failed:
        print(f"\nThese failed: {', '.join(failed)}. Run only them again: python -m benchmarks run {' '.join(failed)}")
    return 1 if failed else 0


def parsed() -> argparse.Namespace:
    """The command line."""
    duckdb_python = str(OF_DUCKDB / "bin" / "python") if (OF_DUCKDB / "ready").exists() else None
    how = argparse.ArgumentParser(add_help=False)
    how.add_argument("--rows", type=int, default=ROWS, help="of an ordinary table (default: %(default)s)")
    how.add_argument("--rounds", type=int, default=ROUNDS, help="of every way (default: %(default)s)")
    how.add_argument("--postgres", help="an empty database of an idle server on this machine, for a superuser")
    how.add_argument("--duckdb-python", default=duckdb_python, help="an interpreter that has dagster-duckdb-pandas")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory, side by side.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", parents=[how], help="measure one script, and print its tables")
    one.add_argument("script", choices=scripts())
    one.add_argument("--json", type=Path, help="a file for what was measured")
    several = commands.add_parser(
        "run", parents=[how], help="measure scripts, keep the results, and write docs/benchmarks.md"
    )
    several.add_argument("scripts", nargs="*", help=f"all by default: {', '.join(scripts())}")
    several.add_argument("--quick", action="store_true", help="a tenth of the rows, 3 rounds; the page is not written")
    several.add_argument("--json", type=Path, help="another file for the results; the page is not written")
    commands.add_parser("tables", help="write docs/benchmarks.md again from the results")
    return parser.parse_args()


def main() -> int:
    """Do what was asked."""
    given = parsed()
    if given.command == "tables":
        results.PAGE.write_text(results.filled_page(results.PAGE.read_text(), results.read()))
        return 0
    if given.command == "measure":
        wanted = Given(given.rows, given.rounds, given.postgres, given.duckdb_python)
        measure(given.script, wanted, given.json)
        return 0
    unknown = set(given.scripts) - set(scripts())
    if unknown:
        raise SystemExit(f"No script is called {', '.join(sorted(unknown))}. There are: {', '.join(scripts())}.")
    rows, rounds = (QUICK_ROWS, QUICK_ROUNDS) if given.quick else (given.rows, given.rounds)
    options = ["--rows", str(rows), "--rounds", str(rounds)]
    for name in ("postgres", "duckdb_python"):
        if getattr(given, name):
            options += [f"--{name.replace('_', '-')}", getattr(given, name)]
    elsewhere = given.json or (Path(tempfile.mkdtemp()) / "results.json" if given.quick else None)
    return run(given.scripts or scripts(), options, elsewhere or results.RESULTS, None if elsewhere else results.PAGE)


if __name__ == "__main__":
    sys.exit(main())
