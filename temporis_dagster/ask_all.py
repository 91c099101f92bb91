"""``ask_all``: one question put to many data sources at once, with one deadline for all answers.

Comes in: a question, the names of data sources, a number of seconds. Goes out: the answers that came in time.
Never: waits longer than the deadline, or lets a data source that does not answer hold up another or the process.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


def ask_all(ask: Callable[[str], Answer], names: Iterable[str], within_s: float) -> "Mapping[str, Future[Answer]]":
    """Ask every data source in a thread of its own, and return what was answered within the deadline.

    A question cannot be canceled, so one without an answer goes on in its thread.

    Args:
        ask: Asks one data source, by its name.
        names: The data sources. One that is named twice is asked once.
        within_s: How many seconds to wait for all of them together.

    Returns:
        By name, what each question that is over returned (``result()``) or raised (``exception()``). Data sources that
        did not answer in time are left out.

    Examples:
        >>> answers = ask_all(str.upper, ["load", "prices"], within_s=20.0)
        >>> sorted((name, answer.result()) for name, answer in answers.items())
        [('load', 'LOAD'), ('prices', 'PRICES')]
    """
    asked = {name: _asked(ask, name) for name in dict.fromkeys(names)}
    answered = wait(asked.values(), timeout=within_s).done
    return {name: answer for name, answer in asked.items() if answer in answered}


def _asked(ask: Callable[[str], Answer], name: str) -> "Future[Answer]":
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(ask(name))
        except BaseException as error:  # noqa: BLE001  raised where the answer is read
            answer.set_exception(error)

    # A daemon, as an executor's threads are not: a service that never answers must not keep the process alive.
    Thread(target=run, name=f"ask-{name}", daemon=True).start()
    return answer
