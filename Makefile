# `make` shows what there is. Everything lives in .venv, .cache and labextension/node_modules.

SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
PORT ?= 8888
HOST ?= 127.0.0.1
export PYTHON PORT HOST NO_BROWSER

BIN := .venv/bin
DONE := .venv/.done
NODE_DONE := labextension/node_modules/.done
# The scripts in package.json call jlpm and jupyter-builder by name.
JLPM := cd labextension && PATH="$(CURDIR)/.venv/bin:$$PATH" jlpm
# The hatch hook would build the lab extension again; the rule below already did.
PIP := SKIP_JUPYTER_BUILDER=1 $(BIN)/python -m pip install --quiet --no-build-isolation

FRONT_CONFIG := $(wildcard labextension/package.json labextension/tsconfig*.json labextension/*.js labextension/*.mjs)
FRONT_SOURCES := $(FRONT_CONFIG) $(shell find labextension/src labextension/style labextension/schema -type f 2>/dev/null)
PACKAGE_FILES := pyproject.toml jupyter_mlenv/_version.py $(shell find jupyter-config -type f 2>/dev/null)

##@ Use it
lab: $(DONE)/package ## JupyterLab with ML environments: PORT=8888 HOST=127.0.0.1 NO_BROWSER=1
	@scripts/engine.sh
	@exec scripts/lab.sh

##@ Work on it
install: $(DONE)/package ## The package and its lab extension into .venv, and nothing else
test: test-ready ## All tests; installs what they need
	@scripts/test.sh lab unit agent server engine ui
test-lab: $(NODE_DONE) ## The lab extension's tests
	@scripts/test.sh lab
test-unit: $(DONE)/test ## Python tests of single parts: seconds
	@scripts/test.sh unit
test-agent: $(DONE)/test ## Tests of the agent, its kernels and services, without a container
	@scripts/test.sh agent
test-server: $(DONE)/test ## Tests of the server extension and the proxy over an engine in memory
	@scripts/test.sh server
test-engine: test-ready ## Tests with the real engine
	@scripts/test.sh engine
test-docker26: test-ready ## The engine's tests on Docker 26.1, beside this machine's own engine
	@scripts/docker26.sh
test-podman: test-ready ## The contract of engines on Podman 5, beside this machine's own engine
	@scripts/podman5.sh
test-ui: test-ready ## Tests with a real browser
	@scripts/test.sh ui
torture: test-ready ## Attacks and torture against a real server: 15 minutes at most; ONLY=WORD for some
	@$(BIN)/python -m tests.torture $(if $(ONLY),--only $(ONLY))
bench: test-ready $(DONE)/bench ## Every benchmark, with its ratios
	@scripts/bench.sh
lint: $(DONE)/lint $(NODE_DONE) ## Formatting, lint and types of both languages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(JLPM) lint:check
dist: $(DONE)/build ## A wheel and a source archive in dist/
	rm -rf dist jupyter_mlenv/labextension
	$(BIN)/python -m build
clean: ## Remove what was built, and what killed test sessions left on the engine
	@if [ -e $(DONE)/package ]; then $(BIN)/python -m tests.support.leftovers; fi
	rm -rf dist build .cache/test .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	rm -rf jupyter_mlenv/labextension labextension/lib labextension/tsconfig.tsbuildinfo $(DONE)/front
clean-all: clean ## The same, and .venv and node_modules: like a fresh clone
	rm -rf .venv labextension/node_modules
help:
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: lab install test test-ready test-lab test-unit test-agent test-server test-engine test-docker26 test-podman test-ui torture bench lint dist clean clean-all help

test-ready: $(DONE)/test $(NODE_DONE)
	@scripts/engine.sh
	@scripts/testtools.sh

$(DONE)/venv:
	@scripts/node.sh
	@scripts/venv.sh
	@mkdir -p $(DONE) && touch $@

# What builds the package ([build-system] in pyproject.toml); jupyter-builder also brings jlpm.
$(DONE)/tools: pyproject.toml | $(DONE)/venv
	@echo "==> Installing the build tools"
	$(BIN)/python -m pip install --quiet hatchling editables hatch-jupyter-builder jupyter-builder
	@touch $@

$(NODE_DONE): labextension/package.json labextension/yarn.lock | $(DONE)/tools
	@echo "==> Installing the lab extension's packages"
	$(JLPM) install --immutable | sed /YN0013/d # one line for each download
	@touch $@

$(DONE)/front: $(FRONT_SOURCES) $(NODE_DONE)
	@echo "==> Building the lab extension"
	$(JLPM) build:prod
	@touch $@

$(DONE)/package: $(PACKAGE_FILES) $(DONE)/front $(DONE)/tools
	@echo "==> Installing the package"
	$(PIP) --editable '.[tensorboard]'
	@touch $@

$(DONE)/test $(DONE)/bench $(DONE)/lint: $(DONE)/%: $(DONE)/package
	@echo "==> Installing what '$*' needs"
	$(PIP) --editable '.[$*]'
	@touch $@

$(DONE)/build: $(DONE)/package
	$(BIN)/python -m pip install --quiet build
	@touch $@
