# The two commands of the README, and what else the project does to itself. `make help` lists them.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Dependency groups need pip 25.1; Python 3.11 brings an older one.
PIP_VERSION := 26.3

DATA ?=
WORKLOAD ?=
ARGS ?=
TESTS ?= tests
WORKERS ?= 2

# All test processes must collect the same tests in the same order.
export PYTHONHASHSEED ?= 0

# Test processes run side by side: more torch threads than cores wait for each other, spinning.
test coverage: export OMP_NUM_THREADS ?= 1

# MkDocs' theme would print news of other projects.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test coverage contract check format docs clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo DATA=folder            the same on your own arrays folder"
	@echo "  make demo WORKLOAD=scenes        the same on procedural rooms"
	@echo "  make demo ARGS=--keep            leave the service running afterwards"
	@echo "  make test TESTS=tests/engine     a part of the tests (WORKERS=0: in one process)"

demo: $(VENV)/installed ## Train a small network, have it forget, and show what that did
	@exec $(BIN)/expunge demo $(if $(DATA),--data "$(DATA)") $(if $(WORKLOAD),--workload "$(WORKLOAD)") $(ARGS)

test: $(VENV)/installed-dev ## Run every test, with real PostgreSQL, Redis, Celery and engine processes
	@exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS) $(TESTS)

coverage: $(VENV)/installed-dev ## Run the tests and show which lines and branches they miss
	@exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(TESTS)

contract: $(VENV)/installed-dev ## Try the HTTP API with over 20,000 cases on each database; takes hours
	EXPUNGE_CONTRACT_EXAMPLES=500 $(BIN)/python -m pytest -n $(WORKERS) --dist load tests/app/test_contract.py

check: $(VENV)/installed-dev ## Formatting, lint, types, layers, dead code, dependencies, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@echo "$(BIN)/vulture: functions, classes and imports (fields are read by name, from outside)"
	@! $(BIN)/vulture | grep -v -e ": unused variable" -e ": unused attribute"
	$(BIN)/deptry .
	$(BIN)/hadolint Dockerfile
	$(BIN)/mkdocs build --strict --quiet

format: $(VENV)/installed-dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed-dev ## Write the reference pages from the code, and build site/
	$(BIN)/python docs/write_reference.py
	$(BIN)/mkdocs build --strict
	@echo "open site/index.html"

clean: ## Remove .venv, caches and build output; .expunge holds your data and stays
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found on the PATH;" \
		"name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than Python 3.11, which is needed" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual" \
		"environments; on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) "pip==$(PIP_VERSION)"
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	@echo "installing the service and the worker: once only, a few minutes (torch is large)"
	@$(PIP) --constraint constraints.txt --editable '.[worker]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing what tests and checks need"
	@$(PIP) --constraint constraints.txt --group dev
	@touch $@
