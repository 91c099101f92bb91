"""The dashboard over real HTTP on loopback: who gets in, what is refused, and that a page and its JSON twin agree."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import logging
import re
import signal
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import h11
import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from temporis_dagster import connect
from temporis_dagster.cli import main
from temporis_dagster.contract import CLOUD_URL, INGEST_PATH
from temporis_dagster.dashboard import Dashboard, LoginOptions, forms, login, routes, source_page, turns
from temporis_dagster.dashboard.activity import MOST_KEPT
from temporis_dagster.dashboard.attempts import ADDRESS_WINDOW_S, ALL_WINDOW_S, OF_ALL, OF_ONE_ADDRESS
from temporis_dagster.dashboard.csv_rows import PIECE_BYTES, csv_of
from temporis_dagster.dashboard.forms import MOST_BYTES
from temporis_dagster.dashboard.login import Login
from temporis_dagster.dashboard.pending import MirrorPending
from temporis_dagster.dashboard.sessions import SESSION_S, Visitor, cookie_of, session_of
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.mirror import Mirror
from temporis_dagster.data_source.options import HttpOptions
from temporis_dagster.data_source.reading import Rows
from temporis_dagster.data_source.store import SqlStore
from temporis_dagster.data_source.target import ArchiveState
from temporis_dagster.service.answers import Refusal
from tests.conftest import CANARY
from tests.support.dashboard_tools import START, read, started_dashboard, text_of
from tests.support.dashboard_tools import Visitor as Person
from tests.support.service_fixture import PATIENCE_S, ServiceProcess, served, started_service

PAGES = ("/", "/sources/store_metrics", "/sources/store_metrics/archive", "/tokens", "/activity")
HOUR = 3_600
T0 = 1_718_841_600
HOSTILE = [
    'a "quoted" name',
    "it's & <b>bold</b>",
    "<script>alert(1)</script>",
    "wärme 🔥 & 雪",
    "a/b?c=d#e%20f",
    " blank ",
    "two\nlines",
    "javascript:alert(1)",
]


def twin(path: str) -> str:
    return "/index.json" if path == "/" else f"{path}.json"


# Who gets in


@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_every_page_leads_to_it_and_every_twin_is_refused(shared, path):
    """303 to the login, which leads back afterwards; 401 for programs. Neither shows anything of the page."""
    answer = httpx.get(shared.url + path)
    assert answer.status_code == 303
    assert answer.headers["location"] == ("/login" if path == "/" else f"/login?next={path}")
    refused = httpx.get(shared.url + twin(path))
    assert (refused.status_code, list(refused.json())) == (401, ["detail"])
    person = Person(shared.url)
    page = read(person.get(answer.headers["location"]))
    back = dict(page.attributes).get("value") if path == "/" else path
    assert person.log_in(shared.token, next=path).headers["location"] == (back or "/")


def test_the_login_says_how_to_get_a_token(shared):
    """A person who has none finds the command on the page, without an account being named."""
    words = text_of(Person(shared.url).get("/login"))
    assert "temporis tokens create NAME --dashboard" in words
    assert "TEMPORIS_DASHBOARD_PASSWORD" in words
    assert "default" not in words


def test_a_token_is_either_for_the_dashboard_or_for_ingests(running):
    """A token for ingests never logs in, and one for the dashboard never ingests."""
    refused = Person(running.url).log_in(running.service.token)
    assert refused.status_code == 401
    assert "This token is for ingests." in text_of(refused.text)
    assert "set-cookie" not in refused.headers
    assert running.ingest((T0, "orders", 1.0), token=running.token) == 401
    assert running.ingest((T0, "orders", 1.0)) == 204


@pytest.mark.parametrize("secret", ["", "ts_unknown", CANARY, "wrong", "ts_" + "x" * 600, "\0", "ü" * 2_000])
def test_what_is_no_secret_lets_nobody_in(shared, secret):
    """401 and the same page again, which does not repeat what was typed."""
    refused = Person(shared.url).log_in(secret)
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    assert "is not valid." in text_of(refused.text)
    assert not secret.strip("\0") or f'"{secret}"' not in refused.text


def test_a_password_opens_the_account_that_the_service_was_started_for(tmp_path):
    """And no other password does; the page then asks for a token or a password."""
    options = LoginOptions("analysts", "correct horse battery staple")
    with started_dashboard(tmp_path, options, account="analysts") as running:
        stranger = Person(running.url)
        assert "Dashboard token or password" in stranger.get("/login")
        assert stranger.log_in("correct horse battery stapl").status_code == 401
        person = running.visitor("correct horse battery staple")
        assert [source["name"] for source in person.json("/index.json")["data_sources"]] == ["store_metrics"]


def test_a_session_ends_with_its_token_and_with_the_time(running):
    """Deleting the token ends it at the next request; otherwise it lasts for twelve hours."""
    first, second = running.visitor(), running.visitor(running.service.store.tokens.create("other", dashboard=True))
    running.service.store.tokens.delete("other")
    assert second.client.get("/").status_code == 303
    running.clock.move(SESSION_S - 1)
    assert first.client.get("/").status_code == 200
    running.clock.move(1)
    assert first.client.get("/").status_code == 303


def test_a_session_of_a_token_holds_in_every_service_over_the_store_and_that_of_a_password_in_its_own(tmp_path):
    """Several processes behind a load balancer need no memory in common for tokens."""
    with (
        started_dashboard(tmp_path, LoginOptions(password="one")) as running,
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        cookies = [dict(running.visitor(secret).client.cookies) for secret in (running.token, "one")]
        for listener, password, statuses in ((one, "one", [200, 303]), (other, "another", [200, 303])):
            options = LoginOptions(password=password)
            with served(
                SqlStore(running.service.store.url),
                listener,
                pages=lambda store, options=options: Dashboard(store, options, clock=running.clock),
            ) as url:
                assert [httpx.get(url, cookies=cookie).status_code for cookie in cookies] == statuses


def test_a_password_cannot_be_guessed_with_cookies(tmp_path):
    """Whoever could sign a cookie for each guess would try passwords past every limit."""
    with started_dashboard(tmp_path, LoginOptions(password="hunter2")) as running:
        key = login._key_of_password("hunter2", "default")
        cookie = cookie_of(Visitor("default", None), key, running.clock())
        assert httpx.get(running.url + "/index.json", cookies={"temporis_dashboard": cookie}).status_code == 401


def test_a_session_does_not_last_longer_than_a_login():
    """Whatever a cookie says: a key that has leaked is not a way in forever."""
    visitor, key = Visitor("default", "test"), bytes(32)
    late = cookie_of(visitor, key, 1.0)
    assert session_of(late, lambda _: key, 0.0) is None
    assert session_of(late, lambda _: key, 1.0) is not None


def test_a_cookie_that_we_did_not_sign_is_none(shared):
    """Neither garbage, nor the content of another visitor with a signature that is valid for this one."""
    cookie = shared.visitor().client.cookies["temporis_dashboard"]
    content, mac = cookie.split(".")
    said = json.loads(base64.urlsafe_b64decode(content))
    labels = ("test", None, "\0", "\ud800", "x" * 3_000)
    others = [*(["default", label, *said[2:]] for label in labels), ["other", *said[1:]]]
    others += [[*said[:2], said[2] + 1, said[3]], said[:3], {}, "x"]
    forged = [base64.urlsafe_b64encode(json.dumps(other).encode()).decode() + "." + mac for other in others]
    foreign = cookie_of(Visitor("default", "person"), b"another key", START)
    for wrong in ["", ".", "x.y", "é", content, f"{content}.", f".{mac}", "[" * 5_000, *forged, foreign]:
        answer = httpx.get(shared.url, headers={"Cookie": f"temporis_dashboard={wrong}".encode()})
        assert answer.status_code == 303, wrong
    assert httpx.get(shared.url, headers={"Cookie": f"temporis_dashboard={cookie}"}).status_code == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_websites(shared, scheme):
    """And behind a proxy that states https, it travels over https only, and no other host can set it."""
    visitor = Person(shared.url, **{"X-Forwarded-Proto": scheme})
    (name, *_), *flags = [part.split("=") for part in visitor.log_in(shared.token).headers["set-cookie"].split("; ")]
    assert name == ("__Host-temporis_dashboard" if scheme == "https" else "temporis_dashboard")
    kept = {flag[0].lower(): flag[1:] for flag in flags}
    assert kept["samesite"] == ["lax"]
    assert kept["path"] == ["/"]
    assert kept["max-age"] == [str(SESSION_S)]
    assert set(kept) - {"samesite", "path", "max-age", "expires"} == (
        {"httponly", "secure"} if scheme == "https" else {"httponly"}
    )


def test_a_person_who_logs_out_is_out(visitor):
    """The cookie is deleted, and the next page is the login."""
    answer = visitor.send("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?notice=logged-out")
    assert "You are logged out." in visitor.get(answer.headers["location"])
    assert visitor.client.get("/").status_code == 303


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_a_login_leads_to_pages_of_the_dashboard_only(shared, where):
    """A link to the login cannot send a person elsewhere."""
    assert Person(shared.url).log_in(shared.token, next=where).headers["location"] == "/"
    assert "evil" not in Person(shared.url).client.get("/login", params={"next": where}).text


def test_too_many_attempts_of_one_address_have_to_wait(running):
    """429 with Retry-After. Nobody can lock out the owner of a token, which cannot be guessed; time clears it."""
    person = Person(running.url)
    for _ in range(OF_ONE_ADDRESS):
        assert person.log_in("wrong").status_code == 401
        assert person.log_in(running.token).status_code == 303
    late = person.log_in("wrong")
    assert (late.status_code, late.headers["retry-after"]) == (429, str(ADDRESS_WINDOW_S))
    assert person.log_in(running.token).status_code == 303
    assert Person(running.url, **{"X-Forwarded-For": "192.0.2.1"}).log_in("wrong").status_code == 401
    assert Person(running.url, **{"X-Forwarded-For": "::ffff:192.0.2.2"}).log_in("wrong").status_code == 401
    running.clock.move(ADDRESS_WINDOW_S)
    assert person.log_in("wrong").status_code == 401


def test_a_token_does_not_clear_the_attempts_at_a_password_but_the_password_does(tmp_path):
    """Otherwise the owner of any token could go on guessing."""
    with started_dashboard(tmp_path, LoginOptions(password="right")) as running:
        person = Person(running.url)
        for _ in range(OF_ONE_ADDRESS - 1):
            assert person.log_in("wrong").status_code == 401
        assert person.log_in("right").status_code == 303
        for _ in range(OF_ONE_ADDRESS):
            assert person.log_in("wrong").status_code == 401
        assert person.log_in(running.token).status_code == 303
        assert person.log_in("right").status_code == 429


def test_too_many_attempts_in_all_have_to_wait(store, url):
    """However many addresses they come from; those of one IPv6 network count as one address."""
    now = [0.0]
    login = Login(store, LoginOptions(), lambda: now[0])

    def status(address: str) -> int:
        with pytest.raises(Refusal) as refused:
            login.enter("wrong", address)
        return refused.value.status

    assert [status(f"10.0.0.{number}") for number in range(OF_ALL + 1)] == [401] * OF_ALL + [429]
    now[0] = ALL_WINDOW_S
    assert [status(f"2001:db8::{number}") for number in range(OF_ONE_ADDRESS + 1)] == [401] * OF_ONE_ADDRESS + [429]


def test_an_open_dashboard_is_for_this_machine_alone(tmp_path):
    """No login; but no website whose name leads here gets in, no visitor of a proxy, and no other website's form."""
    with started_dashboard(tmp_path, LoginOptions(is_open=True)) as running:
        person = Person(running.url)
        assert "store_metrics" in person.get("/")
        assert "Log out" not in person.get("/")
        assert person.client.get("/login").headers["location"] == "/"
        assert httpx.get(running.url, headers={"Host": "evil.example"}).status_code == 403
        assert httpx.get(running.url, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 403
        assert person.client.post("/", data={"name": "forged"}).status_code == 403
        person.followed("/", name="mine")
        assert running.service.store.data_sources() == ["mine", "store_metrics"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_a_dashboard_cannot_be_open_to_other_machines(tmp_path, host):
    """``--open`` with another address than that of this machine is refused before anything is served."""
    options = ["--store", f"sqlite:///{tmp_path}/x.db", "--open", "--host", host]
    done = CliRunner().invoke(main, ["serve", *options])
    assert done.exit_code == 2
    assert "--open would let everyone" in done.stderr


@pytest.mark.parametrize("option", [["--open"], ["--mirror", "sqlite:///mirror.db"]])
def test_an_option_of_the_dashboard_is_not_ignored_without_it(option):
    """A person who asks for both has made a mistake, and learns of it."""
    done = CliRunner().invoke(main, ["serve", "--store", "sqlite:///x.db", "--no-dashboard", *option])
    assert (done.exit_code, "which --no-dashboard leaves out" in done.stderr) == (2, True)


def test_the_command_serves_the_dashboard_with_a_password(url, store, monkeypatch):
    """From the environment and for the account that is named; neither the log nor the command line has it."""
    store.of_account("analysts").create_data_source("theirs")
    monkeypatch.setenv("TEMPORIS_DASHBOARD_PASSWORD", f" {CANARY}\n")
    service = ServiceProcess(url, 0, "--account", "analysts")
    try:
        person = Person(service.url)
        assert person.log_in("wrong").status_code == 401
        assert person.log_in(CANARY).status_code == 303
        assert [source["name"] for source in person.json("/index.json")["data_sources"]] == ["theirs"]
        service.hear("GET '/index.json' 200")
    finally:
        assert service.stop() == -signal.SIGTERM
    assert CANARY not in "".join(service.complaints)


def test_a_password_that_is_longer_than_what_is_looked_at_is_refused_at_the_start(url, monkeypatch):
    """Nobody could log in with it."""
    monkeypatch.setenv("TEMPORIS_DASHBOARD_PASSWORD", "x" * 1_025)
    done = CliRunner().invoke(main, ["serve", "--store", url, "--port", "0"])
    assert done.exit_code == 2
    assert "must have at most 1,024 characters, got 1,025" in done.stderr


def test_a_service_may_be_started_without_the_dashboard(tmp_path):
    """Then its paths are as unknown as any other."""
    with started_service(tmp_path) as service:
        answers = [httpx.get(service.url + path) for path in ("/", "/login", "/tokens", "/static/dashboard.css")]
    assert [answer.status_code for answer in answers] == [404] * 4


# What is refused


FORMS = (
    ("/", {"name": "forged"}),
    ("/sources/store_metrics/archive", {}),
    ("/tokens", {"label": "forged", "kind": "ingest"}),
    ("/tokens/delete", {"label": "test"}),
    ("/logout", {}),
)


@pytest.mark.parametrize(("path", "fields"), FORMS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_form_of_another_website_or_session_changes_nothing(running, visitor, path, fields):
    """403 without the field, with that of another session, and with any if the browser names another website."""
    store, own, other = running.service.store, visitor.csrf(), running.visitor().csrf()
    assert own != other
    attempts = [
        ({"other": own}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": other}, {}),
        ({"csrf": own}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": own}, {"Sec-Fetch-Site": "same-site"}),
        ({"csrf": own}, {"Origin": "https://evil.example"}),
        ({"csrf": own}, {"Origin": "null"}),
    ]
    for csrf, headers in attempts:
        answer = visitor.client.post(path, data={**fields, **csrf}, headers=headers)
        assert answer.status_code == 403, (csrf, headers)
        assert "Nothing was changed." in text_of(answer.text)
    assert store.data_sources() == ["store_metrics"]
    assert store.archive_state("store_metrics") is ArchiveState.ACTIVE
    assert {token.label for token in store.tokens.all()} == {"test", "person"}
    assert visitor.client.get("/").status_code == 200
    headers = {"Origin": running.url, "Sec-Fetch-Site": "same-origin"}
    assert visitor.client.post(path, data={**fields, "csrf": own}, headers=headers).status_code in (200, 303)


@pytest.mark.parametrize(("path", "fields"), FORMS[:4], ids=lambda value: value if isinstance(value, str) else "")
def test_a_form_without_a_login_changes_nothing(shared, path, fields):
    """401, also with a field that looks right."""
    answer = httpx.post(shared.url + path, data={**fields, "csrf": shared.visitor().csrf()})
    assert answer.status_code == 401
    assert shared.service.store.data_sources() == ["store_metrics"]


def test_a_login_from_another_website_is_refused(shared):
    """A person cannot be logged in as somebody else without noticing it."""
    person = Person(shared.url, Origin="https://evil.example")
    assert person.log_in(shared.token).status_code == 403


def test_malformed_headers_are_refused_and_no_bug(shared):
    """Anybody can send them; they are no reason for a traceback in the log."""
    answer = httpx.post(shared.url + "/login", data={"secret": "x"}, headers={"Origin": "http://["})
    assert answer.status_code == 403


def test_what_strangers_send_does_not_hide_the_refusals_of_an_account(running):
    """Anybody can be refused for want of a token; what the account's own programs learned stays on its page."""
    endpoint, token = running.url + INGEST_PATH, running.service.headers["Authorization"]
    mixed_up = {"data_source": running.token, "records": []}
    assert httpx.post(endpoint, json=mixed_up, headers={"Authorization": token}).status_code == 404
    with httpx.Client() as stranger:
        assert {stranger.post(endpoint, json={}).status_code for _ in range(MOST_KEPT)} == {401}
    shown = running.visitor().client.get("/activity.json")
    assert "404" in shown.text
    assert running.token not in shown.text, "not even where a program mixes up its settings"


def test_what_is_no_form_of_ours_is_refused(shared):
    """413, 415 or 422, and never more read than a form has."""
    client = shared.visitor().client
    assert client.post("/", json={"name": "x"}).status_code == 415
    assert client.post("/", files={"name": b"x"}).status_code == 415
    assert client.post("/", data={"name": "x" * MOST_BYTES}).status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/", content="name=ü".encode(), headers=form).status_code == 422
    assert client.post("/", content="&".join(["a=b"] * 100), headers=form).status_code == 422


@pytest.mark.parametrize(
    "path", [*PAGES, "/login", "/sources/unknown", "/sources/store_metrics/series.csv", "/static/dashboard.js"]
)
def test_browsers_are_told_what_they_may_do(shared, path):
    """Nothing from elsewhere, no inline script or style, no frames, no guessing of types; pages are not kept."""
    answer = shared.visitor().client.get(path)
    headers = answer.headers
    assert "default-src 'self';" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert (
        not re.search(
            r"""\sstyle=|\son\w+=|<style|<script(?! src| type="application/json")|https?://""",
            answer.text.replace("http://www.w3.org/2000/svg", ""),
        )
        or "static" in path
    )


@pytest.mark.parametrize(("path", "status"), [
    ("/sources/unknown", 404), ("/sources/No-Name", 404), ("/sources/%00", 404), ("/sources/unknown/archive", 404),
    ("/tokens/delete?label=unknown", 404), ("/sources/store_metrics?start=yesterday", 422),
    ("/sources/store_metrics?end=99999999999999", 422), ("/sources/store_metrics?offset=-1", 422),
])  # fmt: skip
def test_what_there_is_not_is_said_on_a_page(shared, path, status):
    """In HTML for people and in JSON for programs, with the same words."""
    page, _, query = path.partition("?")
    detail = shared.visitor().client.get(f"{page}.json?{query}")
    assert detail.status_code == status
    assert detail.json()["detail"] in text_of(shared.visitor().get(path, status))


@pytest.mark.parametrize("trouble", ["damaged", "locked"])
def test_a_store_that_fails_is_an_answer_without_its_reason(running, visitor, trouble, caplog):
    """500 or 503 on a page, with the reason in the log and neither a path nor a traceback for the browser."""
    csrf = visitor.csrf()
    path = running.service.store.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as by_hand:
        if trouble == "damaged":
            by_hand.execute("ALTER TABLE temporis_data_source RENAME TO moved")
        else:
            by_hand.execute("BEGIN IMMEDIATE")
        answer = visitor.client.post("/", data={"name": "grid_load", "csrf": csrf})
    assert answer.status_code == (500 if trouble == "damaged" else 503)
    words = text_of(answer.text)
    assert "The store" in words
    assert path not in words
    assert "Traceback" not in words


# What the pages do


def test_a_data_source_is_created_archived_and_unarchived(running, visitor):
    """Its ingests are refused in between, and the activity has them with their reason."""
    store = running.service.store
    assert "The data source was created." in visitor.followed("/", name="grid_load")
    assert running.ingest((T0, "orders", 1.0), source="grid_load") == 204
    assert "Archive grid_load?" in text_of(visitor.get("/sources/grid_load/archive"))
    assert store.archive_state("grid_load") is ArchiveState.ACTIVE
    assert "Ingests are refused from now on." in visitor.followed("/sources/grid_load/archive")
    assert running.ingest((T0, "orders", 2.0), source="grid_load") == 409
    assert "takes observations again" in visitor.followed("/sources/grid_load/unarchive")
    assert running.ingest((T0, "orders", 3.0), source="grid_load") == 204
    assert running.ingest((T0, "orders", 4.0), source="nothing") == 404
    activity = visitor.json("/activity.json")
    assert [(one["data_source"], one["status"], one["reason"]) for one in activity["refused"]] == [
        ("nothing", 404, "Data source not found."),
        ("grid_load", 409, "Data source is archived."),
    ]
    assert [(one["data_source"], one["records"]) for one in activity["stored"]] == [("grid_load", 1)] * 2


@pytest.mark.parametrize(("name", "status", "words"), [
    ("", 422, "The name is empty."), ("Grid", 422, "'Grid' cannot name a data source. Use a lowercase letter"),
    ("x" * 49, 422, "cannot name"), ("<script>", 422, "'<script>' cannot name"),
    ("store_metrics", 409, "There is already a data source 'store_metrics'."),
])  # fmt: skip
def test_a_name_that_cannot_be_used_is_explained(running, visitor, name, status, words):
    """With the rule, on the same page, with what was typed still in the field."""
    answer = visitor.send("/", name=name)
    assert answer.status_code == status
    assert words in text_of(answer.text)
    assert ("value", name) in read(answer.text).attributes
    assert running.service.store.data_sources() == ["store_metrics"]


@pytest.mark.parametrize("around", ["{}", "my {}"])
@pytest.mark.parametrize(("path", "field"), [("/", "name"), ("/tokens", "label")])
def test_a_token_in_the_wrong_field_is_not_shown_again(running, visitor, path, field, around):
    """Neither on the page nor in the store: what was typed is not what was meant."""
    token = "ts_" + "a1" * 20
    answer = visitor.send(path, **{field: around.format(token)})
    assert answer.status_code in (200, 422)
    assert token not in answer.text
    assert token not in visitor.get("/") + visitor.get("/tokens")
    assert running.service.store.data_sources() == ["store_metrics"]


def test_a_token_is_shown_once(running, visitor, debug_log, caplog):
    """On the page that answers its creation; on no other page, in no twin, in no log line and in no URL."""
    caplog.set_level(logging.DEBUG)
    answer = visitor.send("/tokens", label="loader", kind="ingest")
    (token,) = re.findall(r"ts_[\w-]{43}", answer.text)
    assert running.ingest((T0, "orders", 1.0), token=token) == 204
    elsewhere = [visitor.get(path) for path in PAGES] + [visitor.client.get(twin(path)).text for path in PAGES]
    assert not any(token in page for page in elsewhere)
    assert token not in caplog.text
    (loader,) = [token for token in visitor.json("/tokens.json")["tokens"] if token["label"] == "loader"]
    assert (loader["kind"], loader["last_used_at"] is None) == ("ingest", False)
    assert visitor.send("/tokens", label="loader", kind="ingest").status_code == 422
    assert "The token was deleted." in visitor.followed("/tokens/delete", label="loader")
    assert running.ingest((T0, "orders", 1.0), token=token) == 401


def test_a_token_for_the_dashboard_can_be_made_there(running, visitor):
    """It logs in; and a token that is pasted as a label is not shown again."""
    (token,) = re.findall(r"ts_[\w-]{43}", visitor.send("/tokens", label="colleague", kind="dashboard").text)
    assert "colleague" in running.visitor(token).get("/")
    pasted = visitor.send("/tokens", label=token, kind="ingest")
    assert pasted.status_code == 422
    assert token not in pasted.text
    assert visitor.send("/tokens", label="x", kind="other").status_code == 422


def test_who_deletes_their_own_token_is_warned_and_then_logged_out(visitor):
    """The page before says that it ends the login."""
    assert "Deleting it ends your login." in visitor.get("/tokens/delete?label=person")
    assert visitor.send("/tokens/delete", label="person").status_code == 303
    assert visitor.client.get("/tokens").status_code == 303


def test_two_accounts_see_and_change_only_their_own(running, tmp_path):
    """Data sources, tokens, activity and the file of another account do not exist."""
    theirs = running.service.store.of_account("others")
    theirs.create_data_source("secret_plans")
    other = running.visitor(theirs.tokens.create("rival", dashboard=True))
    mine = running.visitor()
    running.ingest((T0, "orders", 1.0))
    running.ingest((T0, "orders", 1.0), source="nowhere")
    assert [source["name"] for source in other.json("/index.json")["data_sources"]] == ["secret_plans"]
    assert [source["name"] for source in mine.json("/index.json")["data_sources"]] == ["store_metrics"]
    assert [token["label"] for token in other.json("/tokens.json")["tokens"]] == ["rival"]
    activity = other.json("/activity.json")
    assert (activity["stored"], activity["refused"]) == ([], [])
    for path in ("/sources/store_metrics", "/sources/store_metrics/series.csv", "/sources/store_metrics/archive"):
        assert other.client.get(path).status_code == 404
    assert other.send("/sources/store_metrics/archive").status_code == 404
    assert other.send("/tokens/delete", label="test").status_code == 404
    assert other.send("/", name="store_metrics").status_code == 303
    assert other.json("/sources/store_metrics.json")["series_total"] == 0
    assert running.service.store.archive_state("store_metrics") is ArchiveState.ACTIVE


def test_an_ingest_of_nobody_is_listed_with_its_reason_alone(running, visitor):
    """Everyone can see that a program sends a wrong token, and nothing about that program."""
    assert running.ingest((T0, "orders", 1.0), token="ts_wrong") == 401
    (refused,) = visitor.json("/activity.json")["refused"]
    assert refused == {
        "at": "2024-06-20T08:00:00Z",
        "data_source": None,
        "records": None,
        "status": 401,
        "reason": "Invalid access token.",
    }


def test_the_activity_of_this_process_is_bounded(running, visitor):
    """The newest hundred of each kind; a busy program does not displace the refusals."""
    assert running.ingest((T0, "orders", 1.0), source="nothing") == 404
    for number in range(105):
        assert running.ingest((T0 + number, "orders", 1.0)) == 204
    activity = visitor.json("/activity.json")
    assert (len(activity["stored"]), len(activity["refused"])) == (100, 1)


def test_names_of_series_may_be_any_text(running, visitor):
    """Quotes, markup, emoji and characters of URLs are shown and linked unchanged, and never become markup."""
    assert running.ingest(*[(T0, name, 1.0) for name in HOSTILE]) == 204
    page = visitor.get("/sources/store_metrics")
    found = read(page)
    assert found.tags.count("script") == 3  # ours, uPlot's, and the content of the plot
    for name in HOSTILE:
        there = visitor.client.get(found.links[name.strip()] + "&offset=0")
        assert there.status_code == 200, name
        own = visitor.json("/sources/store_metrics.json?" + found.links[name.strip()].split("?")[1])
        assert [line["series"] for line in own["plot"]["lines"]] == [name]
        assert [row["series"] for row in own["rows"]] == [name]
        (data,) = re.findall(r"data-plot-content>(.*?)</script>", there.text, re.DOTALL)
        assert [line["series"] for line in json.loads(data)["lines"]] == [name]


def test_a_page_shows_what_its_twin_has(running, visitor):
    """Every name, number and time of the JSON is on the page, and every range and selection is in its URL."""
    running.ingest(
        *[(T0 + hour * HOUR, name, value + hour) for hour in range(48) for name, value in (("a", 10.5), ("b", -1e9))]
    )
    query = "?series=a&series=b&start=2024-06-20T12:00Z&end=2024-06-20T14:00Z"
    content, words = (
        visitor.json(f"/sources/store_metrics.json{query}"),
        text_of(visitor.get(f"/sources/store_metrics{query}")),
    )
    assert [line["series"] for line in content["plot"]["lines"]] == ["a", "b"]
    assert content["plot"]["lines"][0]["timestamps"] == [T0 + 12 * HOUR, T0 + 13 * HOUR]
    assert [(row["timestamp"], row["series"], row["value"]) for row in content["rows"]] == [
        ("2024-06-20T13:00:00Z", "a", 23.5), ("2024-06-20T13:00:00Z", "b", -999999987.0),
        ("2024-06-20T12:00:00Z", "a", 22.5), ("2024-06-20T12:00:00Z", "b", -999999988.0),
    ]  # fmt: skip
    assert "2024-06-20 13:00 a 23.5 2024-06-20 13:00 b -999999987.0".replace(".0", "") in words
    assert content["last"] == "2024-06-21T23:00:00Z"
    assert "2024-06-21 23:00" in words
    page = read(visitor.get(f"/sources/store_metrics{query}"))
    (drawn,) = [label for key, label in page.attributes if key == "aria-label" and label.startswith("Plot of")]
    assert "from 2024-06-20T12:00:00Z to 2024-06-20T14:00:00Z" in drawn
    assert f"/sources/store_metrics.json{query}" in page.links.values()


def test_a_long_list_of_series_is_searched_and_paged(running, visitor):
    """A thousand series: 25 per page, found by a part of their name, with what is selected kept."""
    running.ingest(*[(T0 + hour, f"Series_{number:04}", float(number)) for number in range(1_000) for hour in range(3)])
    first = visitor.json("/sources/store_metrics.json")
    assert (first["matching"], len(first["series"])) == (1_000, 25)
    found = visitor.json("/sources/store_metrics.json?search=series_099&offset=5&series=Series_0001")
    assert [one["name"] for one in found["series"]] == [f"Series_{number:04}" for number in range(995, 1_000)]
    assert [line["series"] for line in found["plot"]["lines"]] == ["Series_0001"]
    page = visitor.get("/sources/store_metrics?search=series_099&offset=5&series=Series_0001")
    assert "6 to 10 of 10" in text_of(page)
    assert '<input type="hidden" name="series" value="Series_0001">' in page
    assert "No series has" in text_of(visitor.get("/sources/store_metrics?search=%25"))
    assert "not as long as this" in text_of(visitor.get("/sources/store_metrics?offset=5000"))
    many = "&".join(f"series=Series_{number:04}" for number in range(10))
    assert "Only the first 8 of the selected series" in text_of(visitor.get(f"/sources/store_metrics?{many}"))


def test_the_file_has_every_observation_of_the_selection(running, visitor):
    """As CSV that is read back exactly, whatever the names."""
    rows = [
        (T0 + hour * HOUR, name, hour + 0.1) for hour in range(30) for name in [*HOSTILE, 'comma, "quote"', "line\rend"]
    ]
    assert running.ingest(*rows) == 204
    answer = visitor.client.get("/sources/store_metrics/series.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="store_metrics.csv"'
    head, *lines = csv.reader(answer.content.decode().split("\r\n")[:-1])
    assert head == ["timestamp", "name", "value"]
    assert sorted((name, float(value)) for _, name, value in lines) == sorted((name, value) for _, name, value in rows)
    some = visitor.client.get("/sources/store_metrics/series.csv", params={"series": HOSTILE[0], "end": T0 + HOUR})
    assert some.content == b'timestamp,name,value\r\n2024-06-20T00:00:00Z,"a ""quoted"" name",0.1\r\n'


def test_the_headers_of_the_file_come_without_the_file(running, visitor):
    """A program that only asks whether it is there does not have all observations read."""
    answer = visitor.client.request("HEAD", "/sources/store_metrics/series.csv")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


def test_a_slow_client_is_sent_small_pieces(running, visitor, monkeypatch):
    """Whatever a page or a file holds, no piece of it is so large that reading it in time needs a fast line."""
    sizes = []
    send = h11.Connection.send

    def measured(connection, event):
        if isinstance(event, h11.Data) and connection.our_role is h11.SERVER:
            sizes.append(len(event.data))
        return send(connection, event)

    monkeypatch.setattr(h11.Connection, "send", measured)
    names = [f"{'x' * 40}{number}" for number in range(8)]
    for hour in range(0, 640, 80):
        running.ingest(*[(T0 + (hour + more) * HOUR, name, 1 / (more + 3)) for more in range(80) for name in names])
    query = "&".join(f"series={name}" for name in names)
    page = visitor.client.get(f"/sources/store_metrics?{query}")
    file = visitor.client.get("/sources/store_metrics/series.csv")
    assert min(len(page.content), len(file.content)) > 250_000
    assert max(sizes) <= 64_000


def test_the_pages_are_the_same_over_postgresql(postgres_url):
    """Everything that a person does, over a store on a server."""
    with started_dashboard(store_url=postgres_url) as running:
        visitor = running.visitor()
        visitor.followed("/", name="grid_load")
        rows = [(T0 + hour * HOUR, name, hour + 0.5) for hour in range(48) for name in HOSTILE]
        assert running.ingest(*rows, source="grid_load") == 204
        visitor.followed("/sources/grid_load/archive")
        assert running.ingest(*rows, source="grid_load") == 409
        visitor.followed("/sources/grid_load/unarchive")
        content = visitor.json("/sources/grid_load.json?search=%3Cscript")
        assert (content["series_total"], content["matching"], content["archived"]) == (len(HOSTILE), 1, False)
        (line,) = content["plot"]["lines"]
        assert (line["series"], line["timestamps"][0], line["last"][-1]) == ("<script>alert(1)</script>", T0, 47.5)
        assert visitor.client.get("/sources/grid_load/series.csv").text.count("\r\n") == 1 + len(rows)
        (token,) = re.findall(r"ts_[\w-]{43}", visitor.send("/tokens", label="loader", kind="ingest").text)
        assert running.ingest(*rows, source="grid_load", token=token) == 204
        visitor.followed("/tokens/delete", label="loader")
        assert running.ingest(*rows, source="grid_load", token=token) == 401
        visitor.followed("/tokens/delete", label="test")
        assert visitor.send("/tokens/delete", label="person").status_code == 303
        assert visitor.client.get("/").status_code == 303


def test_extremes_of_the_contract_are_drawn(running, visitor):
    """The first and the last second, the largest numbers, one value only: there is a page for each."""
    edges = [(-62_135_596_800, "edges", -1.7e308), (99_999_999_999, "edges", 1.7e308), (T0, "single", 5e-324)]
    assert running.ingest(*edges) == 204
    words = text_of(visitor.get("/sources/store_metrics?series=edges"))
    assert "0001-01-01 00:00" in words
    assert "5138-11-16 09:46:39" in words
    assert "nan" not in visitor.get("/sources/store_metrics?series=single").lower().split("points=")[1][:60]


def test_what_a_mirror_has_pending_is_shown_to_the_account_of_the_service(tmp_path):
    """Rows that wait in a mirror, with the reason; to nobody else."""
    url = f"sqlite:///{tmp_path}/mirror.db"
    with socket.create_server(("127.0.0.1", 0)) as unused:
        away = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with connect(away, "ts_mirrored", mirror=url, on_unavailable="queue", give_up_after_s=0.1) as temporis:
        import pandas as pd

        index = pd.DatetimeIndex(["2024-06-20"], tz="UTC")
        temporis.data_source("grid_load").upsert(pd.DataFrame({"load": [1.0]}, index=index))
    mirror = Mirror(url, HttpTarget(away, "ts_mirrored", HttpOptions()), "ts_mirrored")
    with started_dashboard(tmp_path, pending=MirrorPending(mirror)) as running:
        shown = running.visitor().json("/activity.json")["mirror"]
        assert shown["url"] == url
        assert [(source["data_source"], source["pending"]) for source in shown["data_sources"]] == [("grid_load", 1)]
        assert "grid_load" in text_of(running.visitor().get("/activity"))
        rival = running.service.store.of_account("others").tokens.create("rival", dashboard=True)
        assert running.visitor(rival).json("/activity.json")["mirror"] is None
    mirror.close()
    other = MirrorPending(Mirror(url, HttpTarget(CLOUD_URL, "ts_other", HttpOptions()), "ts_other"))
    assert "cannot be used here" in str(other().fault)


# What one client cannot do to the others


def begun_form(url: str, path: str, cookie: str = "") -> socket.socket:
    """A form whose first byte was sent, and no more."""
    address = httpx.URL(url)
    client = socket.create_connection((address.host, address.port), timeout=PATIENCE_S)
    client.sendall(
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc.decode()}\r\nContent-Length: 100\r\n"
        f"Cookie: temporis_dashboard={cookie}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nx".encode()
    )
    return client


def status_of(client: socket.socket) -> int:
    with client, client.makefile("rb") as answer:
        return int(answer.readline().split()[1])


@pytest.mark.parametrize(("path", "status"), [*((path, 401) for path, _ in FORMS[:4]), ("/logout", 303)])
def test_nobody_waits_for_the_form_of_one_who_is_not_logged_in(shared, path, status):
    """The answer comes before the body, so a connection cannot be held with it."""
    assert status_of(begun_form(shared.url, path)) == status


def hold_watched_forms(monkeypatch) -> threading.Semaphore:
    """Return what is released each time the service begins to read a form."""
    entered, read_fields = threading.Semaphore(0), routes.fields_of

    async def watched(request):
        entered.release()
        return await read_fields(request)

    monkeypatch.setattr(routes, "fields_of", watched)
    return entered


def test_logins_that_do_not_end_keep_nobody_out_and_do_not_last(tmp_path, monkeypatch):
    """While as many as may are read, a further one takes the place of the first; each is given up in the end."""
    entered = hold_watched_forms(monkeypatch)
    monkeypatch.setattr(routes, "ANONYMOUS_FORMS", 2)
    monkeypatch.setattr(forms, "GRACE_S", PATIENCE_S)
    with started_dashboard(tmp_path) as running:
        slow = []
        for _ in range(2):
            slow.append(begun_form(running.url, "/login"))
            assert entered.acquire(timeout=PATIENCE_S)
        assert Person(running.url).log_in(running.token).status_code == 303
        assert status_of(slow[0]) == 503
        slow[1].sendall(b"x" * 99)
        assert status_of(slow[1]) == 401, "there was room for this one"
        monkeypatch.setattr(forms, "GRACE_S", 0.01)
        assert status_of(begun_form(running.url, "/login")) == 408


def test_forms_of_one_account_that_do_not_end_hold_few_connections(tmp_path, monkeypatch):
    """Otherwise one person who is logged in could take all connections of the service, also those of ingests."""
    monkeypatch.setattr(routes, "FORMS_OF_ACCOUNT", 2)
    monkeypatch.setattr(forms, "GRACE_S", PATIENCE_S)
    entered = hold_watched_forms(monkeypatch)
    with started_dashboard(tmp_path) as running:
        visitor = running.visitor()
        assert entered.acquire(timeout=PATIENCE_S)
        rival = running.visitor(running.service.store.of_account("others").tokens.create("rival", dashboard=True))
        assert entered.acquire(timeout=PATIENCE_S)
        slow = []
        for path in ("/tokens", "/logout", "/"):
            slow.append(begun_form(running.url, path, visitor.client.cookies["temporis_dashboard"]))
            assert entered.acquire(timeout=PATIENCE_S)
        assert rival.send("/", name="theirs").status_code == 303, "another account has places of its own"
        assert visitor.send("/", name="mine").status_code == 303
        assert [status_of(client) for client in slow[:2]] == [503, 503]
        slow[2].sendall(b"x" * 99)
        assert status_of(slow[2]) == 403


def test_only_the_own_cookie_is_read(shared, monkeypatch):
    """Before 3.11.10 and 3.12.6, Python takes seconds for some others (CVE-2024-7592), and answers nobody meanwhile.

    A proxy may send each cookie in a header of its own.
    """

    def decoded(_: str) -> dict[str, str]:
        raise AssertionError("a cookie of another website was decoded")

    mine = f"temporis_dashboard={shared.visitor().client.cookies['temporis_dashboard']}"
    monkeypatch.setattr("starlette.requests.cookie_parser", decoded)
    other = 'a="' + "\\" * 60_000 + '"; b=;c;=d'
    assert httpx.get(f"{shared.url}/login", headers={"Cookie": other}, timeout=PATIENCE_S).status_code == 200
    for headers in ([("Cookie", f"{other}; {mine}")], [("Cookie", other), ("Cookie", mine)]):
        assert httpx.get(shared.url, headers=headers, timeout=PATIENCE_S).status_code == 200


def test_slow_pages_of_one_account_keep_nobody_else_waiting(running, visitor, monkeypatch):
    """It gets some of the threads, and 503 for more; others still log in and see their pages."""
    entered, go_on, overview = threading.Semaphore(0), threading.Event(), SqlStore.overview

    def slow(store):
        entered.release()
        assert go_on.wait(PATIENCE_S)
        return overview(store)

    other = running.visitor(running.service.store.of_account("others").tokens.create("rival", dashboard=True))
    monkeypatch.setattr(SqlStore, "overview", slow)
    monkeypatch.setattr(turns, "PATIENCE_S", 0)
    cookies = dict(visitor.client.cookies)
    with ThreadPoolExecutor(routes.PAGES_AT_ONCE) as pool:
        try:
            asked = [
                pool.submit(httpx.get, running.url, cookies=cookies, timeout=PATIENCE_S)
                for _ in range(routes.PAGES_AT_ONCE)
            ]
            for _ in range(routes.PAGES_OF_ACCOUNT):
                assert entered.acquire(timeout=PATIENCE_S)
            refused = httpx.get(f"{running.url}/tokens.json", cookies=cookies)
            assert (refused.status_code, refused.headers["retry-after"], list(refused.json())) == (503, "1", ["detail"])
            assert httpx.get(f"{running.url}/login").status_code == 200
            assert other.client.get("/tokens").status_code == 200
            assert Person(running.url).log_in(running.token).status_code == 303
        finally:
            go_on.set()
        statuses = sorted(answer.result().status_code for answer in asked)
    assert statuses == [200] * routes.PAGES_OF_ACCOUNT + [503] * (routes.PAGES_AT_ONCE - routes.PAGES_OF_ACCOUNT)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_website_cannot_load_pages_of_an_open_dashboard(tmp_path, site):
    """Not as an image or a script, which would cost as much as a page; but a link to a page can be followed."""
    with started_dashboard(tmp_path, LoginOptions(is_open=True)) as running:
        for path in ("/", "/index.json", "/sources/store_metrics/series.csv"):
            statuses = [
                httpx.get(running.url + path, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}).status_code
                for mode in ("no-cors", "cors", "navigate")
            ]
            assert statuses == [403, 403, 200]
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
        assert httpx.get(running.url, headers=own).status_code == 200


def test_pages_are_rendered_in_threads(running, visitor, monkeypatch):
    """Ingests are served by the event loop meanwhile, whatever a page holds."""
    rendered = []

    def watched(render):
        def rendering(*arguments):
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            rendered.append(render)
            return render(*arguments)

        return rendering

    monkeypatch.setattr(routes, "as_html", watched(routes.as_html))
    monkeypatch.setattr(routes, "as_json", watched(routes.as_json))
    for path in PAGES:
        visitor.get(path)
        visitor.json(twin(path))
    assert visitor.send("/tokens", label="loader", kind="ingest").status_code == 200
    Person(running.url).get("/login")
    assert len(rendered) == 2 * len(PAGES) + 3  # with the page that has the field for the form


def test_few_files_are_sent_at_once(running, visitor, monkeypatch):
    """Two for one account; a further one is answered 503 and can be had after one of them is complete."""
    go_on, csv_of = threading.Event(), source_page.csv_of

    def slow(batches):
        yield b"begun\r\n"
        assert go_on.wait(PATIENCE_S)
        yield from csv_of(batches)

    monkeypatch.setattr(source_page, "csv_of", slow)
    theirs = running.service.store.of_account("others")
    theirs.create_data_source("store_metrics")
    other = running.visitor(theirs.tokens.create("rival", dashboard=True))
    url = f"{running.url}/sources/store_metrics/series.csv"

    def asked(stack, person):
        cookies = dict(person.client.cookies)
        return stack.enter_context(httpx.stream("GET", url, cookies=cookies, timeout=PATIENCE_S))

    with ExitStack() as stack:
        stack.callback(go_on.set)
        begun = [asked(stack, visitor) for _ in range(routes.DOWNLOADS_OF_ACCOUNT)]
        assert [answer.status_code for answer in begun] == [200] * routes.DOWNLOADS_OF_ACCOUNT
        further = visitor.client.get("/sources/store_metrics/series.csv")
        assert (further.status_code, further.headers["retry-after"]) == (503, "1")
        assert "Try again in a moment." in text_of(further.text)
        assert visitor.client.get("/sources/store_metrics").status_code == 200
        begun.append(asked(stack, other))
        assert begun[-1].status_code == 200
        go_on.set()
        for answer in begun:
            assert answer.read() == b"begun\r\ntimestamp,name,value\r\n"
    assert visitor.client.get("/sources/store_metrics/series.csv").status_code == 200


def test_no_piece_of_a_file_is_large():
    """However long the names of the series are; and the file is the same."""
    names = ["short", 'q"' * 50_000, "ü" * 100_000]
    count = 1_500
    codes = np.where(np.arange(count) % 300 < 3, np.arange(count) % 3, 0).astype(np.int32)
    rows = Rows(np.arange(count) + T0, codes, names, np.arange(count) / 3)
    pieces = list(csv_of([rows]))
    assert max(map(len, pieces)) <= PIECE_BYTES
    read_back = list(csv.reader(b"".join(pieces).decode().split("\r\n")[1:-1]))
    assert [(name, float(value)) for _, name, value in read_back] == [
        (names[code], value) for code, value in zip(codes, rows.values, strict=True)
    ]


def test_a_long_name_does_not_make_a_page_large(running, visitor):
    """It is shown shortened and linked in full; one that is too long even for that is shown without a link."""
    long, huge = "l" * 1_500, "h" * 20_000
    for name in (long, huge):
        assert running.ingest(*[(T0 + hour * HOUR, name, 1.0) for hour in range(250)]) == 204
    for path in ("/sources/store_metrics", f"/sources/store_metrics?series={long}"):
        page, content = visitor.get(path), visitor.client.get(path.replace("metrics", "metrics.json"))
        words = text_of(page)
        assert len(page) < 200_000
        assert len(content.content) < 600_000
        assert "h" * 200 + "… This name is too long for a link." in words
        assert "h" * 201 not in page
        assert "l" * 201 not in words
        assert read(page).links["l" * 200 + "…"] == f"/sources/store_metrics?series={long}"
        assert ("value", long) in read(page).attributes
        (checked,) = re.findall(r"<input type=\"checkbox\"[^>]*>", page)
        assert ("checked" in checked) == ("?" in path)
    (line,) = visitor.json("/sources/store_metrics.json")["plot"]["lines"]
    assert line["series"] == "h" * 2_000 + "…"
