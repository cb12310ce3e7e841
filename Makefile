# make book: environment, notebooks, book in _build/html.   make test: environment, every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
SMOKE := _build/smoke
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: book test test-long test-cluster lint clean
.DELETE_ON_ERROR:

book: $(VENV)/.book
	$(BIN)/stocha book

test: lint
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not book and not browser and not cluster"
	$(BIN)/stocha book --scale smoke --output $(SMOKE)
	STOCHA_BOOK_HTML=$(SMOKE)/_build/html $(BIN)/pytest -m "book or browser" -rs

# The tests that draw their examples, ten times as many.
test-long: $(VENV)/.dev
	STOCHA_TEST_LONG=1 $(BIN)/pytest -n $(JOBS) -m random

# A sweep on a one-node Slurm, installed from Debian where it is missing.
test-cluster: $(VENV)/.dev
	tests/cluster/slurm-install.sh
	$(BIN)/pytest -m cluster -rs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf _build book/executed runs

$(VENV)/.base:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.book: $(VENV)/.base pyproject.toml constraints.txt
	@echo "installing the library and the book's packages (pinned in constraints.txt) ..."
	$(PIP) -e '.[book]'
	@touch $@

$(VENV)/.dev: $(VENV)/.book
	@echo "installing the checks' packages (pinned in constraints.txt) ..."
	$(PIP) -e '.[book,cluster,dev]'
	@touch $@
