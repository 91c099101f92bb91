"""docs/symptoms.md quotes the messages that the code produces today, on every surface."""

import pytest

from tests.support import symptoms

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
]

ALL = [
    pytest.param(symptom, id=f"{heading}-{number}".replace(" ", "_"))
    for heading, entries in symptoms.EVERYTHING.items()
    for number, symptom in enumerate(entries)
]


@pytest.mark.parametrize("symptom", ALL)
def test_a_message_that_is_provoked_stands_on_the_page_with_its_cause_and_cure(symptom, tmp_path):
    """Word for word; ``python -m tests.support.symptoms`` writes the page again after a text has changed."""
    assert symptoms.shown(symptom, tmp_path) in symptoms.PAGE.read_text()


def test_the_page_has_nothing_else():
    """Every heading and as many entries as are provoked: at least forty errors and ten log lines."""
    text = symptoms.PAGE.read_text()
    assert text.startswith(symptoms.HEAD)
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    counts = {heading: section.count("*Cause:*") for heading, section in sections.items()}
    assert counts == {heading: len(entries) for heading, entries in symptoms.EVERYTHING.items()}
    assert counts.pop("Log lines") >= 10
    assert sum(counts.values()) >= 40
