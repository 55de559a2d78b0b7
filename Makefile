# The commands of this project; people and CI use the same ones. Needs Python 3.11 or newer, and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
COUNT ?= 100000
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install quickstart test check claims server-test fuzz audit lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## make .venv with the locked packages and this project in it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Koopcast needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make install PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) from constraints.txt; the first time takes some minutes."
	@$(BIN)/$(PIP) install -qq --constraint constraints.txt --editable '.[dev,examples]'
	@touch $@

quickstart: install  ## run the example pipeline on real sea-surface temperatures
	$(BIN)/koopcast run pipelines/quickstart.yaml

test: install  ## run the default tests in JOBS processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(JOBS) --dist loadfile

check: install  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

claims: install  ## reproduce the headline claims of papers (long)
	$(BIN)/python -m pytest -q -m claim

server-test: install  ## start a real server and worker, deploy, schedule (minutes)
	$(BIN)/python -m pytest -q -m server

fuzz: install  ## give COUNT damaged inputs to every reader (an hour or two)
	COUNT=$(COUNT) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz

audit: install  ## ask the advisory services about every locked package
	$(BIN)/$(PIP) check
	$(BIN)/python .ci/audit.py

lock: install  ## resolve the newest allowed packages, torch as it is, and write constraints.txt
	@rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	@grep '^torch==' constraints.txt > $(VENV)/lock/torch.txt
	@$(VENV)/lock/bin/$(PIP) install -qq --constraint $(VENV)/lock/torch.txt --editable '.[dev,examples]'
	@{ grep '^#' constraints.txt; $(VENV)/lock/bin/$(PIP) freeze --exclude-editable --exclude koopcast | \
	   sed -E 's/\+[a-z0-9.]+$$//' | grep -v -E '^(nvidia|cuda|triton)' | LC_ALL=C sort -f; } > $(VENV)/lock/constraints.txt
	@mv $(VENV)/lock/constraints.txt constraints.txt && rm -rf $(VENV)/lock

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
