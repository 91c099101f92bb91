"""The public helpers for users' own tests: the scripted fake, its faults, the fixture and the sample frame."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import requests

from temporis_dagster import ConfigurationError, DeliveryError, UnavailableError, connect, testing
from temporis_dagster.testing import (
    FakeService,
    answer,
    at_random,
    cut,
    fake_temporis,  # noqa: F401  # a fixture: this is how users get it
    html_page,
    in_sequence,
    sample_frame,
    silence,
)

INGEST = "/v1/data_sources/ingest"


def post(service, content, **headers):
    headers = {"Authorization": f"Bearer {service.token}"} | headers
    return requests.post(service.url + INGEST, json=content, headers=headers, timeout=10)


def records(*numbers):
    return {"data_source": "store_metrics", "records": [{"timestamp": i, "name": "a", "value": i} for i in numbers]}


def test_the_fixture_is_a_running_service(fake_temporis):  # noqa: F811  # the fixture, not the name above
    """A test that asks for it upserts a frame and looks at what arrived."""
    with connect(fake_temporis.url, fake_temporis.token) as temporis:
        report = temporis.data_source("store_metrics").upsert(sample_frame(hours=3))
    assert report.stored == len(fake_temporis.content) == len(fake_temporis.writes) == 6
    assert fake_temporis.complaints == []
    (request,) = fake_temporis.requests
    assert (request.number, request.data_source, request.status, len(request.keys)) == (0, "store_metrics", 204, 6)
    assert "authorization" not in request.headers
    assert fake_temporis.token not in repr(request)


@pytest.mark.parametrize(
    ("fake_temporis", "names"),
    [(("shop", "plant"), ["plant", "shop"]), ("shop", ["shop"]), ({"shop": True, "plant": False}, ["plant"])],
    indirect=["fake_temporis"],
)
def test_the_fixture_takes_data_source_names(fake_temporis, names):  # noqa: F811
    """A tuple, one name, or a mapping from names to whether they are archived; a test can create more later."""
    fake_temporis.create_data_source("later")
    with connect(fake_temporis.url, fake_temporis.token) as temporis:
        for name in [*names, "later"]:
            assert temporis.data_source(name).upsert(sample_frame(hours=1)).stored == 2
    assert sorted({source for source, _, _ in fake_temporis.content}) == sorted([*names, "later"])


def test_a_name_that_the_real_service_refuses_is_refused():
    """A test that passes against the fake does not fail in production because of the name."""
    with pytest.raises(ConfigurationError, match="'Store-Metrics' cannot name a data source"):
        FakeService(("Store-Metrics",))
    with FakeService() as service, pytest.raises(ConfigurationError, match="'' cannot name a data source"):
        service.create_data_source("")


def test_an_invalid_request_is_told_as_a_text_and_as_a_list():
    """The answer has the vendor's form and FastAPI's, as that of the local service."""
    with FakeService(fault_of=lambda record: "too much" if record["value"] > 1 else None) as service:
        response = post(service, records(1, 2))
    assert response.status_code == 422
    assert response.json() == {
        "detail": "too much",
        "errors": [{"loc": ["body", "records", 1], "msg": "too much"}],
    }


def test_importing_the_helpers_does_not_need_pytest():
    """Only touching the fixture does."""
    code = "import sys, temporis_dagster.testing as t; t.FakeService; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert all(getattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError):
        testing.no_such_name  # noqa: B018


def test_a_service_runs_inside_its_block_only():
    """Its URL is known only while it runs, and afterwards nothing listens there."""
    service = FakeService()
    with pytest.raises(RuntimeError):
        service.url  # noqa: B018
    with service:
        url = service.url
    with pytest.raises(requests.ConnectionError):
        requests.post(url + INGEST, json={}, timeout=1)


def test_the_answers_are_those_of_the_api():
    """401, 413, 404, 409, 422, in that order, and an empty list of records is 204 or 409."""
    with FakeService({"store_metrics": False, "legacy": True}, max_records=3) as service:
        unknown, legacy = records(1) | {"data_source": "nope"}, records(1) | {"data_source": "legacy"}
        assert requests.post(service.url + INGEST, json={}, timeout=5).json() == {"detail": "Missing access token."}
        assert post(service, {}, Authorization="Bearer ts_x").json() == {"detail": "Invalid access token."}
        assert post(service, unknown | {"records": records(*range(9))["records"]}).status_code == 413
        assert post(service, unknown).json() == {"detail": "Data source not found."}
        assert post(service, legacy).json() == {"detail": "Data source is archived."}
        assert post(service, legacy | {"records": []}).status_code == 409
        assert post(service, records()).status_code == 204
        assert post(service, records(1)).status_code == 204
        service.archive("legacy", archived=False)
        assert post(service, legacy).status_code == 204
        assert requests.post(service.url + "/v1/predict", json={}, timeout=5).status_code == 404
    with FakeService(refuses_empty=True) as service:
        assert post(service, records()).status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"data_source": "store_metrics"},
        records() | {"more": 1},
        records() | {"records": {}},
        records() | {"records": [1]},
        records() | {"records": [{"timestamp": 1.5, "name": "a", "value": 1}]},
        records() | {"records": [{"timestamp": True, "name": "a", "value": 1}]},
        records() | {"records": [{"timestamp": 1, "name": None, "value": 1}]},
        records() | {"records": [{"timestamp": 1, "name": "a", "value": None}]},
        records() | {"records": [{"timestamp": 1, "name": "a", "value": "1"}]},
        records() | {"records": [{"timestamp": 1, "name": "a"}]},
    ],
)
def test_what_the_api_does_not_allow_is_noticed(content):
    """Answered 422, kept as a complaint, and nothing of it is stored."""
    with FakeService() as service:
        assert post(service, content).status_code == 422
    assert len(service.complaints) == 1
    assert service.content == {}


def test_faults_do_what_they_are_called():
    """A sequence of them, and what is stored after each."""
    faults = (cut(), cut(applies="all"), answer(503, "busy", retry_after=7), html_page(), answer(500, applies="half"))
    with FakeService(script=in_sequence(*faults)) as service:
        for number, stored in ((1, 0), (2, 1)):
            with pytest.raises(requests.ConnectionError):
                post(service, records(number))
            assert len(service.content) == stored
        busy = post(service, records(3))
        assert (busy.status_code, busy.json(), busy.headers["Retry-After"]) == (503, {"detail": "busy"}, "7")
        assert "<html>" in post(service, records(4)).text
        assert post(service, records(5, 6)).status_code == 500
        assert {stamp for _, stamp, _ in service.content} == {2, 5}
        assert [request.status for request in service.requests] == [None, None, 503, 502, 500]


def test_a_bug_in_a_script_is_shown_at_once():
    """An exception in a script becomes an answer that is not retried and that quotes it."""
    with FakeService(script=lambda _request: {}["missing"]) as service, connect(service.url, service.token) as temporis:
        with pytest.raises(DeliveryError, match="The script of the fake service raised KeyError") as caught:
            temporis.data_source("store_metrics").upsert(sample_frame())
        assert caught.value.report.requests == 1


def test_an_archived_data_source_goes_before_a_bad_record():
    """The order of the real service: 404 and 409, then 422."""
    bad = records(0.5)
    with FakeService({"store_metrics": False, "legacy": True}) as service:
        sources = ("legacy", "missing", "store_metrics")
        assert [post(service, bad | {"data_source": source}).status_code for source in sources] == [409, 404, 422]


def test_a_write_can_be_applied_late():
    """An attempt without an answer is applied after a newer value, when the test releases it."""
    with FakeService(script=in_sequence(silence(applies="later"))) as service:
        with pytest.raises(requests.Timeout):
            requests.post(
                service.url + INGEST,
                json=records(1),
                headers={"Authorization": f"Bearer {service.token}"},
                timeout=0.05,
            )
        newer = records(1)
        newer["records"][0]["value"] = 99
        post(service, newer)
        assert service.content == {("store_metrics", 1, "a"): 99.0}
        assert service.release_late() == 1
        assert service.content == {("store_metrics", 1, "a"): 1.0}
        assert service.release_late() == 0


def test_a_key_in_two_requests_at_once_is_recorded():
    """Held requests overlap; one after the other does not."""
    both = threading.Event()

    def script(request):
        if request.number == 1:
            both.set()
        return testing.held(both) if request.number < 2 else None

    with FakeService(script=script) as service:
        threads = [threading.Thread(target=post, args=[service, records(1, number)]) for number in (2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        post(service, records(2))
    assert service.overlapping_keys == {("store_metrics", 1, "a")}
    assert service.state.most_in_flight == 2


def test_random_faults_are_the_same_for_the_same_seed():
    """A failing test can be run again."""

    def statuses(seed):
        with FakeService(script=at_random([answer(503), answer(500)], rate=0.5, seed=seed)) as service:
            return [post(service, records(i)).status_code for i in range(20)]

    assert statuses(1) == statuses(1)
    assert len(set(statuses(1))) == 3


def test_a_users_own_test_of_an_outage():
    """What the helpers are for: does my pipeline say the right thing when the service is away?"""
    with (
        FakeService(script=lambda _request: answer(503, "maintenance", retry_after=3600)) as service,
        connect(service.url, service.token) as temporis,
        pytest.raises(UnavailableError) as caught,
    ):
        temporis.data_source("store_metrics").upsert(sample_frame())
    assert caught.value.retry_after_s == 3600
    assert "maintenance" in str(caught.value)
