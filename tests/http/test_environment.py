"""The client's environment: proxies, certificates, hosts that do not exist, forks, and secrets in tracebacks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporis_dagster import ArchiveState, ConfigurationError, DeliveryError, Temporis, UnavailableError, connect
from temporis_dagster.data_source.http.client import Client
from temporis_dagster.data_source.http.environment import BUNDLES, bypasses, proxy_for
from temporis_dagster.data_source.http.target import HttpTarget
from temporis_dagster.data_source.options import HttpAdvice, HttpOptions
from temporis_dagster.testing import FakeService, Fault, answer, held
from tests.support.delivery_tools import CANARY, DirectTransport, FakeClock, connected, fake_state, rows

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in (*PROXIES, *BUNDLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority():
    return pytest.importorskip("trustme").CA()


# NO_PROXY

HOSTS = [("::1", 8008), ("fd00::5", 443), ("10.1.2.3", 443), ("192.168.1.9", 80), ("api.temporis.co", 443)]
SIX, TEN, NAME = "fd00::5", "10.1.2.3", "api.temporis.co"


@pytest.mark.parametrize(
    ("entry", "about"),
    [
        ("*", [host for host, _ in HOSTS]),
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("[::1]:8008", ["::1"]),
        ("[::1]:9", []),
        ("::1%lo", ["::1"]),
        ("fd00::/8", [SIX]),
        ("[fd00::]/8", [SIX]),
        ("[fd00::/8]", [SIX]),
        ("::/0", ["::1", SIX]),
        ("10.0.0.0/8", [TEN]),
        ("10.0.0.0/8:443", [TEN]),
        ("10.0.0.0/255.0.0.0", [TEN]),
        ("0.0.0.0/0", [TEN, "192.168.1.9"]),
        ("10.1.2.3", [TEN]),
        ("10.1.2.3:443", [TEN]),
        ("10.1.2.3:80", []),
        ("temporis.co", [NAME]),
        (".temporis.co", [NAME]),
        ("*.temporis.co", [NAME]),
        ("API.Temporis.CO.", [NAME]),
        ("api.temporis.co:443", [NAME]),
        ("https://api.temporis.co:443/", [NAME]),
        ("mporis.co", []),
        ("temporis.co:80", []),
        ("[::1]:hunter2", []),
        ("10.0.0.0/99", []),
        ("[", []),
        ("]", []),
        ("[]", []),
        ("/", []),
        (".", []),
        ("*.", []),
        ("http://", []),
        ("x:" + "9" * 5000, []),
    ],
)
def test_no_proxy_takes_what_curl_and_requests_take(entry, about):
    """Names with subdomains, addresses and ranges of both families, ports; an unreadable entry covers no host."""
    assert [host for host, port in HOSTS if bypasses(entry, host, port)] == about


@given(st.text(max_size=40), st.sampled_from(HOSTS))
def test_no_entry_of_no_proxy_stops_anything(entry, host):
    """Whatever it contains."""
    assert bypasses(entry, *host) in (True, False)


@pytest.mark.parametrize(
    ("setting", "url", "proxy"),
    [
        ({}, "https://api.temporis.co", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.temporis.co", "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "https://api.temporis.co", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://api.temporis.co", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://api.temporis.co", "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://localhost:8443", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://127.0.0.1:8008", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://[::1]:8008", None),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "fd00::/8, 10.0.0.0/8"}, "https://10.1.1.1", None),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "fd00::/8 10.0.0.0/8"}, "https://[fd00::1]", None),
        ({"ALL_PROXY": "http://proxy:3128", "no_proxy": "temporis.co"}, "https://api.temporis.co", None),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8,::1"}, "https://[fd00::1]", "http://proxy:3128"),
    ],
    ids=str,
)
def test_the_proxy_is_the_environments(setting, url, proxy, monkeypatch):
    """And none for this machine, because it would receive the token."""
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    "no_proxy", ["::1", "[::1]", "fd00::/8", "10.0.0.0/8", "localhost,127.0.0.1,::1", "*", "[", "::1:"]
)
def test_no_proxy_stops_no_connection(no_proxy, monkeypatch):
    """An IPv6 address or a range used to stop every connection, also to loopback."""
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with FakeService(token=CANARY) as service, connect(service.url, CANARY) as temporis:
        assert temporis.data_source("store_metrics").upsert(rows(2)).stored == 2
    with connect("https://10.1.2.3", CANARY) as temporis:
        temporis._target.prepare()


# Certificates


@contextlib.contextmanager
def tls_service(authority) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "service.test").configure_cert(context)
    with FakeService(token=CANARY) as service:
        service._server.socket = context.wrap_socket(service._server.socket, server_side=True)
        yield service.url.replace("http:", "https:")


@pytest.mark.parametrize("name", [*BUNDLES, "SSL_CERT_DIR", "a directory"])
def test_the_environments_certificates_are_trusted(authority, name, tmp_path, monkeypatch):
    """Each of the variables that other clients read is used, unless verify= is given."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    if name in BUNDLES:
        monkeypatch.setenv(name, f"{bundle}\n")
    else:
        command = ["openssl", "x509", "-hash", "-noout", "-in", bundle]
        subject = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        (tmp_path / f"{subject}.0").symlink_to(bundle)
        monkeypatch.setenv("SSL_CERT_DIR" if name == "SSL_CERT_DIR" else "REQUESTS_CA_BUNDLE", str(tmp_path))
    with tls_service(authority) as url:
        with connect(url, CANARY) as temporis:
            assert temporis.data_source("store_metrics").upsert(rows(3)).stored == 3
        other = tmp_path / "other.pem"
        pytest.importorskip("trustme").CA().cert_pem.write_to_path(other)
        with connect(url, CANARY, verify=str(other)) as temporis, pytest.raises(DeliveryError, match="certificate"):
            temporis.data_source("store_metrics").upsert(rows(3))


class TunnelProxy:
    """An https proxy that tunnels whatever it is asked for to one address."""

    def __init__(self, authority, port: int) -> None:
        self._port, self.asked = port, []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            self.asked.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 200 Connection established\r\nSet-Cookie: a=1\r\n\r\n")
            with socket.create_connection(("127.0.0.1", self._port)) as upstream:
                back = threading.Thread(target=self._pump, args=[upstream, connection])
                back.start()
                self._pump(connection, upstream)
                back.join()

    @staticmethod
    def _pump(source, to) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65_536):
                to.sendall(part)
            to.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.mark.parametrize("how", [*BUNDLES, "SSL_CERT_DIR", "verify", None])
@pytest.mark.parametrize("scheme", ["http://", ""], ids=["http", "no scheme"])
def test_a_proxy_without_tls_is_asked_whatever_certificates_are_trusted(scheme, how, authority, tmp_path, monkeypatch):
    """As in an ordinary company: a plain-text proxy, and a private CA inside the tunnel."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in (*BUNDLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    if how in (*BUNDLES, "SSL_CERT_DIR"):
        monkeypatch.setenv(how, str(tmp_path if how == "SSL_CERT_DIR" else tmp_path / "ca.pem"))
    asked = []

    def serve(listener):
        with listener.accept()[0] as connection:
            asked.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        verify = str(tmp_path / "ca.pem") if how == "verify" else True
        client = Client("https://service.test", CANARY, timeout_s=30, max_in_flight=1, verify=verify, agent="test")
        answered = client.post(b"{}")
        thread.join(30)
        client.close()
    assert asked[0].startswith(b"CONNECT service.test:443")
    assert CANARY.encode() not in asked[0]
    assert (answered.status, answered.maybe_applied) == (None, False)
    assert "403" in answered.words


def test_tls_inside_tls_is_delivered(authority, tmp_path, monkeypatch):
    """Through an https proxy, where the deadline is checked for each TLS record, and which never sees the token."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with (
        tls_service(authority) as url,
        contextlib.closing(TunnelProxy(authority, int(url.rpartition(":")[2]))) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with connect("https://service.test", CANARY) as temporis:
            report = temporis.data_source("store_metrics").upsert(rows(2_000))
        assert (report.stored, report.requests) == (2_000, 1)
    assert proxy.asked[0].startswith(b"CONNECT service.test:443")
    assert CANARY.encode() not in proxy.asked[0]


def test_cookies_are_not_kept():
    """Otherwise all cookies of a proxy that sets new ones with each answer would be sent back with every request."""

    def script(request):
        return Fault(503, "", {"Set-Cookie": f"c{request.number}=1; Path=/"}) if request.number < 3 else None

    with FakeService(token=CANARY, script=script) as service, connected(service) as temporis:
        assert temporis.data_source("store_metrics").upsert(rows(2)).stored == 2
        assert not any("cookie" in map(str.lower, request.headers) for request in service.requests)


# A typing mistake


def test_an_https_url_needs_a_token(monkeypatch):
    """The API always requires one, so it is refused at once, not after minutes. A local service may not require one."""
    monkeypatch.delenv("TEMPORIS_TOKEN", raising=False)
    for url in ("https://api.temporis.co", "HTTPS://api.temporis.co", "https://localhost:8443", "https://[::1]"):
        with pytest.raises(ConfigurationError, match="pass token=, or set TEMPORIS_TOKEN"):
            connect(url)
    connect("http://127.0.0.1:8008").close()
    monkeypatch.setenv("TEMPORIS_TOKEN", CANARY)
    connect("https://api.temporis.co").close()


@pytest.mark.parametrize(("code", "few"), [("EAI_NONAME", True), ("EAI_NODATA", True), ("EAI_AGAIN", False)])
@pytest.mark.parametrize("batches", [1, 100])
def test_a_host_that_does_not_exist_is_found_out_soon(code, few, batches, monkeypatch):
    """After three attempts within two seconds; a resolver that is down is an outage, and retried like one."""

    def unknown(*_arguments, **_options):
        raise socket.gaierror(getattr(socket, code), code)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    clock = FakeClock()
    target = HttpTarget("https://api.temporris.co", CANARY, HttpOptions(batch_rows=2, max_in_flight=1), clock=clock)
    with Temporis(target) as temporis, pytest.raises(UnavailableError) as caught:
        temporis.data_source("store_metrics").upsert(rows(2 * batches))
    report = caught.value.report
    assert (report.unsent, report.unknown) == (2 * batches, 0)
    assert (report.requests == 3, clock.now() - 1000 < 2) == (few, few)
    assert ("The host name cannot be resolved: check the URL" in str(caught.value)) == few


@pytest.mark.parametrize("code", ["EAI_NONAME", "EAI_AGAIN"])
def test_a_mirror_keeps_rows_for_a_host_that_does_not_exist(code, monkeypatch, tmp_path):
    """on_unavailable="queue" keeps them, because the resolver may be wrong."""

    def unknown(*_arguments, **_options):
        raise socket.gaierror(getattr(socket, code), code)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    options = {"mirror": f"sqlite:///{tmp_path}/mirror.db", "on_unavailable": "queue", "give_up_after_s": 0.2}
    with connect("https://api.temporris.co", CANARY, **options) as temporis:
        assert temporis.data_source("store_metrics").upsert(rows(3)).pending == 3


def test_one_attempt_is_one_attempt():
    """In the text as well."""
    to = connected(DirectTransport(fake_state(lambda _request: answer(503, retry_after=4_000))))
    with to as temporis, pytest.raises(UnavailableError, match="after 1 attempt because"):
        temporis.data_source("store_metrics").upsert(rows(2))


# Advice


def test_advice_is_in_the_words_of_the_surface():
    """A surface without the option names what it has instead."""

    class Options(HttpOptions):
        ADVICE = HttpAdvice("use --token", "set SSL_CERT_FILE to it", "use another machine", "wait")

    for url, token, words in (
        ("https://api.temporis.co", None, "use --token"),
        ("http://api.temporis.co", CANARY, "use another machine"),
        ("https://api.temporis.co?x=1", CANARY, "use --token"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            HttpTarget(url, token, Options())


# Secrets

WRONG = {
    "a blank in it": ("https://api.temporis.co", f"{CANARY} x", {}),
    "bytes": ("https://api.temporis.co", CANARY.encode(), {}),
    "no prefix": ("https://api.temporis.co", CANARY.removeprefix("ts_"), {}),
    "another URL": ("https://", CANARY, {}),
    "plain http": ("http://api.temporis.co", CANARY, {}),
    "an unknown scheme": ("ftp://api.temporis.co", CANARY, {}),
    "as a database's password": (f"mysql://user:{CANARY}@db/metrics", "ts_x", {}),
    "as a database's option": (f"oracle://db/metrics?password={CANARY}", "ts_x", {}),
    "a wrong option": ("https://api.temporis.co", CANARY, {"batch_rows": 0}),
    "no mirror": ("https://api.temporis.co", CANARY, {"skip_unchanged": True}),
    "an account": ("https://api.temporis.co", CANARY, {"account": "other"}),
    "in the URL": (f"https://user:{CANARY}@api.temporis.co", "ts_x", {}),
    "in the query": (f"https://api.temporis.co?token={CANARY}", "ts_x", {}),
    "in a URL that cannot be read": (f"https://user:/{CANARY}@api.temporis.co:x", "ts_x", {}),
}


@pytest.mark.parametrize("where", ["argument", "environment"])
@pytest.mark.parametrize(("url", "token", "options"), WRONG.values(), ids=WRONG)
def test_no_traceback_of_connect_shows_a_token(url, token, options, where, monkeypatch):
    """Even with the local variables of each of our frames, as error reporters print them."""
    if where == "environment" and isinstance(token, str):
        monkeypatch.setenv("TEMPORIS_TOKEN", token)
        monkeypatch.setenv("TEMPORIS_URL", url)
        url = token = None
    arguments = [url, token]
    with pytest.raises(ConfigurationError) as caught:
        connect(*arguments, **options)
    ours = caught.value.__traceback__.tb_next
    trace = traceback.TracebackException(type(caught.value), caught.value, ours, capture_locals=True)
    shown = "".join(trace.format())
    assert "connection.py" in shown
    assert CANARY.removeprefix("ts_") not in shown


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        (f"https://user:{CANARY}@[::1", ""),
        (f"https://a b:{CANARY}", ""),
        ("https://api.invalid", f"ftp://user:{CANARY}@proxy"),
        ("https://api.invalid", f"http://user:x/{CANARY}@proxy"),
        ("https://api.invalid", f"socks5://user:{CANARY}@proxy"),
    ],
)
def test_no_error_carries_a_foreign_one_with_a_password(url, proxy, monkeypatch):
    """httpx's own error has frames whose local variables hold the URL, even if the error is not shown."""
    if proxy:
        monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError) as caught, connect(url, "ts_x") as temporis:
        temporis._target.prepare()
    error = caught.value
    trace = traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True)
    assert CANARY not in "".join(trace.format())
    assert (error.__cause__, error.__context__) == (None, None)


# Interrupted and forked


def test_an_interrupted_archive_state_leaves_no_turn_behind():
    """After Ctrl-C during the question, the next one is answered."""
    go_on = threading.Event()

    def script(request):
        if request.number == 0:
            os.kill(os.getpid(), signal.SIGINT)
            return held(go_on)
        return None

    with FakeService(token=CANARY, script=script) as service, connected(service, max_in_flight=1) as temporis:
        source = temporis.data_source("store_metrics")
        with pytest.raises(KeyboardInterrupt):
            source.archive_state()
        go_on.set()
        assert source.archive_state() is ArchiveState.ACTIVE
        assert temporis._target._throttle._under_way == {}


FORKS = """
import os, signal, sys, threading
import pandas as pd
from temporis_dagster import connect
temporis = connect(sys.argv[1], sys.argv[2], max_in_flight=2)
frame = pd.DataFrame({"timestamp": range(4), "name": "a", "value": 1.0})
kind = sys.argv[3]
def wait_for(requests):  # the service writes a byte for each request of the parent
    for _ in range(requests):
        os.read(0, 1)
if kind == "interrupted":
    threading.Thread(target=lambda: (wait_for(1), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
    try:
        temporis.data_source("held").upsert(frame)
    except KeyboardInterrupt:
        pass
else:
    names = ["held", "held"] if kind == "same" else ["held", "other"]
    for name in names:
        threading.Thread(target=temporis.data_source(name).upsert, args=[frame], daemon=True).start()
    wait_for(1 if kind == "same" else 2)
if kind == "opening":
    temporis._target._client._lock.acquire()
child = os.fork()
if child == 0:
    signal.alarm(20)
    report = temporis.data_source("held" if kind in ("same", "interrupted") else "free").upsert(frame)
    os._exit(0 if report.stored == 4 else 1)
_, status = os.waitpid(child, 0)
os._exit(0 if status == 0 else 3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("kind", ["others", "same", "interrupted", "opening"])
def test_a_forked_child_does_not_wait_for_its_parents_requests(kind):
    """Neither for turns or requests under way, nor for a lock that another thread held."""
    go_on, of_the_parent = threading.Event(), 1 if kind in ("same", "interrupted") else 2
    arrivals, arrived = os.pipe()

    def script(request):
        if request.number >= of_the_parent:
            return None
        os.write(arrived, b".")
        return held(go_on)

    with FakeService(("held", "other", "free"), token=CANARY, script=script) as service:
        try:
            command = [sys.executable, "-c", FORKS, service.url, CANARY, kind]
            done = subprocess.run(command, stdin=arrivals, check=False, timeout=60)
        finally:
            go_on.set()
            os.close(arrivals)
            os.close(arrived)
        assert done.returncode == 0


def test_a_client_is_prepared_without_connecting(monkeypatch):
    """A mistake in the environment is found before anything is written."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy")
    with (
        contextlib.closing(
            Client("https://api.temporis.co", CANARY, timeout_s=1, max_in_flight=1, verify=True, agent="test")
        ) as client,
        pytest.raises(ConfigurationError),
    ):
        client.prepare()


def test_every_surface_names_what_it_has(monkeypatch):
    """The command line has options and variables, a resource has fields; neither error advises to pass an argument."""
    from click.testing import CliRunner

    from temporis_dagster import TemporisResource
    from temporis_dagster.cli import main

    monkeypatch.delenv("TEMPORIS_TOKEN", raising=False)
    monkeypatch.delenv("TEMPORIS_URL", raising=False)
    printed = CliRunner().invoke(main, ["read", "--data-source", "store_metrics", "--url", "https://api.temporis.co"])
    assert printed.exit_code == 2
    assert "pass --token, or set TEMPORIS_TOKEN" in printed.output
    assert "token=" not in printed.output
    with pytest.raises(ConfigurationError, match=r"set token of the TemporisResource with dg\.EnvVar"):
        TemporisResource(url="https://api.temporis.co").data_source("store_metrics")
    with FakeService(token=CANARY) as service:
        url = service.url.replace("http:", "https:")
        with TemporisResource(url=url, token=CANARY).connection as temporis, pytest.raises(DeliveryError) as caught:
            temporis.data_source("store_metrics").upsert(rows(2))
    assert "set verify of the TemporisResource to the file of its CA bundle" in str(caught.value)


@pytest.mark.parametrize(("scheme", "reads"), [("http", 0), ("https", 1)])
def test_certificates_are_read_where_there_is_tls(monkeypatch, scheme, reads):
    """A local service needs none, and a client for plain http trusts none."""
    read, plain = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda *of, **what: read.append(what) or plain(*of, **what))
    client = Client(f"{scheme}://127.0.0.1:1", CANARY, timeout_s=1, max_in_flight=1, verify=True, agent="test")
    client.prepare()
    client.close()
    assert len(read) == reads
