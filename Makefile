# Every target works on a machine that has only Python 3.10+ and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
OLDEST := .venv-oldest
NEWEST := .venv-newest
EXAMPLE := example_project
DAGSTER_TESTS := tests/dagster tests/end_to_end
export DAGSTER_DISABLE_TELEMETRY := yes
demo ui: export DAGSTER_HOME := $(CURDIR)/$(EXAMPLE)/.dagster_home

.PHONY: demo ui test check format soak bench wheel clean help

help:            ## what there is
	@sed -n 's/^\([a-z0-9-]*\): *\(.*\)## \(.*\)/make \1\t\3/p' Makefile

demo: $(VENV)/ready   ## backfill a year of real data into an embedded data source, twice
	$(BIN)/python -m nyc_airports.demo

ui: $(VENV)/ready     ## the Dagster UI over the example, after `make demo`
	mkdir -p $(DAGSTER_HOME)
	test -e $(DAGSTER_HOME)/dagster.yaml || cp $(EXAMPLE)/instance.yaml $(DAGSTER_HOME)/dagster.yaml
	@echo "Schedules and sensors are off: switch them on at http://127.0.0.1:3000/automation"
	cd $(EXAMPLE) && $(BIN)/dg dev --host 127.0.0.1 --port 3000

# Each run starts also where one before it failed: one cause is often seen in one of them only.
test: $(VENV)/ready $(OLDEST)/ready $(NEWEST)/ready   ## all tests, and those with the oldest dependencies and the newest Dagster
	@failed=; \
	echo "1 of 3: all tests"; \
	$(BIN)/python -m pytest -n 2 || failed="constraints.txt"; \
	echo "2 of 3: all tests, with the oldest dependencies that are declared"; \
	$(CURDIR)/$(OLDEST)/bin/python -m pytest -n 2 || failed="$$failed constraints-oldest.txt"; \
	echo "3 of 3: the tests of the Dagster surface, with the newest Dagster"; \
	$(CURDIR)/$(NEWEST)/bin/python -m pytest -n 2 $(DAGSTER_TESTS) || failed="$$failed constraints-newest.txt"; \
	test -z "$$failed" || { echo "Tests failed with the dependencies of: $$failed"; exit 1; }

check: $(VENV)/ready  ## lint, format, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/ready ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

soak: $(VENV)/ready   ## the long and random tests in their long form
	$(BIN)/python -m pytest --soak

bench: $(VENV)/ready  ## speed, as ratios measured side by side
	$(BIN)/python benchmarks/checks.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/mirror.py

wheel: $(VENV)/ready  ## build the wheel, install it into an empty environment, use it there
	rm -rf dist && $(BIN)/python -m build --outdir dist . 
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet dist/*.whl
	cd / && $(CURDIR)/.venv-wheel/bin/python $(CURDIR)/.ci/try_wheel.py
	.venv-wheel/bin/python -m pip install --quiet --constraint constraints.txt dagster-dg-cli "typer<0.26"
	cd / && $(CURDIR)/.venv-wheel/bin/python $(CURDIR)/.ci/try_dg.py

clean:           ## remove environments and everything built
	rm -rf .venv .venv-oldest .venv-newest .venv-wheel dist $(EXAMPLE)/.dagster_home $(EXAMPLE)/*.db

# pip older than 25.1 has no --group, so it is brought up to date first.
$(VENV)/ready: pyproject.toml constraints.txt $(EXAMPLE)/pyproject.toml
	@echo "Installing everything into $(VENV), once: this takes one to five minutes, mostly downloads."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --editable $(EXAMPLE) \
		--group test --group check --group example
	touch $@

$(OLDEST)/ready $(NEWEST)/ready: .venv-%/ready: constraints-%.txt pyproject.toml $(EXAMPLE)/pyproject.toml
	@echo "Installing the $* dependencies into .venv-$*, once: this takes one to five minutes."
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-$*/bin/python -m pip install --quiet --constraint $< --editable . --editable $(EXAMPLE) --group test
	touch $@
