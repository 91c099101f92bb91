"""A Spark cluster on this machine: a master and two workers, each with an address of its own, as on two machines.

Comes in: a folder. Goes out: a session whose tasks run in executors of both workers; at the end, every process is gone.
Spark's local modes are of no use here: ``local[2]`` neither repeats a task nor runs a second attempt of a slow one, and
Spark starts such an attempt only on another host than the first. 127.0.0.1 and 127.0.0.2 are two hosts to it.
Never: waits by sleeping for something that has no end, or leaves files in the environment that PySpark is installed in.
"""

import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.left_out import left_out
from tests.support.system_parts import java

ROOT = Path(__file__).parents[2]
HOSTS = ("127.0.0.1", "127.0.0.2")
START_S = 120.0
OF_EXECUTORS = "ts_of_the_executors"
"""The token in the environment of the executors, which is not that of the driver."""

OF_PANDAS_3 = "ignore:PySpark does not yet fully support pandas:FutureWarning"
"""PySpark 4.3 says so whenever it touches pandas 3; what we use of it works. The one filter of the tests with Spark."""

QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A Java that lives for a minute should not spend it on getting faster."""

OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.lang.invoke", "java.net", "java.nio", "java.util", "sun.nio.ch")
)

SETTINGS = {
    "spark.driver.host": HOSTS[0],
    "spark.driver.bindAddress": HOSTS[0],
    "spark.ui.enabled": "true",  # a test looks for secrets in what it knows
    "spark.ui.port": "0",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": " ".join(QUICK),
    "spark.executor.extraJavaOptions": " ".join(QUICK),
    "spark.executor.memory": "512m",
    "spark.sql.shuffle.partitions": "4",
    "spark.speculation": "true",
    "spark.speculation.interval": "50ms",
    "spark.speculation.minTaskRuntime": "200ms",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.25",
    "spark.excludeOnFailure.enabled": "false",
}


@contextmanager
def _process(folder: Path, home: Path, kind: str, *arguments: str, until: str) -> Iterator[str]:
    """A master or a worker, until the end of the block; yields what ``until`` matches in its log."""
    log = folder / f"{kind}{len(list(folder.glob(f'{kind}*.log')))}.log"
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_SCALA_VERSION": next((home / "jars").glob("spark-core_*")).name.split("_")[1].split("-")[0],
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    # Without spark-class, which starts a Java of its own to find out what to start.
    command = [java(), *QUICK, *OPENED, "-Xmx256m", "-cp", f"{home}/jars/*"]
    command += [f"org.apache.spark.deploy.{kind.lower()}.{kind}", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
        try:
            yield _found(log, until, process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _found(log: Path, pattern: str, process: subprocess.Popen) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[0]
        assert process.poll() is None, log.read_text(errors="replace")[-3_000:]
        time.sleep(0.05)
    pytest.fail(f"{log.name} does not show {pattern!r}:\n{log.read_text(errors='replace')[-3_000:]}")


@contextmanager
def cluster(folder: Path, **settings: str):
    """A session on a cluster of two workers with a processor each; tests that need one are left out without Java.

    Args:
        folder: For logs and temporary files.
        **settings: More settings of Spark, with two underscores for each dot.
    """
    if java() is None:
        left_out("Spark needs Java, and there is none. `make setup-system` sets one up.")
    import pyspark

    home = folder / "spark"
    home.mkdir()
    for part in ("bin", "jars"):  # Spark writes below its home, and its own is in the environment
        (home / part).symlink_to(Path(pyspark.__file__).parent / part)
    os.environ["SPARK_LOCAL_IP"], os.environ["PYSPARK_PYTHON"] = HOSTS[0], sys.executable
    with _process(folder, home, "Master", *_at(HOSTS[0]), until=r"spark://[\d.]+:\d+") as master:
        registered = "Successfully registered with master"
        one = _process(folder, home, "Worker", *_at(HOSTS[0]), *_worker(folder, master), until=registered)
        other = _process(folder, home, "Worker", *_at(HOSTS[1]), *_worker(folder, master), until=registered)
        with one, other:
            given = {name.replace("__", "."): value for name, value in settings.items()}
            with _session(master, {**SETTINGS, "spark.local.dir": str(folder / "driver"), **given}) as session:
                yield session


def _at(host: str) -> tuple[str, ...]:
    return "--host", host, "--port", "0", "--webui-port", "0"


def _worker(folder: Path, master: str) -> tuple[str, ...]:
    return "--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"), master


@contextmanager
def _session(master: str, settings: dict[str, str]):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", OF_PANDAS_3.split(":")[1], FutureWarning)
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master(master)
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()
        from pyspark import SparkContext

        gateway = SparkContext._gateway
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(20)
        SparkContext._gateway = SparkContext._jvm = None
