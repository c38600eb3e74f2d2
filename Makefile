# Needs Python >= 3.11, make and a package index; `make help` lists the targets.
#
# Recipes end in `exec`, so that the process that make knows is the one that gets its signals.

.DEFAULT_GOAL := help
.PHONY: demo run test test-browser seed-big bench chaos mutation serve worker install lint lock help

# The first interpreter that is new enough and can make virtual environments. 3.12 and 3.11 go first: for later ones
# an index may lack a prebuilt wheel of a development service.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13 python3.14; do \
	"$$python" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo "$$python" && exit; done; \
	for python in python3 python3.13 python3.14; do \
	"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && exit; done)
PY := .venv/bin/python
EMBEDDED := $(PY) manage.py embedded

demo: .venv/.dev ## A real two-agent turn on the bundled model, and its bill checked against the ledger
	@exec $(EMBEDDED) --name demo --llm -- python manage.py demo

run: .venv/.dev ## Everything at once on PORT (8000), with logins and a curl to paste
	@exec $(EMBEDDED) --name run --llm -- python manage.py run_all

test: .venv/.dev ## The test suite on real PostgreSQL and Redis; ARGS= goes to pytest
	@exec $(EMBEDDED) --name test --llm -- python -m pytest -n 4 --dist worksteal -m "not browser" $(ARGS)

test-browser: .venv/.dev ## Staff's pages in a real browser (needs Chromium); SCREENSHOTS= a folder, ARGS= goes to pytest
	@exec $(EMBEDDED) --name browser -- python -m pytest -m browser sessions_app/tests/browser $(ARGS)

seed-big: .venv/.dev ## 90 days of SEED_EVENTS (10,000,000) calls of SEED_USERS (100,000) in a database of their own
	@exec $(EMBEDDED) --name big -- sh -c 'python manage.py seed_big && exec python manage.py roll_up_usage'

bench: .venv/.dev ## Throughput, latency, memory beside yardsticks, into bench/results; BENCH_ONLY= names, BENCH_SECONDS= (4)
	@exec $(EMBEDDED) --name bench -- python -m bench

chaos: .venv/.dev ## kill -9 of web, worker, Redis and PostgreSQL under load; CHAOS_KILLS= (20) of each, CHAOS_SEED=
	@exec $(EMBEDDED) --name chaos -- python manage.py chaos

mutation: .venv/.dev ## Change the money code one place at a time; which does no test notice? ONLY= one file (else 15 min)
	@exec $(PY) -m bench.mutate

# Two web processes of one checkout may start at once, and collecting is not made for that: one waits for the other.
COLLECTSTATIC := $(PY) -c 'import fcntl, os, sys; \
	lock = os.open(".venv", os.O_RDONLY); fcntl.flock(lock, fcntl.LOCK_EX); os.set_inheritable(lock, True); \
	os.execv(sys.executable, [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"])'

serve: .venv/.production ## The web process alone, configured by the environment (PORT, WEB_WORKERS)
	@$(COLLECTSTATIC)
	@export DATABASE_POOL_SIZE="$${DATABASE_POOL_SIZE:-16}"; \
	exec $(PY) -m uvicorn config.asgi:application \
		--host 0.0.0.0 --port "$${PORT:-8000}" --workers "$${WEB_WORKERS:-1}" \
		--lifespan on --loop uvloop --http httptools --no-access-log --no-server-header \
		--timeout-graceful-shutdown "$$(( $${DRAIN_TIMEOUT_S:-30} + 15 ))"

# Threads, because the work waits for the network, and because a signal to the process group then reaches one process.
# The scheduler keeps its times in memory: every beat job may run early or twice, and no file is left in the checkout.
worker: .venv/.production ## The Celery worker with beat, configured by the environment
	@exec $(PY) -m celery -A config worker --beat --scheduler celery.beat:Scheduler \
		--pool threads --concurrency "$${WORKER_THREADS:-8}" --loglevel "$${LOG_LEVEL:-INFO}"

install: .venv/.dev ## The virtual environment alone

lint: .venv/.dev ## ruff, format, import contracts, types, migrations, OpenAPI
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
	@DEBUG=1 $(PY) -m mypy
	@exec $(EMBEDDED) --name lint -- .ci/schema-check

UV_COMPILE := $(PY) -m uv pip compile --quiet pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock"

lock: .venv/.dev ## Compile requirements*.txt from pyproject.toml
	@$(UV_COMPILE) --output-file requirements.txt
	@$(UV_COMPILE) --all-extras --constraint requirements.txt --output-file requirements-dev.txt

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

.venv/.dev: requirements-dev.txt
.venv/.production: requirements.txt
.venv/.dev .venv/.production: .ci/install.py
	@test -n "$(PYTHON)" || { echo "Tallyroom needs Python 3.11 or newer with venv \
	(on Debian and Ubuntu: apt install python3-venv); name it with PYTHON=" >&2; exit 1; }
	@exec $(PYTHON) .ci/install.py $(@:.venv/.%=%)
