"""The local service, over real HTTP on loopback and a real SQLite file: what it answers, and what is then stored."""

from __future__ import annotations

import gzip
import json
import logging
import queue
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporis_dagster.contract import INGEST_PATH
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.service import app, body, records
from temporis_dagster.service.app import Limits
from tests.support.service_fixture import (
    ONE,
    PATIENCE_S,
    Service,
    answer_on,
    content,
    in_process,
    ingest_of,
    started_service,
)

LIMIT = 2_000_000


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started_service(tmp_path_factory.mktemp("service"), limits=Limits(body_bytes=LIMIT)) as service:
        service.store.create_data_source("legacy")
        service.store.set_archived("legacy", archived=True)
        yield service


def raw(
    service: Service, *lines: str, body: bytes = b"", token: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """What is answered, to the byte, to a request of these header lines."""
    sent = [f"Authorization: Bearer {token}"] if token else []
    head = "\r\n".join([f"POST {INGEST_PATH} HTTP/1.1", "Host: here", *sent, *lines, "", ""])
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as connection:
        connection.sendall(head.encode("latin-1") + body)
        return answer_on(connection)


def sized(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def post(service: Service, body: object, **headers: str) -> httpx.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(service.endpoint, content=data, headers={**service.headers, **headers}, timeout=PATIENCE_S)


# What the documentation states, byte for byte


MISSING, INVALID = b'{"detail": "Missing access token."}', b'{"detail": "Invalid access token."}'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], MISSING),
        (["Authorization: "], MISSING),
        (["Authorization: Bearer"], MISSING),
        (["Authorization: Bearer "], MISSING),
        (["Authorization: ts_0123456789"], MISSING),
        (["Authorization: Basic dXNlcjpwYXNz"], MISSING),
        (["Authorization: Bearer ts_a ts_b"], MISSING),
        (["Authorization: Bearer ts_caf\xe9"], MISSING),
        (["Authorization: Bearer ts_a", "Authorization: Bearer ts_b"], MISSING),
        (["Authorization: Bearer ts_0123456789"], INVALID),
        (["Authorization: bearer nothing"], INVALID),
        (["Authorization: Bearer " + "ts_" + "x" * 5000], INVALID),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_who_asks_without_a_token_or_with_nobodys_gets_401(running, lines, expected):
    """Missing or malformed header, and unknown token, in the words of the documentation."""
    body = json.dumps(ONE).encode()
    status, headers, answer = raw(running, sized(body), *lines, body=body)
    assert (status, answer) == (401, expected)
    assert headers["content-type"] == "application/json"


def test_the_documented_answers_are_exact(running):
    """204 has no body; 404 and 409 have the documented one."""
    answers = []
    for source in ("store_metrics", "store_metric", "Store-Metrics", "", "legacy"):
        body = json.dumps(ingest_of((0, "a", 1), source=source)).encode()
        status, headers, answer = raw(running, sized(body), body=body, token=running.token)
        answers.append((status, answer))
        assert ("content-type" in headers) == (status != 204)
    missing = (404, b'{"detail": "Data source not found."}')
    assert answers == [(204, b""), missing, missing, missing, (409, b'{"detail": "Data source is archived."}')]


@pytest.mark.parametrize(("source", "status"), [("store_metrics", 204), ("nothing", 404), ("legacy", 409)])
def test_an_empty_list_tells_whether_a_data_source_takes_observations(running, source, status):
    """204, 404 or 409: what ``archive_state`` asks over HTTP. A writer's lock does not hold it up."""
    by_hand = sqlite3.connect(running.store.url.removeprefix("sqlite:///"), isolation_level=None)
    by_hand.execute("BEGIN IMMEDIATE")
    assert post(running, ingest_of(source=source)).status_code == status
    by_hand.close()


def test_the_checks_come_in_the_documented_order(running):
    """401, then size, encoding, data source, archive, records: each only once all before it are corrected."""
    headers, seen = {"Content-Encoding": "gzip"}, []
    request = {"data_source": "nothing", "records": [{"timestamp": 0, "name": "a", "value": "x"}]}

    def answered(body: bytes) -> int:
        seen.append(httpx.post(running.endpoint, content=body, headers=headers))
        return seen[-1].status_code

    assert answered(b" " * LIMIT + json.dumps(request).encode()) == 401
    headers["Authorization"] = "Bearer ts_unknown"
    assert answered(b" " * LIMIT + json.dumps(request).encode()) == 401
    headers["Authorization"] = f"Bearer {running.token}"
    assert answered(b" " * LIMIT + json.dumps(request).encode()) == 413
    assert answered(json.dumps(request).encode()) == 415
    del headers["Content-Encoding"]
    assert answered(json.dumps(request).encode()) == 404
    request["data_source"] = "legacy"
    assert answered(json.dumps(request).encode()) == 409
    request["data_source"] = "store_metrics"
    assert answered(json.dumps(request).encode()) == 422
    request["records"][0]["value"] = 1
    assert answered(json.dumps(request).encode()) == 204
    assert [response.json()["detail"] for response in seen[:2]] == ["Missing access token.", "Invalid access token."]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", INGEST_PATH, 405), ("PUT", INGEST_PATH, 405), ("DELETE", INGEST_PATH, 405), ("OPTIONS", INGEST_PATH, 405),
    ("POST", INGEST_PATH + "/", 404), ("POST", "/", 404), ("GET", "/docs", 404), ("GET", "/v1/predict", 405),
    ("POST", "/health", 405),
])  # fmt: skip
def test_nothing_else_is_served(running, method, path, status):
    """Every path has one method, and nothing redirects."""
    response = httpx.request(method, running.url + path, headers=running.headers)
    assert response.status_code == status
    assert response.json() == {"detail": {404: "Not Found", 405: "Method Not Allowed"}[status]}


# Size


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("extra", "status"), [(0, 204), (1, 413)])
def test_the_limit_of_a_body_is_exact(running, chunked, extra, status):
    """The largest body is stored, one byte more is not, whether its length is declared or not."""
    body = json.dumps(ONE).encode().ljust(LIMIT + extra)
    parts = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    response = httpx.post(running.endpoint, content=parts if chunked else body, headers=running.headers)
    assert response.status_code == status
    if status == 413:
        assert str(LIMIT) in response.json()["detail"]


def test_a_declared_length_is_refused_before_the_body_is_sent(running):
    """The service does not wait for a single byte of a body that is too large."""
    assert raw(running, f"Content-Length: {LIMIT + 1}", token=running.token)[0] == 413
    assert raw(running, "Content-Length: " + 18 * "9", token=running.token)[0] == 413
    assert raw(running, f"Content-Length: {LIMIT + 1}")[0] == 401


def test_an_endless_chunked_body_is_refused_at_the_limit(running):
    """A body that never ends is answered once the limit is passed, with at most a buffer more taken."""
    lines = [f"POST {INGEST_PATH} HTTP/1.1", "Host: here", f"Authorization: Bearer {running.token}"]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""])
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE_S) as connection:
        connection.sendall(head.encode())
        for _ in range(LIMIT // 10_000 + 1):
            connection.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        assert answer_on(connection)[0] == 413


def test_a_body_that_ends_before_its_length_stores_nothing(service):
    """A cut connection leaves no trace: neither a record nor an error of the service."""
    body = json.dumps(ONE).encode()
    head = f"POST {INGEST_PATH} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {service.token}\r\n"
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as connection:
        connection.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1000):
            pass
    assert post(service, ingest_of()).status_code == 204
    assert content(service.store) == {}


def test_what_comes_after_a_body_is_not_part_of_it(service):
    """A length that is too small cuts the JSON: refused, by the HTTP server or as JSON, and nothing is stored."""
    body = json.dumps(ONE).encode()
    assert raw(service, f"Content-Length: {len(body) - 1}", body=body, token=service.token)[0] in (400, 422)
    assert content(service.store) == {}


def test_a_request_has_at_most_as_many_records_as_one_transaction(service):
    """50,000 are stored in one; 50,001 are refused before anything is looked up."""
    most = [(second, "a", 1) for second in range(records.MAX_RECORDS)]
    assert post(service, ingest_of(*most)).status_code == 204
    response = post(service, ingest_of(*most, (-1, "a", 1), source="nothing"))
    assert (response.status_code, response.json()["detail"]) == (
        413,
        "The request has more than 50000 records. Send fewer records per request.",
    )
    assert len(content(service.store)) == records.MAX_RECORDS


@pytest.mark.parametrize(("encoding", "status"), [
    ("gzip", 415), ("GZIP", 415), ("zstd", 415), ("identity, gzip", 415), ("nonsense", 415), ("Identity", 204),
    ("", 204),
])  # fmt: skip
def test_a_compressed_body_is_refused(running, encoding, status):
    """415, and never decompressed: a bomb stays packed."""
    body = json.dumps(ONE).encode()
    packed = body if status == 204 else gzip.compress(body)
    assert post(running, packed, **{"Content-Encoding": encoding}).status_code == status


# What a record may be


def one_bad(**changed: object) -> bytes:
    """Three records, the middle one changed; None leaves the field out, bytes are inserted verbatim."""
    good = {"timestamp": b"0", "name": b'"a"', "value": b"1"}
    bad = {field: value for field, value in {**good, **changed}.items() if value is not None}
    texts = [
        b"{%b}" % b",".join(b'"%b":%b' % (f.encode(), v) for f, v in record.items()) for record in (good, bad, good)
    ]
    return b'{"data_source":"store_metrics","records":[%b]}' % b",".join(texts)


BAD_FIELDS = {
    "timestamp": [b"1.0", b"1e3", b'"1"', b"null", b"true", b"1718870400000", b"100000000000", b"-62135596801",
                  b"9" * 30, b"9" * 5000, b"[]", b"{}"],
    "name": [b'""', b"1", b"null", b"true", b'"a\\u0000b"', b"[]", b'["a"]'],
    "value": [b'"1"', b"null", b"true", b"1e999", b"-1e999", b"9007199254740993", b"-9007199254740993", b"9" * 400,
              b"9" * 5000, b"[1]"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "text"),
    [(field, text) for field, texts in BAD_FIELDS.items() for text in texts],
    ids=lambda x: str(x)[:25],
)
def test_a_bad_record_is_named_and_nothing_is_stored(running, field, text):
    """422 has place and rule as a text and as FastAPI's list. The good records are not stored either."""
    before = content(running.store)
    response = post(running, one_bad(**{field: text}))
    [fault] = response.json()["errors"]
    assert (response.status_code, fault["loc"]) == (422, ["body", "records", 1, field])
    assert response.json()["detail"] == f"records[1].{field}: {fault['msg']}"
    assert fault["type"] == "value_error"
    assert fault["msg"].endswith(records.RULES[field])
    assert content(running.store) == before


@pytest.mark.parametrize("field", ["timestamp", "name", "value"])
def test_a_missing_field_is_named(running, field):
    """422 with FastAPI's own words."""
    response = post(running, one_bad(**{field: None}))
    assert response.json() == {
        "detail": f"records[1].{field}: Field required",
        "errors": [{"type": "missing", "loc": ["body", "records", 1, field], "msg": "Field required"}],
    }


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"0x1", b"'1'", b""])
def test_what_json_does_not_have_is_no_json(running, text):
    """422 names the byte: NaN and Infinity, which Python's json writes, are not numbers in JSON."""
    body = one_bad(value=text)
    [fault] = post(running, body).json()["errors"]
    assert fault["type"] == "json_invalid"
    assert fault["loc"][0] == "body"
    assert abs(fault["loc"][1] - body.index(b'"value":' + text + b"}", 60)) < 20


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"", ["body"]),
        (b"null", ["body"]),
        (b"[]", ["body"]),
        (b'"x"', ["body"]),
        (b"{}", ["body", "data_source"]),
        (b'{"data_source":"store_metrics"}', ["body", "records"]),
        (b'{"data_source":1,"records":[]}', ["body", "data_source"]),
        (b'{"data_source":"store_metrics","records":{}}', ["body", "records"]),
        (b'{"data_source":"store_metrics","records":[[]]}', ["body", "records", 0]),
        (b'{"data_source":"store_metrics","records":[]', ["body"]),
        (b'{"data_source":"store_metrics","records":[]}x', ["body", 45]),
        (b"\xef\xbb\xbf{}", ["body", 0]),
        (b'{"data_source":"store_metrics","records":[{"timestamp":0,"name":"\xff","value":1}]}', ["body"]),
        (b'{"data_source":"store_metrics","records":[{"timestamp":0,"name":"\\udc00","value":1}]}', ["body", 71]),
        (b'{"data_source":"store_metrics","records":[],"z":' + b"[" * 50_000 + b"]" * 50_000 + b"}", ["body"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_ingest_at_all_is_422(running, body, loc):
    """Never a 500: neither for a body that is not JSON nor for JSON of another shape, however deep."""
    response = post(running, body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == loc
    assert isinstance(response.json()["detail"], str)


def test_unknown_keys_are_ignored(service):
    """A choice, where the documentation is silent: what FastAPI does by default."""
    body = b'{"v":[{}],"data_source":"store_metrics","records":[{"x":null,"value":1.5,"name":"a","timestamp":0}]}'
    assert post(service, body).status_code == 204
    assert content(service.store) == {(0, "a"): 1.5}


@pytest.mark.parametrize(("kind", "status"), [
    ("", 204), ("application/json", 204), ("Application/JSON; charset=utf-8", 204), ("application/geo+json", 204),
    ("text/plain", 422), ("application/x-www-form-urlencoded", 422), ("text/json", 422), ("application/jsonl", 422),
])  # fmt: skip
def test_a_content_type_that_is_not_jsons_is_refused(running, kind, status):
    """A choice, as in FastAPI: 422 names the header; curl's -d alone sends that of a form."""
    response = post(running, ONE, **{"Content-Type": kind})
    assert response.status_code == status
    if status == 422:
        assert response.json()["detail"] == f"The Content-Type must be application/json, got {kind!r}."
        assert post(running, ingest_of(source="legacy"), **{"Content-Type": kind}).status_code == 409


def test_of_one_key_twice_in_a_request_the_last_counts(service):
    """A choice, where the documentation is silent: the order within a request is the order of writing."""
    request = ingest_of((0, "a", 1), (1, "a", 2), (0, "a", 3), (0, "b", 4), (0, "a", 5))
    assert post(service, request).status_code == 204
    assert content(service.store) == {(0, "a"): 5, (1, "a"): 2, (0, "b"): 4}


names = st.text(min_size=1, max_size=5).filter(lambda name: "\0" not in name and name.isprintable())
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.just(-0.0)
requests_of = st.lists(st.tuples(st.integers(-62_135_596_800, 10**11 - 1) | st.integers(-2, 2), names, numbers))


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('direct')}/temporis.db")
    token = store.tokens.create("test")
    with in_process(store) as post_directly:
        yield store, lambda body: post_directly(body, token)
    store.close()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(batches=st.lists(requests_of, max_size=3), number=st.integers(0, 10**12))
def test_what_was_answered_204_is_stored_bit_for_bit(direct, batches, number):
    """Any records the contract allows, in any order, repeated or not: the content is that of a dict."""
    store, post_directly = direct
    source, model = f"s{number}_{len(store.data_sources())}", {}
    store.create_data_source(source)
    for batch in batches:
        assert post_directly(ingest_of(*batch, source=source)).status_code == 204
        model.update({(timestamp, name): float(value) for timestamp, name, value in batch})
    found = content(store, source)
    assert {key: struct.pack("<d", value) for key, value in found.items()} == {
        key: struct.pack("<d", value) for key, value in model.items()
    }


# Accounts and tokens


def test_another_accounts_data_source_is_not_found(service):
    """The token decides the account; names may be equal, contents are separate."""
    other = service.store.of_account("other")
    token = other.tokens.create("test")
    other.create_data_source("secret_plans")
    assert post(service, ingest_of((0, "a", 1), source="secret_plans")).status_code == 404
    assert post(service, ingest_of((0, "a", 1)), Authorization=f"Bearer {token}").status_code == 404
    other.create_data_source("store_metrics")
    assert post(service, ingest_of((0, "a", 1)), Authorization=f"Bearer {token}").status_code == 204
    assert (content(service.store), content(other)) == ({}, {(0, "a"): 1})


def test_deleting_a_token_has_effect_at_the_next_request(service):
    """On the same connection, too: nothing of a request outlives it. The other token still works."""
    second = service.store.tokens.create("second")
    with httpx.Client(headers={"Authorization": f"Bearer {second}"}) as client:
        assert client.post(service.endpoint, json=ONE).status_code == 204
        service.store.tokens.delete("second")
        response = client.post(service.endpoint, json=ONE)
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid access token."})
    assert post(service, ONE).status_code == 204


def test_a_token_for_the_dashboard_is_no_token_of_the_api(service):
    """401, the documented answer to a token that the API does not know. The use of the right one is noted."""
    opens = service.store.tokens.create("browser", dashboard=True)
    response = post(service, ONE, Authorization=f"Bearer {opens}")
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid access token."})
    assert content(service.store) == {}
    assert post(service, ONE).status_code == 204
    assert {token.label: bool(token.last_used_at) for token in service.store.tokens.all()} == {
        "test": True,
        "browser": False,
    }


def test_archiving_has_effect_at_the_next_request(service):
    """409 between archive and unarchive; what was stored stays."""
    assert post(service, ONE).status_code == 204
    service.store.set_archived("store_metrics", archived=True)
    assert post(service, ingest_of((0, "b", 1))).status_code == 409
    service.store.set_archived("store_metrics", archived=False)
    assert post(service, ingest_of((0, "c", 1))).status_code == 204
    assert {name for _, name in content(service.store)} == {"orders", "c"}


# Many at once, and a store that fails


def test_writers_of_the_same_keys_are_all_answered_204(service):
    """Eight connections replace each other's values: each request is stored whole, so the last one of them stands."""

    def write(writer: int) -> set[int]:
        with httpx.Client(headers=service.headers, timeout=PATIENCE_S) as client:
            return {
                client.post(
                    service.endpoint, json=ingest_of(*((s, "shared", 100 * writer + turn) for s in range(200)))
                ).status_code
                for turn in range(20)
            }

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(8))) == [{204}] * 8
    found = content(service.store)
    assert len(found) == 200
    assert len(set(found.values())) == 1


def test_a_locked_store_is_busy(tmp_path, monkeypatch):
    """503 with Retry-After while another process holds the lock for too long; afterwards all is well."""
    monkeypatch.setattr(app, "LOCK_PATIENCE_S", 0.05)
    with started_service(tmp_path) as service:
        by_hand = sqlite3.connect(service.store.url.removeprefix("sqlite:///"), isolation_level=None)
        by_hand.execute("BEGIN IMMEDIATE")
        response = post(service, ONE)
        assert (response.status_code, response.json()) == (503, {"detail": "The store is busy. Try again later."})
        assert response.headers["Retry-After"] == "1"
        by_hand.execute("ROLLBACK")
        by_hand.close()
        assert post(service, ONE).status_code == 204


def test_who_waits_too_long_behind_others_is_told_so(tmp_path, monkeypatch):
    """503 also if the request would not get to the lock for a long time; the writers that wait for it are answered."""
    monkeypatch.setattr(app, "LOCK_PATIENCE_S", 60.0)
    monkeypatch.setattr(app, "QUEUE_PATIENCE_S", 60.0)
    monkeypatch.setattr(app, "TURN_PATIENCE_S", 0.05)
    with started_service(tmp_path) as service, ThreadPoolExecutor(app.WRITERS + 5) as pool:
        by_hand = sqlite3.connect(service.store.url.removeprefix("sqlite:///"), isolation_level=None)
        by_hand.execute("BEGIN IMMEDIATE")
        answers = as_completed([pool.submit(post, service, ONE) for _ in range(app.WRITERS + 5)], timeout=PATIENCE_S)
        assert [next(answers).result().status_code for _ in range(5)] == [503] * 5
        by_hand.execute("ROLLBACK")
        by_hand.close()
        assert {answer.result().status_code for answer in answers} == {204}


def test_requests_into_a_file_are_written_one_by_one_in_the_order_in_which_they_came(tmp_path, monkeypatch):
    """A file has one writer: left to its lock, some requests would wait many times as long as others."""
    read, written = queue.Queue[int](), list[int]()
    reading, upsert, go = app._read, SqlStore.upsert, threading.Event()

    def read_one(*args):
        ingest = reading(*args)
        read.put(int(ingest.observations.values[0]))
        return ingest

    def write_one(store, tally):
        assert go.wait(PATIENCE_S)
        written.append(int(tally.observations.values[0]))
        upsert(store, tally)

    monkeypatch.setattr(app, "QUEUE_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(app, "_read", read_one)
    monkeypatch.setattr(SqlStore, "upsert", write_one)
    numbers = list(range(app.WRITERS))
    with started_service(tmp_path) as service, ThreadPoolExecutor(app.WRITERS) as pool:
        answers = []
        for number in numbers:
            answers.append(pool.submit(post, service, ingest_of((0, "orders", number))))
            assert read.get(timeout=PATIENCE_S) == number
        go.set()
        assert {answer.result().status_code for answer in answers} == {204}
        assert written == numbers
        assert list(content(service.store).values()) == numbers[-1:]


def test_a_busy_service_says_so_while_its_clients_still_wait():
    """No outcome is left in doubt: its waits end well before the 5 s of the vendor's crawlers, and ours wait longer."""
    waits_s = body.ROOM_PATIENCE_S + app.TURN_PATIENCE_S + app.QUEUE_PATIENCE_S + app.LOCK_PATIENCE_S
    assert waits_s <= 5 - 1
    assert HttpOptions().timeout_s > waits_s
    assert HttpOptions().timeout_s < body.BODY_GRACE_S, "our client gives up a slow body first, and tries again"


def test_a_store_that_fails_is_500_and_only_the_log_says_why(service, caplog):
    """The answer names no file and no table; the log does."""
    by_hand = sqlite3.connect(service.store.url.removeprefix("sqlite:///"))
    by_hand.execute("ALTER TABLE temporis_observation RENAME TO elsewhere")
    by_hand.close()
    response = post(service, ONE)
    assert (response.status_code, response.json()) == (
        500,
        {"detail": "The store failed. The service's log has the reason."},
    )
    assert "no such table" in caplog.text


def test_a_deleted_store_knows_no_token(service, tmp_path):
    """401, and no file is created."""
    for path in tmp_path.iterdir():
        path.unlink()
    assert post(service, ONE).status_code == 401
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_a_line_per_request_and_no_secret(tmp_path, caplog):
    """Method, path, status and time; for an ingest account, data source and records; no header, query or token."""
    caplog.set_level(logging.DEBUG)
    secret = "ts_in_the_query_string"
    agent = {"User-Agent": f"temporis-dagster/1 dagster-run/4f2a {secret}"}
    with started_service(tmp_path) as service:
        httpx.post(f"{service.url}/elsewhere%0D%0A{secret}?token={secret}", json=ONE, headers=service.headers)
        assert post(service, ONE, **agent).status_code == 204
        assert post(service, ingest_of((0, "a", 1), (1, "a", 1), source="no\nthing"), **agent).status_code == 404
        assert post(service, one_bad(value=b"null"), **agent).status_code == 422
        assert post(service, ONE, Authorization="Bearer ts_nobody", **agent).status_code == 401
    ours = [record.getMessage() for record in caplog.records if record.name == "temporis_dagster.service"]
    told = "agent='temporis-dagster/1 dagster-run/4f2a <token>'"
    assert [re.sub(r" [0-9]+ ms", "", line) for line in ours[1:]] == [
        f"POST '{INGEST_PATH}' 204 account=default data_source='store_metrics' records=1 {told}",
        rf"POST '{INGEST_PATH}' 404 account=default data_source='no\nthing' records=2 {told}",
        f"POST '{INGEST_PATH}' 422 account=default data_source='store_metrics' {told}",
        f"POST '{INGEST_PATH}' 401 {told}",
    ]
    assert ours[0].startswith(r"POST '/elsewhere\r\n<token>' 404")
    served = " ".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert service.token not in caplog.text
    assert secret not in served


def test_health_is_asked_without_a_token(service):
    """200 while the store can be read, 503 when it cannot; and nothing about the store either way."""
    assert httpx.get(f"{service.url}/health").json() == {"status": "ok"}
    by_hand = sqlite3.connect(service.store.url.removeprefix("sqlite:///"))
    by_hand.execute("ALTER TABLE temporis_data_source RENAME TO elsewhere")
    by_hand.close()
    response = httpx.get(f"{service.url}/health")
    assert response.status_code == 503
    assert response.json() == {"detail": "The store cannot be read. The service's log has the reason."}


def test_predictions_are_said_not_to_be_there(running):
    """501, and not 404: the API has this endpoint, this service does not."""
    response = httpx.post(f"{running.url}/v1/predict", json={"data_profile": "hourly_orders"}, headers=running.headers)
    assert response.status_code == 501
    assert "For predictions, use the Temporis cloud." in response.json()["detail"]


# The calls that the documentation shows

SHOWN = [(1718870400, "orders", 42), (1718870400, "revenue", 1284.5)]
SHOWN_JSON = (
    '{"data_source": "store_metrics", "records": [{"timestamp": 1718870400, "name": "orders", "value": 42},'
    ' {"timestamp": 1718870400, "name": "revenue", "value": 1284.50}]}'
)
FETCH = """
fetch(process.env.URL, {
  method: "POST",
  headers: {"Authorization": `Bearer ${process.env.TEMPORIS_TOKEN}`, "Content-Type": "application/json"},
  body: JSON.stringify({data_source: "store_metrics", records: [
    {timestamp: 1718870400, name: "orders", value: 42}, {timestamp: 1718870400, name: "revenue", value: 1284.50}]}),
}).then((response) => console.log(response.status))
"""


def by_curl(service: Service) -> int:
    headers = ["-H", f"Authorization: Bearer {service.token}", "-H", "Content-Type: application/json"]
    show = ["-sS", "-o", "-", "-w", "%{http_code}"]
    done = subprocess.run(
        ["curl", *show, "-X", "POST", service.endpoint, *headers, "-d", SHOWN_JSON],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


def by_curl_that_offers_http2(service: Service) -> int:
    headers = ["-H", f"Authorization: Bearer {service.token}", "-H", "Content-Type: application/json"]
    show = ["-sS", "--http2", "-o", "-", "-w", "%{http_code}"]
    done = subprocess.run(
        ["curl", *show, service.endpoint, *headers, "-d", SHOWN_JSON], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


def by_requests(service: Service) -> int:
    bearer = {"Authorization": f"Bearer {service.token}"}
    return requests.post(service.endpoint, headers=bearer, json=ingest_of(*SHOWN), timeout=PATIENCE_S).status_code


def by_fetch(service: Service) -> int:
    environment = {"URL": service.endpoint, "TEMPORIS_TOKEN": service.token}
    done = subprocess.run(
        [shutil.which("node"), "-e", FETCH], env=environment, capture_output=True, check=True, text=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(("tool", "call"), [
    ("curl", by_curl), ("curl", by_curl_that_offers_http2), (None, by_requests), ("node", by_fetch),
])  # fmt: skip
def test_the_documented_calls_work(service, tool, call):
    """What the documentation shows works with the tool that it uses."""
    if tool and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed; its request is tried below, as it was captured")
    assert call(service) == 204
    assert content(service.store) == {(timestamp, name): value for timestamp, name, value in SHOWN}


CAPTURED = {
    "curl 7.88": (
        b"POST /v1/data_sources/ingest HTTP/1.1\r\nHost: 127.0.0.1:8008\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
        b"Authorization: Bearer ts_x\r\nContent-Type: application/json\r\nContent-Length: 167\r\n\r\n"
        + SHOWN_JSON.encode()
    ),
    "requests 2.34": (
        b"POST /v1/data_sources/ingest HTTP/1.1\r\nHost: 127.0.0.1:8008\r\nUser-Agent: python-requests/2.34.2\r\n"
        b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nAuthorization: Bearer ts_x\r\n"
        b"Content-Length: 166\r\nContent-Type: application/json\r\n\r\n" + json.dumps(ingest_of(*SHOWN)).encode()
    ),
    "fetch of node 20": (
        b"POST /v1/data_sources/ingest HTTP/1.1\r\nhost: 127.0.0.1:8008\r\nconnection: keep-alive\r\n"
        b"Authorization: Bearer ts_x\r\nContent-Type: application/json\r\naccept: */*\r\naccept-language: *\r\n"
        b"sec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: gzip, deflate\r\ncontent-length: 152\r\n\r\n"
        + json.dumps(ingest_of(*SHOWN), separators=(",", ":")).encode()
    ),
    "HttpClient of Java 17, which offers HTTP/2": (
        b"POST /v1/data_sources/ingest HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 167\r\n"
        b"Host: 127.0.0.1:8008\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
        b"User-Agent: Java-http-client/17.0.15\r\nAuthorization: Bearer ts_x\r\nContent-Type: application/json\r\n\r\n"
        + SHOWN_JSON.encode()
    ),
    "urllib of Python 3.11": (
        b"POST /v1/data_sources/ingest HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Length: 167\r\n"
        b"Host: 127.0.0.1:8008\r\nUser-Agent: Python-urllib/3.11\r\nAuthorization: Bearer ts_x\r\n"
        b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + SHOWN_JSON.encode()
    ),
}


@pytest.mark.parametrize("tool", CAPTURED)
def test_the_documented_calls_as_captured_work(service, tool):
    """The same calls, byte for byte as these tools sent them, on machines that lack the tools."""
    captured = CAPTURED[tool].replace(b"ts_x", service.token.encode())
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_S) as connection:
        connection.sendall(captured)
        assert answer_on(connection)[::2] == (204, b"")
    assert content(service.store) == {(timestamp, name): value for timestamp, name, value in SHOWN}
