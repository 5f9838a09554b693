# make demo   a network becomes a slim one, proven and exported: build/demo/
# make test   every check: style, types, tests, front end, browser
# make lab    JupyterLab with the extension on and the first notebook open
# make serve  a server in an environment of its own: NVIDIA Triton on Linux x86-64, else MLServer
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
NOTEBOOK := demo_notebooks/01-compress-a-network.ipynb
FRONT_END := $(shell find labextension -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -path '*/.yarn/*' 2>/dev/null)
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)  # a container's only user
export PATH := $(BIN):$(PATH)

.PHONY: demo test lab serve serve-mlserver install chromium lint unit front-end browser clean

install: .venv/installed

.venv/python: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	touch $@

.venv/installed: .venv/python $(FRONT_END)
	rm -rf jlab_compress/labextension jlab_compress/notebook/static
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	$(BIN)/jupyter-builder develop . --overwrite
	touch $@

demo: install
	$(BIN)/python demo_notebooks/run.py $(NOTEBOOK) build/demo
	@ls -l build/demo

lab: install
	$(BIN)/jupyter lab $(ROOT) $(NOTEBOOK)

test: lint unit front-end browser
	@echo "every check passed"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: install
	$(BIN)/python -m jlab_compress.deployment.servers.setup.install

serve-mlserver: install
	$(BIN)/python -m jlab_compress.deployment.servers.setup.install mlserver

unit: serve serve-mlserver
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

front-end: install
	cd labextension && jlpm lint && jlpm test

browser: install serve chromium
	cd labextension && jlpm test:ui

chromium:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq chromium; \
	  else \
	    echo "The browser test needs Chromium: sudo apt-get install chromium" >&2; exit 1; \
	  fi; }

clean:
	rm -rf .venv build dist labextension/node_modules labextension/lib
	rm -rf jlab_compress/labextension jlab_compress/notebook/static
