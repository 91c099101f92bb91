"""Bodies and headers that no client should send: only 204 and 4xx, and two accounts that never see each other."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service.app import Limits
from tests.support.service_fixture import content, in_process, ingest_of

LIMIT = 20_000
PIECES = [
    *(
        b"NaN",
        b"Infinity",
        b"-",
        b"1e999",
        b"-0.0",
        b"5e-324",
        b"9" * 25,
        b"0x1",
        b"1.0",
        b"null",
        b"true",
        b"{}",
        b"[]",
    ),
    *(b'"', b'""', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\\x"),
    *(b"\xff", b"\xed\xa0\x80", b"\0", b"\r\n", b"\xef\xbb\xbf", b" " * LIMIT, b"[" * 5000, b'{"a":' * 2000),
    *(b"store_metrics", b"legacy", b"other_source", b'"data_source"', b'"records"', b'"timestamp"', b'"value"'),
    *(b"1718870400000", b"-62135596801", b"9007199254740993", b'"1718870400"', b"'a'", b"/*", b"//"),
]
ODD_HEADERS = [
    *([("Content-Encoding", value)] for value in ("gzip", "identity", "br, identity", ",", "\xff")),
    *([("Content-Length", value)] for value in ("0", "-1", "1e3", "9" * 40, "\xb2", " 7 ", "")),
    *([("Authorization", value)] for value in ("", "Bearer", "Bearer \xff", "Bearer  ts_x", "bearer ts_" + "y" * 9000)),
    *([("Content-Type", value)] for value in ("", "text/html; charset=utf-16", "multipart/form-data")),
    [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
    [("Transfer-Encoding", "gzip, chunked")],
]


def original(chance: random.Random) -> bytes:
    """A request that is valid, or nearly."""
    records = [
        {
            "timestamp": chance.randint(-5, 5),
            "name": chance.choice("abcé"),
            "value": chance.choice([1, 0.5, -0.0, 1e300]),
        }
        for _ in range(chance.randint(0, 4))
    ]
    source = chance.choice(["store_metrics", "store_metrics", "legacy", "nothing", "other_source"])
    return json.dumps({"data_source": source, "records": records}, ensure_ascii=chance.random() < 0.5).encode()


def mutated(body: bytes, chance: random.Random) -> bytes:
    """The request after some random damage."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        start, stop = sorted((chance.randint(0, len(body)), chance.randint(0, len(body))))
        flipped = bytes(byte ^ (1 << chance.randint(0, 7)) for byte in body[start : start + 1])
        middle = chance.choice(
            [b"", flipped + body[start + 1 : stop], 2 * body[start:stop], chance.choice(PIECES), chance.randbytes(3)]
        )
        body = body[:start] + middle + (body[stop:] if chance.random() < 0.7 else body[start:])
    return body


@pytest.fixture
def store(tmp_path):
    store = SqlStore(f"sqlite:///{tmp_path}/temporis.db")
    for name in ("store_metrics", "legacy"):
        store.create_data_source(name)
    store.set_archived("legacy", archived=True)
    store.of_account("other").create_data_source("other_source")
    yield store
    store.close()


def test_whatever_is_sent_gets_204_or_4xx(store, soak):
    """Never a 500 and never an exception: every refusal is JSON with the reason, in the documented shape."""
    chance, seen = random.Random(11), Counter()
    token = store.tokens.create("fuzz")
    with in_process(store, Limits(body_bytes=LIMIT)) as post:
        for _ in range(100_000 if soak else 2_000):
            body = mutated(original(chance), chance)
            odd = chance.choice(ODD_HEADERS) if chance.random() < 0.15 else []
            response = post(body, token if chance.random() < 0.98 else None, headers=odd)
            seen[response.status_code] += 1
            check_answer(response, body)
    assert set(seen) == {204, 401, 404, 409, 413, 415, 422}
    assert min(seen.values()) > 5
    assert content(store, "legacy") == content(store.of_account("other"), "other_source") == {}


def check_answer(response, body: bytes) -> None:
    if response.status_code == 204:
        assert response.content == b"", body
        return
    detail = response.json()["detail"]
    assert 400 <= response.status_code < 500, body
    assert isinstance(detail, str), body
    if response.status_code == 422:
        [fault] = response.json()["errors"]
        assert fault["loc"][0] == "body", body
        assert detail.endswith(fault["msg"]), body
        assert len(response.content) < 2_000, body


# Two accounts

SOURCES, NAMES = st.sampled_from(["alpha", "beta"]), st.sampled_from(["a", "b"])
RECORDS = st.lists(st.tuples(st.integers(0, 3), NAMES, st.integers(0, 9)), max_size=4)
ACCOUNTS = st.sampled_from(["one", "two"])


class TwoAccounts(RuleBasedStateMachine):
    """Two accounts with data sources of the same names, tokens that come and go, against plain dictionaries."""

    store: SqlStore

    def __init__(self) -> None:
        super().__init__()
        self.store = SqlStore(f"sqlite:///{self.folder}/{next(self.numbers)}.db")
        self.service = in_process(self.store)
        self.post = self.service.__enter__()
        self.contents = {"one": {}, "two": {}}
        self.archived = {"one": set(), "two": set()}
        self.labels = {"one": {}, "two": {}}
        self.deleted = ["ts_never_made"]

    @rule(account=ACCOUNTS, source=SOURCES)
    def create(self, account, source):
        self.store.of_account(account).create_data_source(source)
        self.contents[account].setdefault(source, {})

    @rule(account=ACCOUNTS, source=SOURCES, archived=st.booleans())
    def archive(self, account, source, archived):
        if source in self.contents[account]:
            self.store.of_account(account).set_archived(source, archived=archived)
            (self.archived[account].add if archived else self.archived[account].discard)(source)

    @rule(account=ACCOUNTS, label=NAMES)
    def make_token(self, account, label):
        if label not in self.labels[account]:
            self.labels[account][label] = self.store.of_account(account).tokens.create(label)

    @rule(account=ACCOUNTS, label=NAMES)
    def delete_token(self, account, label):
        assert self.store.of_account(account).tokens.delete(label) == (label in self.labels[account])
        if label in self.labels[account]:
            self.deleted.append(self.labels[account].pop(label))

    @rule(account=ACCOUNTS, source=SOURCES, records=RECORDS, data=st.data())
    def ingest(self, account, source, records, data):
        if not self.labels[account]:
            return
        token = self.labels[account][data.draw(st.sampled_from(sorted(self.labels[account])))]
        status = self.post(ingest_of(*records, source=source), token).status_code
        if source not in self.contents[account]:
            assert status == 404
        elif source in self.archived[account]:
            assert status == 409
        else:
            assert status == 204
            self.contents[account][source].update({(timestamp, name): value for timestamp, name, value in records})

    @rule(source=SOURCES, data=st.data())
    def ingest_with_a_deleted_token(self, source, data):
        token = data.draw(st.sampled_from(self.deleted))
        assert self.post(ingest_of((0, "a", 1), source=source), token).status_code == 401

    @invariant()
    def each_account_has_its_own(self):
        for account, sources in self.contents.items():
            mine = self.store.of_account(account)
            assert mine.data_sources() == sorted(sources)
            assert {source: content(mine, source) for source in sources} == sources
            assert [token.label for token in mine.tokens.all()] == list(self.labels[account])

    def teardown(self):
        self.service.__exit__(None, None, None)
        self.store.close()


def test_two_accounts_never_see_each_other(tmp_path, soak):
    """Whatever both do, in any order: each finds what it wrote and only that, and a deleted token is unknown."""
    examples = 300 if soak else 15
    machine = type("TwoAccountsHere", (TwoAccounts,), {"folder": tmp_path, "numbers": iter(range(10**9))})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))
