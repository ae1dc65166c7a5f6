# Everything runs in a virtual environment that pip alone fills from a hashed lock.
PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13
VENV ?= .venv
# Options for pytest: make test PYTEST="-x -k planner"
PYTEST ?=
# Processes that run the tests, each whole files; 0: none but pytest's own, which --pdb needs
WORKERS ?= 2
# Options for the benchmark: make bench BENCH="--json bench.json --only status"
BENCH ?=

BIN := $(VENV)/bin
UV := uv==0.13.8
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# Where Python is told to write no bytecode, each process of a test would compile all of gpumod again.
COMPILED := $(BIN)/python -m compileall -q gpumod
COMPILE := UV_NO_CONFIG=1 .venvs/lock/bin/uv pip compile pyproject.toml --quiet --upgrade --universal \
	--python-version 3.11 --extra embedded --generate-hashes --no-header --annotation-style line

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help check-system install install-dev demo run lint test test-engines test-gpu test-all bench lock clean

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

check-system: ## say which system packages are missing
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Debian and Ubuntu: apt-get install python3)"; exit 1; }
	@$(PYTHON) .ci/check-system.py

# Runtime and development locks agree on every version, so one environment serves both.
$(VENV)/.installed: .ci/requirements.lock pyproject.toml
	@$(MAKE) check-system
	@echo "installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes --only-binary=:all: -r .ci/requirements.lock
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: .ci/requirements-dev.lock $(VENV)/.installed
	$(INSTALL) --require-hashes --only-binary=:all: -r .ci/requirements-dev.lock
	@touch $@

install: $(VENV)/.installed ## make the virtual environment

install-dev: $(VENV)/.installed-dev ## add what development needs

demo: install ## show switches between real llama.cpp servers, without a GPU
	@$(BIN)/python -m gpumod.testing.demo

run: install ## run the daemon in the foreground
	@$(BIN)/gpumodd --foreground

lint: install-dev ## check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint ## lint, then run the tests
	@$(COMPILED)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(PYTEST)

test-engines: install-dev ## run the slow tests with real engines
	@$(COMPILED)
	$(BIN)/pytest -m "engines and not gpu" $(PYTEST)

test-gpu: install-dev ## play the scenes on real cards: docs/gpu-runs.md says what they need
	$(BIN)/pytest tests/gpu -m gpu $(PYTEST)

test-all: ## run the tests on every supported Python
	@set -e; for python in $(PYTHONS); do $(MAKE) test PYTHON=$$python VENV=.venvs/$$python; done

bench: install-dev ## measure the overhead of a switch
	$(BIN)/python -m gpumod.testing.bench $(BENCH)

lock: ## resolve the dependencies anew and write the locks
	@test -x .venvs/lock/bin/python || $(PYTHON) -m venv .venvs/lock
	.venvs/lock/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(COMPILE) --group dev -o .ci/requirements-dev.lock
	$(COMPILE) --group build -c .ci/requirements-dev.lock -o .ci/requirements.lock

clean: ## remove everything that was built
	rm -rf .venv .venvs build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find gpumod tests -name __pycache__ -type d -prune -exec rm -rf {} +
