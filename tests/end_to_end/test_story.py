"""End to end, against the local service: automation heals what breaks, and keeps away from what is archived.

docs/story.md tells the story to users; ``tests/support/end_to_end_story.py`` tells it here, scene by scene, and it is
played twice. Every test run plays its first six rows through the daemons' own loops in one process, where a minute of
the schedule takes as long as its runs. ``make soak`` plays them by the clock, with a process each for the service,
Dagster's code server, daemon and webserver, and the killed backfill as well. It asks the webserver's GraphQL for what a
row claims to show, so it needs dagster-webserver and fails without it. The killed backfill has a short form in
``test_killed_backfill.py``. Two promises of the story have tests of their own in ``tests/dagster``: a state that is not
known never stops automation, and a data source that cannot be asked fails only its own check.
"""

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


def test_the_story_with_the_real_daemon_and_webserver(tmp_path, soak):
    """The same, by the clock, and a backfill killed in the middle; the webserver shows what the story tells."""
    if not soak:
        pytest.skip("takes minutes: `make soak`")
    with processes(tmp_path) as stage:
        a_backfill_that_was_killed_is_started_again(stage)
        tell(stage)
