# Everything is made from the project's own files; nothing but python3 (>= 3.11, with venv) is needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help demo test lint format types layers check hooks audit coverage bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.run: pyproject.toml harvester/core/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "harvester needs Python 3.11 or newer; say make PYTHON=python3.11")'
	@echo "Making an environment of its own in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run  ## the whole job on this machine: sandbox, bundled real DOIs, records
	@$(BIN)/harvester demo

test: $(VENV)/.dev  ## all tests, three at a time: many of them wait
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

lint: $(VENV)/.dev  ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## rewrite in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/.dev  ## imports point down
	$(BIN)/lint-imports --no-cache

check: lint types layers test  ## all of it, as CI does

# In a git worktree the hooks are those of the repository that it belongs to. A hook of your own is not overwritten.
hooks: $(VENV)/.dev  ## let git run lint, types and layers before each commit
	@hook=$$(git rev-parse --git-path hooks)/pre-commit; \
	if test -e "$$hook" && ! grep -q 'make lint types layers' "$$hook"; then \
		echo "$$hook is there already; let it call: make lint types layers"; exit 1; \
	fi; \
	mkdir -p "$$(dirname "$$hook")" && \
	printf '#!/bin/sh\n# Installed by "make hooks" of harvester.\nexec make lint types layers\n' > "$$hook" && \
	chmod +x "$$hook" && echo "$$hook: make lint types layers before each commit; git commit --no-verify leaves it out"

audit: $(VENV)/.run  ## known vulnerabilities in what we build on; asks the package index
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(BIN)/pip-audit --skip-editable

coverage: $(VENV)/.dev  ## tests with branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term-missing

$(VENV)/.bench: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# Another experiment: make bench BENCH='scale --svg build/bench/scale.svg', make bench BENCH=pace; see docs/performance.md.
BENCH ?= compare --json build/bench/compare.json
bench: $(VENV)/.bench  ## harvester beside other ways to do its job; half an hour on an idle machine
	$(BIN)/python -m bench $(BENCH)

clean:  ## remove what was made
	rm -rf $(VENV) demo-output demo-output-[0-9]* dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
