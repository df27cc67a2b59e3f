# SPDX-License-Identifier: GPL-3.0-or-later
# The two commands of the README, and what developers need. Everything happens in .venv; nothing is installed elsewhere.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A plain path and no import hook: type checkers see the package from everywhere, and imports are quicker.
COMPAT := --config-settings editable_mode=compat
# Most tests wait for processes of theirs, so that two cores can do with four at a time.
PARALLEL ?= -n 4 --dist worksteal
RUN_STAMP := $(VENV)/.run
DEV_STAMP := $(VENV)/.dev

.PHONY: demo test soak lint bench fuzz schema venv clean

demo: $(RUN_STAMP)
	@$(BIN)/python -m rockit.tool.demo

test: $(DEV_STAMP)
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

soak: $(DEV_STAMP)
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

fuzz: $(DEV_STAMP)
	$(BIN)/python fuzz/fuzz_thermotek.py --runs 200000
	$(BIN)/python fuzz/fuzz_meters.py --runs 50000
	$(BIN)/python fuzz/fuzz_boiler.py --runs 50000

schema: $(RUN_STAMP)
	$(BIN)/python -m rockit.tool.check config/schema

venv: $(DEV_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one with PYTHON=… make …" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'cannot make .venv: is the venv module of Python installed (python3-venv)?'; exit 1; }

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . $(COMPAT)
	@$(BIN)/python -m rockit.tool.check config/schema
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' $(COMPAT)
	@$(BIN)/python -m rockit.tool.check config/schema
	@touch $(RUN_STAMP) $@

clean:
	rm -rf $(VENV) build dist *.egg-info config/schema .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
