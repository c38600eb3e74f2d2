"""The bundled model behind an OpenAI-compatible server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx

from config.embedded import processes
from config.embedded.paths import REPOSITORY, bundled_model, persisted_secret
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.service import Service

PROVIDER = "local"
PROVIDER_MODEL = "smollm2-135m"
API_KEY_VARIABLE = "LOCAL_LLM_API_KEY"


class LocalModel(Service):
    title = "language model"

    def __init__(self, folder: Path, *, is_for_tests: bool) -> None:
        super().__init__(folder)
        self._is_for_tests = is_for_tests
        self._port = 0
        self._api_key = ""

    @property
    def log(self) -> Path:
        return self.folder / "llm.log"

    def start(self) -> None:
        self._port = free_port()
        self._api_key = persisted_secret(self.folder, "llm_api_key")
        self.process = processes.spawn(
            [sys.executable, "-m", "config.embedded.llm_server", bundled_model(), str(self._port), PROVIDER_MODEL],
            log=self.log,
            folder=REPOSITORY,
            env={**os.environ, API_KEY_VARIABLE: self._api_key},
        )

    def is_ready(self) -> bool:
        try:
            # Not through a proxy that the environment may name: this is our own process.
            answer = httpx.get(f"http://{LOOPBACK}:{self._port}/health", timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def environment(self) -> dict[str, str]:
        base_url = f"http://{LOOPBACK}:{self._port}/v1"
        if self._is_for_tests:
            # Tests script their own providers; the one that wants the real model asks for it by these names.
            return {"TEST_LLM_BASE_URL": base_url, "TEST_LLM_API_KEY": self._api_key}
        provider = {"base_url": base_url, "api_key_env": API_KEY_VARIABLE, "tool_mode": "json_schema"}
        return {"LLM_PROVIDERS": json.dumps({PROVIDER: provider}), API_KEY_VARIABLE: self._api_key}
