"""Scrapes of `/metrics`, read as Prometheus reads them."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sessions_app.tests.e2e.servers import WebProcess

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scraped:
    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"twice in one scrape: {key}"
                self.samples[key] = sample.value

    def sum(self, name: str, **labels: str) -> float:
        """Of all series of this name that carry these labels."""
        wanted = set(labels.items())
        return sum(
            value for (sample, has), value in self.samples.items() if sample == f"tallyroom_{name}" and wanted <= has
        )

    def labels(self, name: str) -> set[str]:
        return {key for sample, has in self.samples if sample == f"tallyroom_{name}" for key, _ in has}

    def counters(self) -> Samples:
        """Everything that must never go backwards."""
        endings = ("_total", "_bucket", "_count", "_sum")
        return {key: value for key, value in self.samples.items() if key[0].endswith(endings) and "tallyroom" in key[0]}


def scrape(web: WebProcess | str, **headers: str) -> Scraped:
    url = web if isinstance(web, str) else web.url
    # A connection of its own, so that several workers behind one port take turns.
    answer = httpx.get(f"{url}/metrics", headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return Scraped(answer.text)
