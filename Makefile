# make run    everything into .venv, and the product up in the foreground
# make test   the run of CI: packages, tools, checks, all tests
# make docs   the site of the documents, into build/docs/site
# make sanitize   the native core's tests and a short fuzz under sanitizers; EXECUTIONS=50000000 for a long one
# make fuzz   every decoder, with made-up bytes; FUZZ_S=3600 for a long run
# make faults   kills, cuts and lost answers against a known truth, for an hour; FAULTS_S=600 FAULTS_SEED=1
# make lock   deploy/locks, the versions and hashes of all packages; LOCK_ARGS=--upgrade for the latest
# make races   the native core's threads under ThreadSanitizer; RACES_S=600 for a long run

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/e2e/node
# Sources that installation compiles (it goes on without a compiler): the agent's core, the indexer's
# ids and order, the API's rows.
NATIVE := $(wildcard agent/core/_native/*.pyx agent/core/_native/*.pxi agent/core/_native/*.h indexer/_native/*.pyx \
  shim/http/_native/*.pyx shim/http/_native/*.pxi)
# An earlier installation had no compiler, and now there is one.
REBUILD := $(if $(shell command -v cc gcc),$(if $(wildcard agent/core/_native/core.*.so),,rebuild))
# Sources of the web page, which installation builds, too (it goes on without network).
PAGE := page_build.py setup.py $(wildcard shim/http/ui/*.* shim/http/ui/src/*.ts)
PYTEST_ARGS ?=
# Files of tests that run at once: more than CPUs, since tests often wait. Each worker has an embedded ClickHouse of its own.
PYTEST_WORKERS ?= 4
EXECUTIONS ?= 1000000
RACES_S ?= 20
FUZZ_S ?= 600
FAULTS_S ?= 3600
FAULTS_SEED ?= 7
LOCK_ARGS ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test lock faults fuzz sanitize races packages lint types imports docs format clean rebuild checked-tests compiled

run: $(VENV)/.run
	@exec $(BIN)/meterhouse up

test: packages
	@$(MAKE) -j2 $(VENV)/.test $(NODE)/node_modules/.installed
	@$(MAKE) lint
	@$(MAKE) -j2 compiled imports
	@$(MAKE) checked-tests

# Types and documents are checked beside the tests, which often wait; a failure is shown again at the end.
checked-tests:
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	  (status=0; $(MAKE) types docs >"$$said" 2>&1 || status=$$?; cat "$$said"; exit $$status) & checks=$$!; \
	  tests=0; $(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder --tb=short --durations=25 \
	    $(PYTEST_ARGS) || tests=$$?; \
	  others=0; wait $$checks || { others=$$?; cat "$$said"; }; exit $$((tests ? tests : others))

# Byte code of the tests and of what they import, once: each worker would compile it, half a minute of a CPU.
compiled:
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest --collect-only -qq $(PYTEST_ARGS) >/dev/null 2>&1 || true

# Not a part of `test`: it needs clang, and takes minutes.
sanitize: $(VENV)/.test
	@if ! ls /usr/bin/clang /usr/bin/clang-[1-9][0-9] >/dev/null 2>&1; then \
	  if [ "$$(id -u)" != 0 ]; then echo "needs: apt-get install clang-14 libclang-rt-14-dev" >&2; exit 1; fi; \
	  export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
	  apt-get install -y -qq --no-install-recommends clang-14 libclang-rt-14-dev </dev/null; fi
	$(INSTALL) 'cython>=3.1'
	$(BIN)/python -m tests.fuzz.agent_core --tests --executions $(EXECUTIONS)

# Needs gcc, which brings ThreadSanitizer along; less than a minute.
races: $(VENV)/.test
	$(INSTALL) 'cython>=3.1'
	$(BIN)/python -m tests.fuzz.threads --seconds $(RACES_S)

# CI runs a part of a minute of it (tests/property/test_decoders.py).
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz.decoders $(FUZZ_S)

# CI runs each fault once, with one seed (tests/faults/test_faults.py).
faults: $(VENV)/.test
	$(BIN)/python -m tests.faults --seconds $(FAULTS_S) --seed $(FAULTS_SEED)

# After a change of dependencies in pyproject.toml.
lock: | $(BIN)/python
	$(INSTALL) uv
	$(BIN)/python -m tests.support.locks $(LOCK_ARGS)

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# Zensical stops at a link that leads nowhere.
docs: $(VENV)/.test
	$(BIN)/python -m tests.support.docs_site

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The servers and tools that tests run against; installed when missing and we may.
packages:
	@missing=""; \
	command -v redis-server >/dev/null || missing+=" redis-server"; \
	command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=" prometheus"; \
	command -v prometheus-alertmanager >/dev/null || missing+=" prometheus-alertmanager"; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing+=" chromium"; \
	command -v node >/dev/null || missing+=" nodejs"; \
	command -v npm >/dev/null || missing+=" npm"; \
	command -v faketime >/dev/null || missing+=" faketime"; \
	command -v java >/dev/null || missing+=" default-jre-headless"; \
	[ -e /usr/share/java/zookeeper.jar ] || missing+=" libzookeeper-java"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "the tests need: apt-get install$$missing" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing </dev/null

$(BIN)/python:
	@deploy/locks/python_version $(PYTHON)
	$(PYTHON) -m venv $(VENV)

rebuild:

$(VENV)/.run: pyproject.toml deploy/locks/all.txt $(NATIVE) $(PAGE) $(REBUILD) | $(BIN)/python
	deploy/locks/install $(BIN)/python all
	@touch $@

$(VENV)/.test: pyproject.toml deploy/locks/test.txt $(NATIVE) $(PAGE) | $(BIN)/python
	deploy/locks/install $(BIN)/python test
	@touch $@ $(VENV)/.run

$(NODE)/node_modules/.installed: $(NODE)/package.json $(NODE)/package-lock.json
	npm ci --prefix $(NODE) --omit=optional --no-audit --no-fund --loglevel=error
	@touch $@

clean:
	rm -rf {agent/core/_,shim/http/}_native/*.so indexer/_native/*.{so,c} agent/core/_native/core.c shim/http/_native/points.c $(VENV) build dist shim/http/ui/dist *.egg-info $(NODE)/node_modules
