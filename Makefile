# Every target sets up what it needs in .venv by itself; nothing has to be activated. `make help` lists them.
# PYTHON=/path/to/python3.x chooses the interpreter; else `python3` where it is new enough, else the newest python3.x.

SHELL := /bin/sh
.DEFAULT_GOAL := help

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$p; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --require-hashes
# Our own package, from this folder: its build backend is in the locked requirements, so nothing unlocked is fetched.
INSTALL_SELF := $(PIP) install --quiet --no-deps --no-build-isolation --editable .

.PHONY: help serve test check lint types floors cover chaos peers bench format lock prices clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

serve: $(VENV)/.base ## set up and start Posthouse on http://127.0.0.1:8700 (ARGS="--port 9000" is passed on)
	@exec $(BIN)/posthouse serve $(ARGS)

test: $(VENV)/.dev ## set up and run all tests (ARGS="-k limits" is passed on)
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: lint types floors test ## everything CI holds: lint, types, floors, tests

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict on src and tests
	$(BIN)/mypy

floors: $(VENV)/.dev ## import-linter: a room imports only from the floors below it
	$(BIN)/lint-imports

cover: $(VENV)/.dev ## the tests with branch coverage (slower)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

chaos: $(VENV)/.dev ## one server, then several, while everything breaks, for CHAOS_SECONDS (900); CHAOS_SEED repeats a plan
	POSTHOUSE_CHAOS_ROUNDS=$(or $(CHAOS_ROUNDS),10) POSTHOUSE_CHAOS_SEED=$(or $(CHAOS_SEED),1) \
		$(BIN)/python -m pytest -q tests/chaos_embedded
	$(BIN)/python -m tests.chaos

peers: $(VENV)/.dev ## suites and clients that others wrote, in an environment of their own
	$(BIN)/python -m peers $(ARGS)

bench: $(VENV)/.dev ## the benchmark of the hot path (BENCH_PEERS=1 measures others beside it)
	$(BIN)/python -m bench $(ARGS)

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Without hosts or index addresses in the result, for every platform; UPGRADE=1 takes the newest versions.
UV := $(VENV)-lock/bin/uv
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)

# Without ours: the peers talk to us over a socket, like anybody.
LOCK_PEERS = $(subst pip compile pyproject.toml,pip compile,$(COMPILE)) --group pyproject.toml
CLIENTS := openai-0 earlier openai-2 current langchain litellm node

lock: $(UV) ## write requirements/*.txt again from pyproject.toml
	$(COMPILE) --group build --output-file requirements/base.txt
	$(COMPILE) --group dev --constraints requirements/base.txt --output-file requirements/dev.txt
	$(LOCK_PEERS):peers --constraints requirements/dev.txt --output-file requirements/peers.txt
	@mkdir -p requirements/clients
	set -e; for name in $(CLIENTS); do \
		$(LOCK_PEERS):client-$$name --output-file requirements/clients/$$name.txt; done
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes \
		-r requirements/clients/node.txt
	$(VENV)-lock/bin/python tools/lock_node.py $(if $(UPGRADE),--upgrade)
	$(COMPILE) --group prices --constraints requirements/base.txt --output-file requirements/prices.txt

prices: requirements/prices.txt | python-is-new-enough ## make the price seed again from its sources, and list where they differ
	$(PYTHON) -m venv $(VENV)-prices
	$(VENV)-prices/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	$(VENV)-prices/bin/python tools/make_prices.py $(ARGS)

$(UV): | python-is-new-enough
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet uv

$(VENV)/.base: requirements/base.txt pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) (once)..." >&2
	$(INSTALL) -r requirements/base.txt
	$(INSTALL_SELF)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for development (once)..." >&2
	$(INSTALL) -r requirements/dev.txt
	$(INSTALL_SELF)
	@touch $@

$(BIN)/python: | python-is-new-enough
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) could not make a virtual environment." >&2; \
		echo "  On Debian and Ubuntu its venv module is a package of its own: sudo apt install python3-venv" >&2; exit 1; }

.PHONY: python-is-new-enough
python-is-new-enough:
	@$(if $(PYTHON),$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null,false) || { \
		echo "error: Posthouse needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)." >&2; \
		echo "  Install a newer one, or name it: make serve PYTHON=/path/to/python3.12" >&2; exit 1; }

clean: ## remove what the other targets made
	rm -rf $(VENV) $(VENV)-lock $(VENV)-peers $(VENV)-prices build dist htmlcov .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench peers -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
