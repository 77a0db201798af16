# Each target does all the set-up that it needs; README has the same commands for machines without make.
# Another Python: make PYTHON=python3.12 course
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install course test build site bench clean

install: .venv/installed

course: .venv/installed
	$(BIN)/tinyshrink course

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

build: .venv/installed
	$(BIN)/python grading/build.py

site: .venv/installed
	$(BIN)/python solutions/site/build_site.py

# one or some of them: make bench NAMES="channels huffman"; those of a few minutes: make bench NAMES=--quick
bench: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[peers]"
	$(BIN)/python benchmarks/run.py $(NAMES)

.venv/installed: setup.cfg
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --editable ".[dev]"
	mkdir -p .venv/etc/jupyter # an editable install leaves out setup.cfg's data_files
	cp grading/jupyter/nbgrader_config.py .venv/etc/jupyter
	touch $@

clean:
	rm -rf report build .pytest_cache .hypothesis .mypy_cache .ruff_cache
