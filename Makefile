# `make help` lists the targets. Everything is installed into .venv; nothing outside the checkout is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTS ?= tests
# Many tests wait for servers: two files at a time keep two cores busy, with one OpenMP thread each: more of them would
# wait for each other.
AT_ONCE ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench screenshots format lint types words wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## a study of real photographs, served: subjects vote, the matrix fills, a metric is calibrated
	$(BIN)/discern demo

test: lint types ## style, types, and every test (TESTS=tests/ranking for a part)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not slow" -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder $(TESTS)

test-slow: $(INSTALLED) ## the tests that take minutes
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow $(TESTS)

bench: $(INSTALLED) ## speed as ratios, into docs/benchmarks.md (PARTS=selection for a part); keep the machine quiet meanwhile
	$(BIN)/python -m benchmarks $(PARTS)

screenshots: $(INSTALLED) ## every page of a subject's session, into docs/screenshots
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.screenshots

lint: $(INSTALLED) ## style alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## types alone
	$(BIN)/mypy -n auto

format: $(INSTALLED) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

words: $(INSTALLED) ## bring the catalogues of subjects' languages up to date with their pages; then translate what is named
	$(BIN)/python -m app.subjects.words

wheel: $(INSTALLED) ## build dist/discern-*.whl
	$(BIN)/python -m build --wheel

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# constraints.txt holds the versions that were tested together; the bounds in pyproject.toml hold what may work.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Discern needs Python 3.11 or newer; choose one with: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipelines,ray,dev]'
	@touch $@
