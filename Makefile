# Everything a person types here. `make` lists the targets.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
FORMAT ?= table
GOOGLE ?= tests/emulators/pubsub tests/collector tests/processor tests/loader tests/shared
PYTEST ?= -n 4 --dist loadgroup
CODE   := services emulators local observability tests

# Some containers ask for no bytecode: then each of a thousand processes of the tests would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run query ops compact test test-slow test-google fuzz-sql asked-sql chaos simulate bench scale soak images test-chart check format docs dashboard dashboards pictures lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# Locked packages, installed again only when their lock changes: requirements/local.txt is what running needs,
# requirements/dev.txt the same and more, so whoever has installed that can run too. The locks are complete: without
# --no-deps an older pip (23.2) looks for a newer google-auth to satisfy an extra of it, and refuses what it finds, since
# that has no hash.
count = $$(grep -c '==' $(1))
install_lock = $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(1)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pixelpipe needs Python 3.11 or newer: make PYTHON=python3.13 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/local.txt | $(BIN)/python
	@echo "installing the $(call count,$<) packages that running needs into $(VENV): a minute or two, only the first time" >&2
	@$(call install_lock,$<)
	@touch $@

$(VENV)/.installed: requirements/dev.txt | $(BIN)/python
	@echo "installing $(call count,$<) packages into $(VENV): a few minutes, only the first time" >&2
	@$(call install_lock,$<)
	@touch $@ $(VENV)/.run

# The operator's commands by name: on the project that PIPE_PROJECT or --project names, else on the stack that runs here.
$(BIN)/pixelpipe: Makefile | $(BIN)/python
	@printf '#!/bin/sh\ncase "$${PIPE_PROJECT:+--project} $$*" in\n*--project*) set -- -m services.ops "$$@" ;;\n*) set -- -m local ops "$$@" ;;\nesac\nexec env PIXELPIPE_COMMAND=pixelpipe PYTHONPATH="%s" "%s" "$$@"\n' \
	  "$(CURDIR)" "$(CURDIR)/$(BIN)/python" >$@
	@chmod +x $@

install: $(VENV)/.installed $(BIN)/pixelpipe ## install the locked packages of development into .venv

run: $(VENV)/.run $(BIN)/pixelpipe ## run everything on this machine, until Ctrl-C
	@$(BIN)/python -m local run

query: $(VENV)/.run ## ask the running stack: make query SQL='SELECT …' [FORMAT=json]
	@$(BIN)/python -m local query --format $(FORMAT) "$$QUERY"

ops: $(VENV)/.run $(BIN)/pixelpipe ## run an operator's command on the running stack: make ops ARGS='dead list' (see services/ops)
	@$(BIN)/python -m local ops $(ARGS)

compact: $(VENV)/.run ## remove the duplicates of closed days in the running stack: make compact [DATE=YYYY-MM-DD]
	@$(BIN)/python -m local ops compact $(addprefix --date=,$(DATE))

test: install ## run the tests
	$(BIN)/python -m pytest $(PYTEST) -m 'not slow'

test-slow: install ## run the tests that take long: outages, kills, how time grows, alerts on a real Prometheus
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m slow

fuzz-sql: install ## ask the BigQuery emulator and GoogleSQL the same random statements: make fuzz-sql [SECONDS=300] [SEED=7]
	$(BIN)/python -m tests.emulators.bigquery.sql_fuzz --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED))

asked-sql: install ## run the tests and keep every statement they asked, for GoogleSQL to judge (tests/emulators/bigquery/statements.json)
	@rm -f .local/asked-sql
	mkdir -p .local && BIGQUERY_ASKED=$(CURDIR)/.local/asked-sql $(BIN)/python -m pytest $(PYTEST) -m 'not slow'
	$(BIN)/python -m tests.emulators.bigquery.sql_statements .local/asked-sql
	@rm -f .local/asked-sql

test-google: install ## run the tests that need Pub/Sub against Google's own emulator: make test-google PUBSUB=127.0.0.1:8085
	@test -n "$(PUBSUB)" || { echo "which emulator? make test-google PUBSUB=HOST:PORT, after: gcloud beta emulators pubsub start"; exit 2; }
	PUBSUB_EMULATOR=$(PUBSUB) $(BIN)/python -m pytest $(PYTEST) -m 'not slow' $(GOOGLE)

test-chart: install ## render the Helm chart and check it against the code, Kubernetes' schemas and golden renders
	$(BIN)/python -m pytest $(PYTEST) tests/chart

chaos: install ## break everything and count what is lost, 20 minutes: make chaos [ONLY='pubsub-down …']
	$(BIN)/python -m tests.chaos $(foreach fault,$(ONLY),--only $(fault))

simulate: install ## run the pipeline in virtual time, one run per seed, until the first failure: make simulate [SEEDS=20000] [FIRST=0]
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

bench: install ## measure everything in ten minutes, into BENCH.md: make bench [ONLY=part] [QUICK=1 [STORE=1]] (see BENCH.md)
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(STORE),--store) $(foreach part,$(ONLY),--only $(part))

scale: install ## simulate days of traffic through the autoscalers, for the table and pictures of docs/scale.md
	$(BIN)/python -m tests.scale

soak: install ## memory at 2,000 hits a second with Pub/Sub or BigQuery down for minutes: make soak [DOWN=bigquery] [MINUTES=5]
	$(BIN)/python -m tests.bounds.soak --minutes $(or $(MINUTES),5) --rate 2000 --down $(or $(DOWN),pubsub)

images: install ## build the container images, run them, send pixels through them (needs buildah, podman, runc, mmdebstrap)
	$(BIN)/python -m tests.images

check: install ## lint, format, types, arrows, and that the chart carries schema.yaml as it is
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_arrows.py
	@cmp schema.yaml charts/pixelpipe/files/schema.yaml || { echo "the chart has an older schema.yaml: run make docs"; exit 1; }

format: install ## format the sources
	$(BIN)/ruff check --quiet --fix $(CODE)
	$(BIN)/ruff format --quiet $(CODE)

docs: install ## write the generated parts of documents and chart: settings, metrics, log lines, schema keys, costs, alerts, values
	$(BIN)/python -m tests.docs

dashboard: install ## draw the pipeline's dashboard from a local run with an outage in it; needs Debian's prometheus
	$(BIN)/python -m tests.observability.picture

pictures: install ## take the pictures of the local page into docs/img, from a run with an outage in it; needs chromium
	$(BIN)/python -m tests.local.picture

dashboards: install ## write the chart's dashboards, rules and alerts, after a change in observability
	$(BIN)/python -m observability

# dev comes first: it holds all other groups, and the images get the versions that the tests ran on.
lock: install ## resolve pyproject.toml's groups again into requirements/, with hashes
	for group in dev collector processor loader ops emulators local; do \
	  [ $$group = dev ] && constraint= || constraint="--constraint requirements/dev.txt"; \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links $$constraint --group $$group --output-file requirements/$$group.txt || exit 1; done

clean: ## remove what was installed and the local data
	rm -rf $(VENV) .local .mypy_cache .pytest_cache .ruff_cache .hypothesis

# As typed: make would expand the $ of a JSON path such as "$.total".
export QUERY := $(value SQL)
