"""Speed and memory, as ratios taken side by side: ``python -m benchmarks --help``, or ``make bench``.

``harness`` says how a script looks; ``baselines`` has what the library is compared with, one file each; the other
modules are the scripts. Comes in: how many rows and rounds. Goes out: ``results.json`` and the tables of
docs/benchmarks.md. Nothing here is installed with the library, and nothing in the library knows it.
"""
