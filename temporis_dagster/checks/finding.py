"""A finding: what a check expected, what it found, and what to do about it.

Comes in: plain words and figures, or an error of the tree. Goes out: Dagster's check results and evaluations.
Never: looks at a data source itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from temporis_dagster.errors import TemporisError
from temporis_dagster.metadata_keys import ERROR, EXPECTED, FOUND, WARNING, WHAT_TO_DO
from temporis_dagster.metadata_values import printable

Facts = Mapping[str, dg.MetadataValue]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        passed: Whether nothing is known to be wrong. What cannot be determined passes with a warning: a check that
            always fails would stop automation for good.
        expected: What was expected, in words.
        found: What was found, in words.
        what_to_do: How to fix it; empty if nothing is wrong.
        warning: What could not be checked, and why.
        facts: Further metadata.
    """

    passed: bool
    expected: str
    found: str
    what_to_do: str = ""
    warning: str = ""
    facts: Facts = field(default_factory=dict)

    @property
    def description(self) -> str:
        """A one- or two-line summary."""
        found = f"{self.found[:1].upper()}{self.found[1:]}."
        return printable(" ".join(filter(None, (found, self.what_to_do, self.warning))))

    @property
    def metadata(self) -> dict[str, dg.MetadataValue]:
        """The finding as metadata, without empty fields."""
        texts = {EXPECTED: self.expected, FOUND: self.found, WHAT_TO_DO: self.what_to_do, WARNING: self.warning}
        return {**{key: dg.MetadataValue.text(printable(text)) for key, text in texts.items() if text}, **self.facts}

    def result(self, check: dg.AssetCheckKey, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
        """The result that a check in a run returns."""
        return dg.AssetCheckResult(
            passed=self.passed,
            asset_key=check.asset_key,
            check_name=check.name,
            severity=severity,
            metadata=self.metadata,
            description=self.description,
        )

    def evaluation(self, check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        """The evaluation of a blocking check that is recorded outside a run."""
        return dg.AssetCheckEvaluation(
            check.asset_key,
            check.name,
            self.passed,
            metadata=self.metadata,
            description=self.description,
            blocking=True,
        )


def could_not_ask(error: TemporisError, expected: str, facts: Facts | None = None) -> Finding:
    """Return the finding of a check whose data source answered with an error: this check fails, and no other.

    Args:
        error: The error; its message ends with what to do.
        expected: What was expected, in words.
        facts: Further metadata.
    """
    found = f"The data source could not be asked: {type(error).__name__}: {str(error).rstrip('.')}"
    again = "This may be temporary: run the check again later." if error.retryable else "Then run the check again."
    kind = {ERROR: dg.MetadataValue.text(type(error).__name__)}
    return Finding(passed=False, expected=expected, found=found, what_to_do=again, facts={**(facts or {}), **kind})
