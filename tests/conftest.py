"""Options of the test run: the short form that every landing passes, and ``--soak``, the long one."""

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run random tests and tests of many processes for longer")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("short", deadline=None)
    settings.register_profile("soak", deadline=None, max_examples=2_000)
    settings.load_profile("soak" if config.getoption("--soak") else "short")
