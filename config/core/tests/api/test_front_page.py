"""Whoever comes without an address is shown the API."""

from __future__ import annotations

from django.test import Client


def test_the_front_page_leads_to_the_api_docs() -> None:
    answer = Client().get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/api/v1/docs")
