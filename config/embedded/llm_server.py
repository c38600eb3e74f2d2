"""Serve one GGUF file until told to stop: `python -m config.embedded.llm_server MODEL PORT ALIAS`."""

from __future__ import annotations

import os
import signal
import sys

import xllamacpp

from config.embedded.llm_settings import CONTEXT_TOKENS, SLOTS

# Two threads that wait for each other fall from 125 to 2 tokens/s as soon as something else wants a core; one keeps 40.
THREADS = 1


def server_parameters(model: str, port: int, alias: str) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.api_keys = [os.environ["LOCAL_LLM_API_KEY"]]
    parameters.ui = False
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = THREADS
        cpu.poll = 0
    # The default keeps old prompts and grows by gigabytes.
    parameters.cache_ram_mib = 0
    return parameters


def main(model: str, port: str, alias: str) -> None:
    # SIGTERM keeps its default, sudden effect. There is nothing to save, and an orderly end while the model is still
    # being loaded waits for ever.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = xllamacpp.Server(server_parameters(model, int(port), alias))
    signal.pause()
    del server


if __name__ == "__main__":
    main(*sys.argv[1:])
