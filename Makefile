# Each target does all the set-up that it needs; README has the same commands for machines without make.
# Another Python: make PYTHON=python3.12 course
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install course test build clean

install: .venv/installed

course: .venv/installed
	$(BIN)/tinyshrink course

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

build: .venv/installed
	$(BIN)/python grading/build.py

.venv/installed: setup.cfg
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@

clean:
	rm -rf report build .pytest_cache .hypothesis .ruff_cache
