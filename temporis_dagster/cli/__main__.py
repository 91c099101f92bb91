"""``python -m temporis_dagster.cli``, for when the ``temporis`` script is not on the path.

Comes in: the command line. Goes out: the call of ``main``. Never: holds code of its own.
"""

from temporis_dagster.cli.main import main

main(prog_name="temporis")
