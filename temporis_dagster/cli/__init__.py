"""The ``temporis`` command: data sources, tokens, observations and the local service, from a shell.

Rooms, from the command line inwards:

* ``main``: the group; ``ingest``, ``read``, ``sources``, ``tokens``, ``serve``, ``mirror``: one subcommand each.
* ``shared_options``: the click options that several subcommands take.
* ``connecting``: a connection or a mirror for the length of a command, with advice that spells options.
* ``output``: lines, CSV and remarks on stdout and stderr. ``exits``: an error's text and exit code.
* What ``ingest`` reads: ``file_bytes`` (unpacked bytes) -> ``csv_file`` (lines and column names) -> ``file_table`` (a
  frame) with ``cells`` (numbers and moments from text); ``file_options``: the options of a frame, spelled as flags.
* What ``ingest`` leaves behind: ``invalid_rows`` (the list of ``--invalid-rows``), ``overwriting`` (which files it may
  replace).
"""

from temporis_dagster.cli.main import main

__all__ = ["main"]
