# Every target works on a machine that has only Python 3.10 to 3.13 and make.

PYTHON  ?= python3
# The number of processes in which pytest runs tests, e.g. `make test WORKERS=8`.
WORKERS ?= 2
VENV    := .venv
BIN     := $(CURDIR)/$(VENV)/bin
OLDEST  := .venv-oldest
NEWEST  := .venv-newest
DISTRIBUTED := .venv-distributed
AIRFLOW := .venv-airflow
WHEEL   := .venv-wheel
BENCH   := .venv-bench
BENCH_DUCKDB := .venv-bench-duckdb
EXAMPLE := example_project
DAGSTER_TESTS := tests/dagster tests/end_to_end
# Lines that the tests run, in percent: just below what was measured. `make test` fails below it if COVERAGE is set.
FLOOR   := 97
MEASURE := $(if $(COVERAGE),--cov --cov-report=term:skip-covered --cov-fail-under=$(FLOOR))
PYTEST  := -m pytest --numprocesses $(WORKERS) --dist worksteal
# What a pass with other dependencies runs: not what they cannot change (tests/conftest.py).
AGAIN   := $(PYTEST) --again
# From Python 3.12 on, the interpreter itself counts lines, which costs little; before, a tracer is called at every call.
test coverage: export COVERAGE_CORE = $(shell $(PYTHON) -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')
export DAGSTER_DISABLE_TELEMETRY := yes
# Many machines for CI and images of containers set it. The tests start hundreds of processes, each of which would compile
# pandas and Dagster anew: more than half of what those processes cost.
unexport PYTHONDONTWRITEBYTECODE
demo ui: export DAGSTER_HOME := $(CURDIR)/$(EXAMPLE)/.dagster_home

.PHONY: help demo demo-postgres ui setup-system environments test test-fast coverage soak check format docs bench wheel airflow-test clean clean-demo

help:            ## list these targets
	@sed -n 's/^\([a-z0-9-]*\): *\(.*\)## \(.*\)/make \1\t\3/p' Makefile | expand -t 20

demo: $(VENV)/ready   ## backfill a year of real data into an embedded data source, twice
	$(BIN)/python -m nyc_airports.demo

demo-postgres: $(VENV)/ready   ## the same on PostgreSQL: the one you name, one that runs here, or one from a wheel
	$(BIN)/python -m nyc_airports.demo_postgres

ui: $(VENV)/ready     ## open the example in the Dagster UI, after `make demo`
	mkdir -p $(DAGSTER_HOME)
	test -e $(DAGSTER_HOME)/dagster.yaml || cp $(EXAMPLE)/instance.yaml $(DAGSTER_HOME)/dagster.yaml
	@echo "Schedules and sensors are off. Switch them on at http://127.0.0.1:3000/automation"
	cd $(EXAMPLE) && $(BIN)/dg dev --host 127.0.0.1 --port 3000

setup-system:    ## set up what tests need from the system beyond Python: RabbitMQ, Java, Chromium
	@$(PYTHON) -m tests.support.system_parts

# With --jobs 2, two of them are installed at a time.
environments: $(VENV)/ready $(OLDEST)/ready $(NEWEST)/ready $(DISTRIBUTED)/ready   ## install everything that the other targets need

# Every pass runs, even after an earlier one failed: a cause often shows in only one of them. The fourth mostly waits for
# processes, so it runs next to the others, from the first on; its output is kept, and follows theirs.
test: $(VENV)/ready $(OLDEST)/ready $(NEWEST)/ready $(DISTRIBUTED)/ready   ## run all tests with current, oldest and newest dependencies (about 30 minutes on two cores)
	@failed=; export TEMPORIS_TESTS_LEFT_OUT=$$(mktemp); distributed=$$(mktemp); \
	$(CURDIR)/$(DISTRIBUTED)/bin/python -m pytest tests/distributed >$$distributed 2>&1 & fourth=$$!; \
	echo "1 of 4: all tests"; \
	$(BIN)/python $(PYTEST) $(MEASURE) || failed="constraints.txt"; \
	echo "2 of 4: what versions can change, with the oldest dependencies that pyproject.toml declares"; \
	$(CURDIR)/$(OLDEST)/bin/python $(AGAIN) || failed="$$failed constraints-oldest.txt"; \
	echo "3 of 4: the tests of the Dagster surface, with the newest Dagster"; \
	$(CURDIR)/$(NEWEST)/bin/python $(AGAIN) $(DAGSTER_TESTS) || failed="$$failed constraints-newest.txt"; \
	wait $$fourth || failed="$$failed constraints-distributed.txt"; \
	echo "4 of 4: the tests of distributed runs, which ran next to the others, one after the other"; \
	cat $$distributed; \
	if test -s $$TEMPORIS_TESTS_LEFT_OUT; then echo "Left out:"; sort -u $$TEMPORIS_TESTS_LEFT_OUT; fi; \
	rm -f $$TEMPORIS_TESTS_LEFT_OUT $$distributed; \
	test -z "$$failed" || { echo "Tests failed with the dependencies of: $$failed"; exit 1; }

test-fast: $(VENV)/ready   ## run the tests once, in one environment, without the end-to-end ones
	$(BIN)/python $(PYTEST) --ignore tests/end_to_end

coverage: $(VENV)/ready   ## run all tests once, and list the lines that none of them runs
	$(BIN)/python $(PYTEST) --cov --cov-report=term-missing:skip-covered

soak: $(VENV)/ready $(DISTRIBUTED)/ready   ## run all tests, the long and random ones in their long form (more than an hour)
	$(BIN)/python -m pytest --soak
	$(CURDIR)/$(DISTRIBUTED)/bin/python -m pytest --soak tests/distributed

check: $(VENV)/ready  ## check lint, format, types and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/codespell --check-hidden
	$(BIN)/hadolint deploy/Dockerfile

format: $(VENV)/ready ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/ready   ## build the documentation as a site in site/; a dead link is an error
	$(BIN)/python docs/build_site.py
	@echo "Look at it: python3 -m http.server --bind 127.0.0.1 --directory site 8000"

# SCRIPTS="store delivery" measures only these; OPTIONS=--quick takes a tenth of the rows and leaves the page alone.
bench: $(BENCH)/ready $(BENCH_DUCKDB)/ready   ## measure speed and memory next to peers, and write docs/benchmarks.md (about half an hour)
	$(CURDIR)/$(BENCH)/bin/python -m benchmarks run $(OPTIONS) $(SCRIPTS)

# The source distribution is built first and the wheel from it, so both are complete.
wheel: $(VENV)/ready  ## build the distributions, install the wheel into an empty environment, use it there
	rm -rf dist && $(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv --clear $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet dist/*.whl
	$(BIN)/python -m pytest tests/acceptance/test_wheel.py tests/acceptance/test_sdist.py --wheel-python $(WHEEL)/bin/python
	$(WHEEL)/bin/python -m pip install --quiet --constraint constraints.txt dagster-dg-cli "typer<0.26"
	$(BIN)/python -m pytest tests/acceptance/test_dg.py --wheel-python $(WHEEL)/bin/python
	$(BIN)/python -m pytest tests/acceptance/test_image.py --wheel-python $(WHEEL)/bin/python

# Airflow pins hundreds of packages, so it has an environment of its own, and CI does not run this.
airflow-test: $(AIRFLOW)/ready   ## run the blocks of docs/airflow.md as a DAG, with Airflow 3
	$(CURDIR)/$(AIRFLOW)/bin/python -m pytest tests/airflow

clean-demo:      ## reset the example: its Dagster home and databases
	rm -rf $(EXAMPLE)/.dagster_home $(EXAMPLE)/.postgres $(EXAMPLE)/*.db $(EXAMPLE)/*.db-* $(EXAMPLE)/*.partial-*

clean: clean-demo    ## remove the environments and everything built as well
	rm -rf $(VENV) $(OLDEST) $(NEWEST) $(DISTRIBUTED) $(AIRFLOW) $(WHEEL) $(BENCH) $(BENCH_DUCKDB) dist site

# pip older than 25.1 has no --group, so it is brought up to date first. Most of what it installs is never imported, so
# Python compiles it when it is.
$(VENV)/ready: pyproject.toml constraints.txt $(EXAMPLE)/pyproject.toml
	@echo "Installing everything into $(VENV), once: this takes one to five minutes, mostly downloads."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable . --editable $(EXAMPLE) \
		--group test --group check --group docs --group example --group browser
	touch $@

$(DISTRIBUTED)/ready: OF_ENGINES := --group distributed
$(OLDEST)/ready $(NEWEST)/ready $(DISTRIBUTED)/ready: .venv-%/ready: constraints-%.txt pyproject.toml $(EXAMPLE)/pyproject.toml
	@echo "Installing the $* dependencies into .venv-$*, once: this takes one to five minutes."
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-$*/bin/python -m pip install --quiet --no-compile --constraint $< --editable . --editable $(EXAMPLE) --group test $(OF_ENGINES)
	touch $@

$(AIRFLOW)/ready: constraints-airflow.txt pyproject.toml
	@echo "Installing Airflow into $(AIRFLOW), once: this takes one to three minutes."
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(AIRFLOW)/bin/python -m pip install --quiet --no-compile --constraint $< --editable . --group airflow
	touch $@

# Peers that need an older pandas than everything else are in an environment of their own, without the library.
$(BENCH)/ready: OF_PEERS := --editable . --group test --group bench
$(BENCH_DUCKDB)/ready: OF_PEERS := --group bench-duckdb
$(BENCH)/ready $(BENCH_DUCKDB)/ready: %/ready: constraints.txt pyproject.toml
	@echo "Installing what the library is compared with into $*, once: this takes one to three minutes."
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$*/bin/python -m pip install --quiet --no-compile --constraint $< $(OF_PEERS)
	touch $@
