"""Who may scrape, and in which form the answer comes."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

pytestmark = pytest.mark.django_db
TOKEN = "a-token-for-scrapes-0123456789"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.5.4", "fd00::1", "::ffff:10.0.0.1"]
)
def test_without_a_token_a_direct_scrape_from_a_private_address_is_answered(client, address):
    answer = client.get("/metrics", REMOTE_ADDR=address)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in read_text(answer.content.decode())}
    assert {"tallyroom_database_up", "tallyroom_http_requests", "process_cpu_seconds"} <= names


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2001:4860::1", "::ffff:8.8.8.8", "100.64.0.1", "", "localhost", "10.0.0.1 "]
)
def test_without_a_token_there_is_nothing_for_anybody_else(client, address):
    answer = client.get("/metrics", REMOTE_ADDR=address)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"]
)
def test_without_a_token_what_came_through_a_proxy_is_refused(client, header):
    assert client.get("/metrics", headers={header: "10.0.0.1"}).status_code == 404
    assert client.get("/metrics", headers={header: ""}).status_code == 404


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"]
)
def test_with_a_token_nobody_scrapes_without_it(client, settings, sent):
    settings.METRICS_TOKEN = TOKEN
    answer = client.get("/metrics", headers={} if sent is None else {"Authorization": sent})
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
    assert (answer.json()["code"], answer["WWW-Authenticate"]) == ("token_invalid", "Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_a_token_a_scrape_may_come_from_anywhere(client, settings, scheme):
    settings.METRICS_TOKEN = TOKEN
    headers = {"Authorization": f"{scheme} {TOKEN}", "X-Forwarded-For": "8.8.8.8"}
    assert client.get("/metrics", headers=headers, REMOTE_ADDR="8.8.8.8").status_code == 200


def test_openmetrics_when_it_is_asked_for(client):
    client.get("/api/v1/health/live")
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0; q=0.8,text/plain"})
    assert answer["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in read_openmetrics(answer.content.decode())}
    assert families["tallyroom_pricing"].type == "info"
    assert families["tallyroom_http_requests"].type == "counter"
    assert answer.content.endswith(b"# EOF\n")


def test_a_scraper_may_call_us_by_our_address(client, settings):
    settings.ALLOWED_HOSTS = ["example.com"]
    assert client.get("/metrics", HTTP_HOST="10.1.2.3:8000").status_code == 200


def test_only_reading(client):
    assert client.post("/metrics").status_code == 405
    head = client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["/metrics/", "/metricsx", "/metrics/canary"])
def test_no_other_path(client, path):
    assert client.get(path).status_code == 404
