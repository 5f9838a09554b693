# make demo   a network becomes a slim one, proven and exported: build/demo/
# make test   every check: style, types, tests, front end, browser
# make lab    JupyterLab with the extension on and the first notebook open
# make serve  a server in an environment of its own: NVIDIA Triton on Linux x86-64, else MLServer
# make lock   the lists of packages with the hash of every file, after a bound or a pin has changed
# make sbom   what the package installs and its bundles hold, as CycloneDX: build/sbom.json
# make oldest the quick tests with the oldest versions that pyproject.toml allows; NEWEST=torch leaves torch as it is
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := demo
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
NOTEBOOK := demo_notebooks/01-compress-a-network.ipynb
FRONT_END := $(shell find labextension -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -path '*/.yarn/*' 2>/dev/null)
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)  # a container's only user
export PATH := $(BIN):$(PATH)

.PHONY: demo test lab serve serve-mlserver install chromium lint unit front-end browser oldest lock sbom clean

install: .venv/all

# Every file has a hash in requirements/, but for torch: its builds differ between registries, so its version is pinned.
.venv/all .venv/test: constraints.txt pyproject.toml requirements/all.txt requirements/test.txt $(FRONT_END)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	rm -rf jlab_compress/labextension jlab_compress/notebook/static
	$(PIP) --no-deps --require-hashes --requirement requirements/$(@F).txt
	$(PIP) --constraint constraints.txt torch
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/jupyter-builder develop . --overwrite
	touch .venv/all $@

demo: install
	$(BIN)/python demo_notebooks/run.py $(NOTEBOOK) build/demo
	@ls -l build/demo

lab: install
	$(BIN)/jupyter lab $(ROOT) $(NOTEBOOK)

# What needs one core each goes first and side by side; the tests and the browser then have both cores.
test: .venv/test
	$(MAKE) -o .venv/all -o .venv/test -j2 --output-sync lint front-end serve serve-mlserver chromium
	$(MAKE) -o .venv/all -o .venv/test unit browser
	@echo "every check passed"

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: install
	$(BIN)/jlab-compress set-up

serve-mlserver: install
	$(BIN)/jlab-compress set-up mlserver

unit: .venv/test serve serve-mlserver
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup

front-end: .venv/test
	cd labextension && jlpm lint && jlpm test

browser: .venv/test serve chromium
	cd labextension && jlpm test:ui

chromium:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq chromium; \
	  else \
	    echo "The browser test needs Chromium: sudo apt-get install chromium" >&2; exit 1; \
	  fi; }

FAST := core execution fitting graph inspection slim validation deployment/program deployment/onnx notebook
oldest: .venv/all
	rm -rf build/oldest
	$(PYTHON) -m venv build/oldest
	$(PYTHON) tools/oldest_versions.py all $(if $(NEWEST),--newest $(NEWEST)) > build/oldest/requirements.txt
	build/oldest/bin/pip install --quiet $(foreach name,$(NEWEST),"$(shell grep -i '^$(name)==' constraints.txt)") \
	  --requirement build/oldest/requirements.txt "pytest>=8" "hypothesis>=6.100" psutil transformers
	build/oldest/bin/pip install --quiet --no-deps --editable .
	OMP_NUM_THREADS=1 build/oldest/bin/pytest -q $(addprefix tests/,$(FAST)) -k "not those_of_scipy"

sbom: .venv/test
	$(BIN)/python tools/sbom.py build/sbom.json

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --constraint constraints.txt uv
	$(PYTHON) tools/lock.py build/lock/bin/uv

clean:
	rm -rf .venv build dist labextension/node_modules labextension/lib
	rm -rf jlab_compress/labextension jlab_compress/notebook/static
