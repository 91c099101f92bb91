"""Every ``temporis/...`` key that this package gives to Dagster: of metadata, and of tags.

Comes in: nothing. Goes out: the keys, as constants; and the key of an option, of an outcome's count or of a table.
Never: holds a value that stands under a key, or a key that Dagster itself defines.
"""

NAMESPACE = "temporis/"


def option_key(option: str) -> str:
    """The key under which an asset, its output or a data source states an option, such as ``temporis/on_invalid``."""
    return f"{NAMESPACE}{option}"


def count_key(outcome: str) -> str:
    """The key of the number of observations with one outcome, such as ``temporis/stored``."""
    return f"{NAMESPACE}{outcome}"


def row_count_key(kind: str) -> str:
    """The key of the number of rows of one kind, such as ``temporis/invalid_count``."""
    return f"{NAMESPACE}{kind}_count"


def rows_key(kind: str) -> str:
    """The key of the table of the first rows of one kind, such as ``temporis/invalid_rows``."""
    return f"{NAMESPACE}{kind}_rows"


# Options that an asset states about itself, and that other code reads or writes by name as well.
DATA_SOURCE = "temporis/data_source"
SERIES = "temporis/series"
"""On an asset: its own series, as exact names or a prefix. On a materialization: the series that its partition has
written, each with its first and last second."""
CONTRACTS = "temporis/contracts"
"""On an asset: what it states about its series, as a list of what each ``Series`` states."""
SCHEMA = "temporis/schema"
"""On an asset: its pandera schema."""
OUTSIDE_PARTITION = "temporis/outside_partition"

# What one write did.
DRY_RUN = "temporis/dry_run"
REQUESTS = "temporis/requests"
RETRIES = "temporis/retries"
DURATION_S = "temporis/duration_s"
CONFLICTS = "temporis/conflicts"
SERIES_COUNT = "temporis/series_count"
FIRST_OBSERVATION = "temporis/first_observation"
LAST_OBSERVATION = "temporis/last_observation"
"""The newest observation that is stored, not one that was rejected or that only waits in a mirror."""
LAST_PENDING_OBSERVATION = "temporis/last_pending_observation"
"""The newest observation that waits in a mirror. It is stored once nothing is pending there any more."""
PARTITIONS = "temporis/partitions"
ALL_PARTITION_ROWS = "temporis/partition_row_counts"
PLOT = "temporis/plot"
WARNING = "temporis/warning"
LIMITS = "temporis/limits"
"""What became of an asset's limits: that they hold, that they were ignored, or why they could not be checked."""
PLAN = "temporis/plan"
"""A table of what a write would change, per series."""
GHOST_ROWS = "temporis/ghost_rows"
"""On an asset: what happens to ghost rows. On a materialization: how many the partition has."""
GHOSTS = "temporis/ghosts"
"""A table of the first ghost rows."""

# What a component adds.
COMPONENT = "temporis/component"
"""On an asset: the class of the component that made it."""
QUERY = "temporis/query"
TIME_COLUMN = "temporis/time_column"

# The page of a data source.
ARCHIVE_STATE = "temporis/archive_state"
WRITER = "temporis/asset"

# What a check expected and found.
EXPECTED = "temporis/expected"
FOUND = "temporis/found"
WHAT_TO_DO = "temporis/what_to_do"
OBSERVATIONS = "temporis/observations"
HORIZON = "temporis/horizon"
MISSING_SERIES = "temporis/missing_series"
MAX_AGE = "temporis/max_age"
NEWEST_OBSERVATION = "temporis/newest_observation"
AGE_S = "temporis/age_s"

GHOST_PARTITIONS = "temporis/ghost_partitions"
"""The number of ghost rows of each partition that has some."""

# What waits in a mirror.
MAX_PENDING_AGE_S = "temporis/max_pending_age_s"
OLDEST_PENDING = "temporis/oldest_pending"
LAST_ERROR = "temporis/last_error"
REJECTED_KEPT = "temporis/rejected_kept"

# Failures.
ERROR = "temporis/error"
"""The class of the error that ended a step or a check, as the error tree names it."""

# Tags of runs, and what outlives their runs.
TICK = "temporis/tick"
"""A tag of the runs of a trailing-window schedule: the scheduled time of their tick. Their materializations state it
as well, so that it outlives the run."""
FILLS = "temporis/fills"
"""A tag of the runs of schedules and sensors that fill partitions: the fingerprint of the assets that they fill."""
IGNORE_LIMITS = "temporis/ignore_limits"
"""A tag of a run that a person sets to ``"true"``, so that the limits of its assets do not stop it."""
ATTEMPT = "temporis/attempt"
"""A tag of the runs of a gap sensor: which attempt at their partitions they are."""
FILLED_SINCE = "temporis/filled_since"
"""On an observation of an asset: the tick from which on a schedule fills the asset."""
