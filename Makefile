# Everything runs in .venv, which is created on first use and again when the packaging changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev
INSTALLED_DOCS := $(VENV)/installed-docs
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

train: $(INSTALLED) ## train PPO on CartPole-v1
	$(BIN)/jax-ppo train

test: check ## check the style, then run every test that takes seconds
	$(BIN)/python -m pytest -n auto

test-slow: $(INSTALLED_DEV) ## run the tests that take minutes
	$(BIN)/python -m pytest -n auto -m slow

parity: $(INSTALLED_DEV) ## compare jax_ppo with torch_ref, and write the report
	$(BIN)/python -m parity_tests --out parity_tests/results

bench: $(INSTALLED_DEV) ## measure jax_ppo beside other implementations
	test -d .peers/purejaxrl || $(BIN)/python -m benchmarks install purejaxrl
	test -d .peers/rejax || $(BIN)/python -m benchmarks install rejax
	test -d .peers/purejaxrl-source || git clone --quiet https://github.com/luchris429/purejaxrl .peers/purejaxrl-source
	for what in throughput scaling compile memory threshold phases ceiling report; do $(BIN)/python -m benchmarks $$what || exit; done

docs: $(INSTALLED_DOCS) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

check: $(INSTALLED_DEV) ## lint, format check, type check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED_DEV) ## put the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment and all caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; choose it with make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP_INSTALL) .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP_INSTALL) '.[torch,dev,docs]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(PIP_INSTALL) '.[docs]'
	@touch $@

.PHONY: help train test test-slow parity bench docs check format clean
