"""Keeps a run from rewriting more than its asset allows: checks the asset's limits before anything is sent.

A run with limits reads its windows once more, to compare what is stored with what it brings. So does a dry run, which
shows the comparison.

Comes in: an output, what it is about to write, and the asset's limits. Goes out: a failure that shows the plan, or
metadata that say what became of the limits.
Never: sends, writes or deletes observations, or stops a run that a person waves through.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from temporis_dagster.change_options import LIMITS as LIMIT_OPTIONS
from temporis_dagster.change_options import ChangeOptions
from temporis_dagster.dagster_failures import printable
from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan import Limits, Plan, Within
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, ReadNotSupportedError
from temporis_dagster.event_metadata import in_a_run
from temporis_dagster.io_manager.plan_tables import ghost_tables, plan_tables
from temporis_dagster.metadata_keys import IGNORE_LIMITS, LIMITS

IGNORED = f'the run has the tag {IGNORE_LIMITS}: "true"'
BEGINNING = IGNORE_LIMITS.removesuffix("_limits")
"""How tags begin that are meant to be ``IGNORE_LIMITS``, whatever their spelling is."""

NO_READ_BACK = (
    "The data source has no read-back, so what is stored there is not known. With mirror= of the TemporisResource, "
    "the run is compared with the mirror."
)
NOTHING_STORED = "There was nothing to compare with: the data source does not exist yet."


class ChangeGuard:
    """Compares what one run is about to write with what is stored.

    Args:
        context: Dagster's context of the output.
        source: The data source.
        observations: The observations about to be written.
        within: Which stored rows they are about.
        options: What the asset allows.
        dry_run: Whether the run is a dry run, which shows its plan.

    Attributes:
        ghosts: How many stored rows were missing from the frame when the limits were checked; 0 without a comparison.
    """

    def __init__(
        self,
        context: dg.OutputContext,
        source: DataSource,
        observations: Observations,
        within: Within,
        options: ChangeOptions,
        *,
        dry_run: bool,
    ) -> None:
        self._context, self._source, self._observations, self._within = context, source, observations, within
        self._options, self._dry_run = options, dry_run
        self.ghosts = 0
        self._said = ""
        self._shown: Plan | None = None

    def before(self) -> None:
        """Compare, if there are limits or this is a dry run, and refuse what exceeds the limits.

        Raises:
            Failure: The run would change more than the asset allows. Nothing was sent.
            TemporisError: What is stored could not be read.
        """
        if self._options.limits is None and not self._dry_run:
            return
        try:
            plan = self._source.plan(self._observations, within=self._within)
        except ReadNotSupportedError:
            self._not_asked(NO_READ_BACK)
        except DataSourceNotFoundError:  # if it is not created either, the write itself says so
            self._said = NOTHING_STORED
        else:
            self._compare(plan)

    def metadata(self) -> Mapping[str, dg.MetadataValue]:
        """Return what became of the limits; nothing if the asset has none."""
        if self._options.limits is None or not self._said:
            return {}
        return {LIMITS: dg.MetadataValue.text(printable(self._said))}

    def tables(self) -> Mapping[str, dg.MetadataValue]:
        """Return the plan of a dry run, or of a run that was waved through."""
        if self._shown is None:
            return {}
        return {**plan_tables(self._shown), **(ghost_tables(self._shown) if self._dry_run else {})}

    def _not_asked(self, why: str) -> None:
        self._said = why
        limits = f"The limits of this asset ({_listed(self._options.limits)}) were not checked. "
        self._context.log.warning("%s%s", limits if self._options.limits else "", why)

    def _compare(self, plan: Plan) -> None:
        self.ghosts = plan.ghosts
        self._shown = plan if self._dry_run else None
        if self._dry_run:
            self._context.log.info("%s", plan)
        if self._options.limits is None:
            return
        exceeded = self._options.limits.exceeded(plan)
        if not exceeded:
            self._said = f"Within the limits ({_listed(self._options.limits)})."
        elif _is_true(_run_tags(self._context).get(IGNORE_LIMITS, "")):
            self._shown, self._said = plan, f"Exceeded and ignored, because {IGNORED}. {' '.join(exceeded)}"
            self._context.log.warning("%s", self._said)
        else:
            raise self._failure(plan, exceeded)

    def _failure(self, plan: Plan, exceeded: Sequence[str]) -> dg.Failure:
        facts = " ".join([*exceeded, *_without_effect(_run_tags(self._context))])
        deletes = " and delete its ghost rows" if self._options.deletes and plan.ghosts else ""
        return dg.Failure(
            printable(
                f"The run would change more of {self._source.name!r} than this asset allows. Nothing was sent. "
                f"{facts} If the frame is wrong, correct it where it comes from. If it is right, launch "
                f'the run again with the tag {IGNORE_LIMITS}: "true" to let it write{deletes}, or raise the limit.'
                f"\n\n{plan}"
            ),
            metadata={**plan_tables(plan), **ghost_tables(plan)},
            allow_retries=False,
        )


def _listed(limits: Limits | None) -> str:
    given = {option: getattr(limits, option, None) for option in LIMIT_OPTIONS}
    return ", ".join(f"{option}={limit!r}" for option, limit in given.items() if limit is not None)


def _run_tags(context: dg.OutputContext) -> Mapping[str, str]:
    return context.step_context.run_tags if in_a_run(context) else {}


def _is_true(tag: str) -> bool:
    return tag.strip().lower() == "true"


def _without_effect(tags: Mapping[str, str]) -> list[str]:
    """Return a sentence for each tag that was meant to let the run write, and does not."""
    meant = [tag for tag in sorted(tags) if tag.lower().startswith(BEGINNING)]
    return [f"The run's tag {tag}: {tags[tag]!r:.60} has no effect." for tag in meant]
