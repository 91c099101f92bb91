"""The service of the mirror's tests, and processes in front of it."""

import pytest

from tests.support.mirror_tools import Process, World


@pytest.fixture
def world():
    return World()


@pytest.fixture
def process_with(world, tmp_path):
    """Makes processes that share a mirror, given its options, and closes them."""
    made = []

    def make(options, into=world, **settings) -> Process:
        made.append(Process(into, tmp_path / "mirror.db", mirror_options=options, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
