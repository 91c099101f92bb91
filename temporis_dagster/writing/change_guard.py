"""Keeps a run from rewriting more than its asset allows: checks the asset's limits before anything is sent.

A run with limits reads its windows once more, to compare what is stored with what it brings. So does a dry run, which
shows the comparison.

Comes in: an output, what it is about to write, and the asset's limits. Goes out: a refusal that shows the plan, or
metadata that say what became of the limits.
Never: sends, writes or deletes observations, stops a run that a person waves through, or imports Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from temporis_dagster.data_source.observations import Observations
from temporis_dagster.data_source.plan import Limits, Plan
from temporis_dagster.data_source.source import DataSource
from temporis_dagster.errors import DataSourceNotFoundError, ReadNotSupportedError
from temporis_dagster.metadata_keys import IGNORE_LIMITS, LIMITS
from temporis_dagster.metadata_values import Value, printable, text
from temporis_dagster.refusal import RefusedError
from temporis_dagster.write_options import LIMITS as LIMIT_OPTIONS
from temporis_dagster.writing.output import Output
from temporis_dagster.writing.plan_tables import ghost_tables, plan_tables

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
        output: What the step makes.
        source: The data source.
        observations: The observations about to be written.
        dry_run: Whether the run is a dry run, which shows its plan.

    Attributes:
        ghosts: How many stored rows were missing from the frame when the limits were checked; 0 without a comparison.
    """

    def __init__(self, output: Output, source: DataSource, observations: Observations, *, dry_run: bool) -> None:
        self._output, self._source, self._observations = output, source, observations
        self._options, self._dry_run = output.rules.changes, dry_run
        self.ghosts = 0
        self._said = ""
        self._shown: Plan | None = None

    def before(self) -> None:
        """Compare, if there are limits or this is a dry run, and refuse what exceeds the limits.

        Raises:
            RefusedError: The run would change more than the asset allows. Nothing was sent.
            TemporisError: What is stored could not be read.
        """
        if self._options.limits is None and not self._dry_run:
            return
        try:
            plan = self._source.plan(self._observations, within=self._output.rules.within)
        except ReadNotSupportedError:
            self._not_asked(NO_READ_BACK)
        except DataSourceNotFoundError:  # if it is not created either, the write itself says so
            self._said = NOTHING_STORED
        else:
            self._compare(plan)

    def metadata(self) -> Mapping[str, Value]:
        """Return what became of the limits; nothing if the asset has none."""
        if self._options.limits is None or not self._said:
            return {}
        return {LIMITS: text(printable(self._said))}

    def tables(self) -> Mapping[str, Value]:
        """Return the plan of a dry run, or of a run that was waved through."""
        if self._shown is None:
            return {}
        return {**plan_tables(self._shown), **(ghost_tables(self._shown) if self._dry_run else {})}

    def _not_asked(self, why: str) -> None:
        self._said = why
        limits = f"The limits of this asset ({_listed(self._options.limits)}) were not checked. "
        self._output.log.warning("%s%s", limits if self._options.limits else "", why)

    def _compare(self, plan: Plan) -> None:
        self.ghosts = plan.ghosts
        self._shown = plan if self._dry_run else None
        if self._dry_run:
            self._output.log.info("%s", plan)
        if self._options.limits is None:
            return
        exceeded = self._options.limits.exceeded(plan)
        if not exceeded:
            self._said = f"Within the limits ({_listed(self._options.limits)})."
        elif _is_true(self._output.rules.tags.get(IGNORE_LIMITS, "")):
            self._shown, self._said = plan, f"Exceeded and ignored, because {IGNORED}. {' '.join(exceeded)}"
            self._output.log.warning("%s", self._said)
        else:
            raise self._refusal(plan, exceeded)

    def _refusal(self, plan: Plan, exceeded: Sequence[str]) -> RefusedError:
        facts = " ".join([*exceeded, *_without_effect(self._output.rules.tags)])
        deletes = " and delete its ghost rows" if self._options.deletes and plan.ghosts else ""
        return RefusedError(
            printable(
                f"The run would change more of {self._source.name!r} than this asset allows. Nothing was sent. "
                f"{facts} If the frame is wrong, correct it where it comes from. If it is right, launch "
                f'the run again with the tag {IGNORE_LIMITS}: "true" to let it write{deletes}, or raise the limit.'
                f"\n\n{plan}"
            ),
            metadata={**plan_tables(plan), **ghost_tables(plan)},
        )


def _listed(limits: Limits | None) -> str:
    given = {option: getattr(limits, option, None) for option in LIMIT_OPTIONS}
    return ", ".join(f"{option}={limit!r}" for option, limit in given.items() if limit is not None)


def _is_true(tag: str) -> bool:
    return tag.strip().lower() == "true"


def _without_effect(tags: Mapping[str, str]) -> list[str]:
    """Return a sentence for each tag that was meant to let the run write, and does not."""
    meant = [tag for tag in sorted(tags) if tag.lower().startswith(BEGINNING)]
    return [f"The run's tag {tag}: {tags[tag]!r:.60} has no effect." for tag in meant]
