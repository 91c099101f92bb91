"""``python -m temporis_dagster.cli``, where the script is not on the path.

Comes in: the command line. Goes out: what ``main`` does. Never: holds code of its own.
"""

from temporis_dagster.cli.main import main

main(prog_name="temporis")
