# Each target does all the set-up that it needs; README has the same commands for machines without make.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: course test build clean

course: .venv/installed
	$(BIN)/tinyshrink course

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

build: .venv/installed
	$(BIN)/python grading/build.py

.venv/installed: setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@

clean:
	rm -rf report build .pytest_cache .hypothesis .ruff_cache
