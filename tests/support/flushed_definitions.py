"""A code location with a flush schedule that runs as soon as it is loaded; read by the daemon's test of it."""

import dagster as dg

from temporis_dagster import TemporisResource, build_mirror_flush_schedule

temporis = TemporisResource(
    url=dg.EnvVar("TEMPORIS_TEST_URL"), token=dg.EnvVar("TEMPORIS_TEST_TOKEN"), mirror=dg.EnvVar("TEMPORIS_TEST_MIRROR")
)
defs = dg.Definitions(
    schedules=[
        build_mirror_flush_schedule(
            data_sources=["store_metrics", "grid"],
            cron_schedule="* * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ],
    resources={"temporis": temporis},
)
