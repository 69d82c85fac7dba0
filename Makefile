# `make demo` and `make test` do everything from a bare clone: they make VENV and install what they need into it.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

BIN := $(VENV)/bin
# The editable install links single files, so a file that came or went wants the install again: its stamp is named by the list of files.
FILES := $(shell find pipeline model cli -type f -not -name '*.pyc' | sort | cksum | cut -d' ' -f1)
STAMP := $(VENV)/.installed-$(FILES)

.PHONY: setup demo test test-all lint typecheck clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -rf build $(VENV)/.installed-*
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' --config-settings editable_mode=strict
	touch $@

demo: setup
	PATH="$(abspath $(BIN)):$$PATH" tests/synthesis/demo

test: setup
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow' --durations 30

test-all: setup
	$(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile thorough --durations 30

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell pipeline model cli tests docs *.md Makefile pyproject.toml
	$(BIN)/python -m pytest -q -n 0 tests/test_language.py

typecheck: setup
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
