"""Errors of the HTTP backend: which error an answer becomes, and its text.

Comes in: the last reply of a delivery and its report. Goes out: a DeliveryError of the tree: what happened, to which
data source and observations, and what to do.
Never: decides whether to try again, or raises.
"""

from __future__ import annotations

from temporis_dagster.contract import NOT_FOUND, Meaning
from temporis_dagster.data_source.http.attempts import Reply
from temporis_dagster.data_source.http.client import Answer
from temporis_dagster.data_source.local_service import to_manage
from temporis_dagster.data_source.options import HttpAdvice
from temporis_dagster.data_source.report import UpsertReport
from temporis_dagster.errors import (
    AuthenticationError,
    DataSourceArchivedError,
    DataSourceNotFoundError,
    DeliveryError,
    RejectedObservationsError,
    UnavailableError,
)
from temporis_dagster.wording import agreeing, counted

_FINAL: dict[Meaning, type[DeliveryError]] = {
    Meaning.NOT_AUTHENTICATED: AuthenticationError,
    Meaning.NOT_FOUND: DataSourceNotFoundError,
    Meaning.ARCHIVED: DataSourceArchivedError,
}
_UNREACHABLE_ADVICE = (
    "Its certificate cannot be verified, or it does not speak TLS: check the URL (http or https, and the port); for a"
    " private certificate authority"
)
_FOREIGN_ADVICE = (
    "This does not look like an answer of the Temporis API, whose errors are JSON with a detail. Check the URL and any"
    " proxy or gateway in between."
)


def error_of(reply: Reply, data_source: str, report: UpsertReport, *, url: str, advice: HttpAdvice) -> DeliveryError:
    """Make the error for a reply that ended a delivery early, or a question without an answer.

    Args:
        reply: The last reply.
        data_source: The name of the data source.
        report: What happened to every observation; all counts are 0 if the call was not an upsert.
        url: The base URL of the service.
        advice: What to advise, in the words of the surface.
    """
    answer, where, done = reply.answer, f"Data source {data_source!r} at {url}", _done(report)
    said = (f"{answer.status}: {answer.words}" if answer.status else answer.words).rstrip(".: ")
    if reply.gave_up and answer.meaning in (Meaning.INVALID, Meaning.TOO_LARGE):
        return RejectedObservationsError(
            f"{where} rejects observations ({said}), and {reply.gave_up}.{done} Correct the rejected rows, then"
            " send the unsent ones again.",
            data_source=data_source,
            report=report,
        )
    if reply.gave_up:
        again = "Run the upsert again later: repeating it is safe" if report.observations_in else "Try again later"
        tried = f"Gave up after {counted(reply.attempts, 'attempt')}" if reply.attempts else "Nothing was sent"
        return UnavailableError(
            f"{where} is unavailable: {said}. {tried} because {reply.gave_up}.{done}{_hint(answer, advice)} {again}.",
            data_source=data_source,
            report=report,
            attempts=reply.attempts,
            retry_after_s=answer.retry_after_s,
        )
    if answer.status is None:
        return DeliveryError(
            f"{where} cannot be reached: {said}.{done} {_UNREACHABLE_ADVICE}, {advice.ca_bundle}.",
            data_source=data_source,
            report=report,
        )
    kind, what_to_do = _FINAL.get(answer.meaning, DeliveryError), _what_to_do(answer, data_source, url)
    return kind(f"{where} answered {said}.{done} {what_to_do}", data_source=data_source, report=report)


def _done(report: UpsertReport) -> str:
    """Say what is stored, what may be, and what the mirror keeps, as sentences that follow another."""
    done = ""
    if report.observations_in:
        doubtful = f", and {report.unknown:,} may have been" if report.unknown else ""
        were = agreeing(1 if report.observations_in == 1 else report.stored, "was", "were")  # "0 of 1 observation was"
        done = f" {report.stored:,} of {counted(report.observations_in, 'observation')} {were} stored{doubtful}."
    if report.pending:
        is_kept = agreeing(report.pending, "is kept", "are kept")
        done += f" {report.pending:,} {is_kept} in the mirror for a later upsert or flush to deliver."
    return done


def _hint(answer: Answer, advice: HttpAdvice) -> str:
    """Say what may be behind a failure that was retried, as a sentence that follows another."""
    if answer.unknown_host:
        return " The host name cannot be resolved: check the URL, and the proxy if there is one."
    if answer.too_slow:
        return f" For a slow line, {advice.slow_line}."
    is_foreign = answer.meaning is Meaning.UNCLEAR and not answer.from_api
    return f" {_FOREIGN_ADVICE}" if is_foreign else ""


def _what_to_do(answer: Answer, data_source: str, url: str) -> str:
    """Say what to do about an answer that is final."""
    create, unarchive = (to_manage(url, f"sources {verb} {data_source}") for verb in ("create", "unarchive"))
    if answer.meaning is Meaning.NOT_AUTHENTICATED:
        new = to_manage(url, "tokens create LABEL")
        return f"Check the access token (TEMPORIS_TOKEN) and the URL, or create a new token {new}."
    if answer.meaning is Meaning.ARCHIVED:
        return f"It takes no observations. Unarchive it first {unarchive}."
    if answer.meaning is Meaning.NOT_FOUND and answer.words == NOT_FOUND:
        return f"Correct its name or the URL, or create it {create}."
    if answer.meaning is Meaning.NOT_FOUND:
        return f"The API itself would answer {NOT_FOUND!r}, so check the URL and its path first, then the name."
    return _FOREIGN_ADVICE
