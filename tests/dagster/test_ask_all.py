"""ask_all: many data sources at once, one deadline, and an answer of each by its name."""

from threading import Event, Lock

import pytest

from temporis_dagster.ask_all import ask_all


def test_answers_and_errors_stand_under_their_names():
    """An error of one is kept for the reader, and takes nothing from the others."""

    def ask(name):
        if name == "broken":
            raise ConnectionError("no route")
        return name.upper()

    answers = ask_all(ask, ["load", "broken", "prices"], within_s=60)
    assert {name: one.result() for name, one in answers.items() if name != "broken"} == {
        "load": "LOAD",
        "prices": "PRICES",
    }
    assert isinstance(answers["broken"].exception(), ConnectionError)
    with pytest.raises(ConnectionError, match="no route"):
        answers["broken"].result()


def test_a_silent_data_source_is_left_out():
    """A question that is not answered in time goes on in its thread; the caller does not wait for it."""
    release = Event()
    try:
        assert ask_all(lambda _: release.wait(), ["slow"], within_s=0.01) == {}
    finally:
        release.set()


def test_a_name_that_stands_twice_is_asked_once():
    """The caller may repeat a name; nothing waits for a second answer."""
    asked, lock = [], Lock()

    def ask(name):
        with lock:
            asked.append(name)

    assert list(ask_all(ask, ["load", "load"], within_s=60)) == ["load"]
    assert asked == ["load"]


def test_without_names_there_is_no_wait():
    """Without names there is no answer, at once."""
    assert ask_all(str.upper, [], within_s=60) == {}
