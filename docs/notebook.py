"""Runs notebook.ipynb and stores its outputs in it; tests/project/test_notebook.py compares them.

python docs/notebook.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
FOLDER = "/home/you"
"""What the outputs show in place of the folder in which the notebook ran."""


def executed(notebook: Path = NOTEBOOK) -> nbformat.NotebookNode:
    """The notebook, run from top to bottom in an empty folder by a kernel of this Python."""
    read = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder, _surroundings(IPYTHONDIR=f"{folder}/.ipython", MPLBACKEND=None):
        run = NotebookClient(
            read,
            kernel_name="python3",
            # A socket in the folder instead of a port, which others on the machine could connect to.
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
            timeout=120,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
        shown = json.dumps(run).replace(folder, FOLDER)
    made: Any = nbformat.from_dict(json.loads(shown))
    made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return made


@contextmanager
def _surroundings(**variables: str | None) -> Iterator[None]:
    """Variables for the kernel, which inherits those of this process; None for one that it must not have."""
    before = dict(os.environ)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
