# `make` alone lists the targets. Everything is installed into .venv, nothing outside this folder.

# Debian's own Python where it can make a .venv, whatever else comes first in PATH: it was built with a
# profile of real work, which one that was built at home usually is not, and takes a quarter less time.
PYTHON ?= $(shell for each in /usr/bin/python3.11 python3.11 python3; do \
  $$each -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$each && exit; \
  done; command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PARALLEL := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
# One process more than cores where tests wait for servers to start, stop and come back.
WAITING := --numprocesses $(shell echo $$(( $$(nproc) + 1 )))
# Where nothing is read from the description of the API, a second of imports a process is spared.
PLAIN := -p no:schemathesis
# Each worker has a sample district of its own, so its stories may go on beside the others.
STORIES := $(PARALLEL) $(PLAIN) --dist worksteal tests/e2e
SOURCES := domain projections api infra tests

.DEFAULT_GOAL := help
.PHONY: help install demo test e2e screens check format coverage bench crash kafka-faults lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed  ## set up .venv with the locked versions (does nothing when it is up to date)

# pip checks every file against the hashes of the lock, which is complete, so nothing is resolved
# (`pip check` proves it) and bytecode is left to the first import. The project is linked, not copied.
.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "需要 Python 3.11 或更高版本。Python 3.11 or later is needed: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	  echo "无法建立虚拟环境,请先执行 apt install python3-venv。No virtual environment could be made: apt install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into .venv ..."
	@$(PIP) install --require-hashes --no-deps --no-compile -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

demo: install  ## start everything on this machine with sample data, and print the address
	@$(BIN)/wangge demo

# The rules must be reached to the last branch by their own tests alone; with ARGS nothing is measured.
test: install  ## run all tests, in random order, on all cores (a failure prints its seed; repeat it with ARGS="-p randomly -p 'randomly_seed=N'")
ifdef ARGS
	@$(PARALLEL) $(ARGS)
else
	@$(PARALLEL) $(PLAIN) tests/domain --cov=domain --cov-branch --cov-fail-under=100
	@$(PARALLEL) $(WAITING) --ignore=tests/domain --ignore=tests/e2e
	@$(STORIES)
endif

e2e: install  ## run the stories of the console in a real browser (needs Chromium)
	@$(if $(ARGS),$(BIN)/python -m pytest tests/e2e $(ARGS),$(STORIES))

screens: install  ## make the pictures in docs/screens again
	@WANGGE_SCREENS=docs/screens $(BIN)/python -m pytest tests/e2e/test_screens.py

check: install  ## check format, lint, types and the direction of imports; changes no file
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "Not formatted: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo

format: install  ## format the source and repair what ruff can repair
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

coverage: install  ## run all tests and show which lines and branches none of them reached
	@$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

bench: install  ## measure speed against its peers on this machine (ONLY=append,http,size for some of them, ARGS=--quick for less)
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

crash: install  ## kill the server, the projector and PostgreSQL at random under load and check the log (KILLS=1000 SEED=…)
	@$(BIN)/python -m tests.crash --kills $(or $(KILLS),1000) $(if $(SEED),--seed $(SEED)) $(ARGS)

kafka-faults: install  ## kill relays, projectors and brokers of a Kafka of three nodes, and check what arrived (SEED=…, ARGS="--relay-kills 10")
	@$(BIN)/python -m tests.kafka $(if $(SEED),--seed $(SEED)) $(ARGS)

# uv reads pyproject.toml and keeps the versions of the present lock; delete the lock first to take the newest.
lock:  ## write requirements.lock again from pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(PIP) install uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock
	@! grep -nE '://|--(extra-)?index|--find-links' requirements.lock || { \
	  echo "requirements.lock names an index: it must not" >&2; exit 1; }

clean:  ## remove .venv, caches and build output (no data folder is touched)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
