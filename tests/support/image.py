"""The image of deploy/Dockerfile without a container: its instructions, carried out below a folder.

Comes in: the Dockerfile, and a Python of the version that its base has. Goes out: a folder that looks like the root of
the image, and the environment of its processes.
Never: runs what needs to be root (the account that the image runs as), which ``ONLY_IN_A_CONTAINER`` names.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PATH_IN_IMAGE = re.compile(r"(?<![\w.])/(?=opt|build)")
ONLY_IN_A_CONTAINER = ("useradd",)
LONGEST_S = 1_500


@dataclass
class Image:
    """What a stage of the Dockerfile has left.

    Attributes:
        root: The folder that stands for `/`.
        python: The interpreter of the base image.
        variables: What the image sets in the environment of its processes.
        folder: Its working directory, as a path of this machine.
        instructions: Every instruction that was met, with its arguments.
    """

    root: Path
    python: Path
    variables: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/")
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """The same text, with the paths of the image as paths of this machine."""
        return PATH_IN_IMAGE.sub(f"{self.root}/", text)

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a process in the image, and no others."""
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_", "LANG", "HOME"))}
        path = f"{self.python.parent}{os.pathsep}/usr/bin:/bin"
        own = {name: self.here(value).replace("${PATH}", path) for name, value in self.variables.items()}
        return {"PATH": path, **kept, **own, **more}

    def run(self, command: str) -> None:
        """Run a shell command as RUN does, with the base image's `python`."""
        command = re.sub(r"(?<!\S)python (?=-m)", f"{self.python} ", self.here(command))
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}"

    def copy(self, arguments: str) -> None:
        """Copy from the repository as COPY does; from another stage there is nothing to copy: all are in one folder."""
        if arguments.startswith("--from="):
            return
        *sources, target = arguments.split()
        into = Path(self.here(target)) if target.startswith("/") else self.folder / target
        for name in sources:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                end = into / source.name if target.endswith("/") else into
                end.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, end)


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def python_version() -> str:
    """The Python of the base image, as in 3.12."""
    [base] = [arguments for kind, arguments in instructions() if kind == "ARG"]
    return ".".join(base.removeprefix("BASE=python:").split(".")[:2])


def interpreter(version: str) -> Path | None:
    """A Python of this version that can make environments, if this machine has one."""
    homes = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    named = shutil.which(f"python{version}")
    for candidate in (sys.executable, *([named] if named else []), *homes):
        asked = [str(candidate), "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2], sys.base_prefix)"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        if answer[:1] == [version]:
            return Path(answer[1]) / "bin" / f"python{version}"
    return None


def build(root: Path, python: Path) -> Image:
    """Carry out the Dockerfile below a folder."""
    image = Image(root, python)
    for kind, arguments in instructions():
        image.instructions.append((kind, arguments))
        if kind == "FROM":
            image.variables, image.folder = {}, root
        elif kind == "WORKDIR":
            image.folder = Path(image.here(arguments))
            image.folder.mkdir(parents=True, exist_ok=True)
        elif kind == "ENV":
            image.variables |= dict(re.findall(r"(\w+)=(\S+)", arguments))
        elif kind == "COPY":
            image.copy(arguments)
        elif kind == "RUN" and not arguments.startswith(ONLY_IN_A_CONTAINER):
            image.run(arguments)
        elif kind not in ("ARG", "RUN", "USER", "CMD"):
            raise NotImplementedError(kind)
    (root / "opt/dagster/storage").mkdir(parents=True)  # part of what only a container can do
    return image
