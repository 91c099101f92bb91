"""End to end, against the local service: automation heals what breaks, and keeps away from what is archived."""

import pytest

from tests.support.end_to_end_loops import loops
from tests.support.end_to_end_processes import a_backfill_that_was_killed_is_started_again, processes
from tests.support.end_to_end_story import tell

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the daemon's own
]


def test_the_story_through_the_daemons_own_loops(tmp_path):
    """Ticks fill the trailing window, gaps are healed or given up; archived stops all, unarchived makes up for it."""
    with loops(tmp_path) as stage:
        tell(stage)


@pytest.mark.skipif("not config.getoption('--soak')", reason="takes minutes: `make soak`")
def test_the_story_with_the_real_daemon_and_webserver(tmp_path):
    """The same, by the clock, and a backfill killed in the middle; what is told is what the webserver shows."""
    with processes(tmp_path) as stage:
        a_backfill_that_was_killed_is_started_again(stage)
        tell(stage)
