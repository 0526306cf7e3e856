# The one door to the project. Every target sets up what it needs and may be the first one to run;
# it takes Python >= 3.11, make and git, on Linux, on a Mac with Apple silicon, or in WSL.
# `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PORT ?= 8000
WORKERS ?= 2

BIN := .venv/bin
PY := $(BIN)/python
READY := .venv/.ready
PEERS := .venv/.peers
OLD_WIDGETS := .venv/ipywidgets-7.7.1
CHROMIUM := .venv/.chromium
NODE := book/_tools/node_modules/.ready

# Progress bars are for readers at a screen.
# Two notebooks run at once on two cores: one thread each, and threads that wait must not spin, or
# they run several times slower.
BATCH := TQDM_DISABLE=1 PYTHONHASHSEED=0 OMP_WAIT_POLICY=PASSIVE OMP_THREAD_LIMIT=1

.PHONY: help venv book test check lint unit notebooks site mutants serve lab bench lock repository \
	strip run-chapter clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# --- what the targets stand on -------------------------------------------------------------------

$(READY): requirements.lock
	@if test -x $(PY); then $(PY) book/_tools/door.py; else $(PYTHON) book/_tools/door.py; fi
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "Installing the packages of requirements.lock into .venv (some minutes, once) ..."
	@$(PY) -m pip install -qq --disable-pip-version-check -r requirements.lock || { \
		echo "If pip found no torch: the lock's has builds for Python 3.11 to 3.14, this is" \
		"$$($(PY) --version). Another one: make clean, then make PYTHON=/path/to/python3.13" >&2; \
		exit 1; }
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

$(NODE): book/_tools/package.json book/_tools/package-lock.json | $(READY)
	@$(PY) book/_tools/assets.py

# The ipywidgets of Colab, for one test. Without a network the test is skipped.
$(OLD_WIDGETS): | $(READY)
	@rm -rf $@.part
	@if $(PY) -m pip install -qq --disable-pip-version-check --no-deps --target $@.part \
		ipywidgets==7.7.1 ipython-genutils==0.2.0; \
		then mv $@.part $@; else echo "No ipywidgets 7 to test with: going on without" >&2; fi

$(CHROMIUM): | $(READY)
	@$(PY) book/_tools/chromium.py
	@touch $@

venv: $(READY)  ## the virtual environment .venv, from requirements.lock

# --- the book ------------------------------------------------------------------------------------

book: $(READY) $(NODE)  ## execute every chapter and build the site in _build/html
	@$(BATCH) $(PY) book/_tools/build.py

serve: book  ## build if needed, then serve the site on 127.0.0.1 (PORT=8000)
	@echo "The book is at http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(READY)  ## JupyterLab on the chapters
	@cd book && ../$(BIN)/jupyter lab --ip=127.0.0.1 $$([ "$$(id -u)" != 0 ] || echo --allow-root)

# --- the proof -----------------------------------------------------------------------------------

test: lint unit notebooks site  ## everything: lint, types, unit tests, stored outputs, site, browser

# The tests of the claims train models; they wait for `make test`.
check: lint $(NODE)  ## the fast subset for use while writing
	@$(BATCH) $(PY) -m pytest -q -n $(WORKERS) -m "not site and not browser" \
		--ignore=tests/claims tests

lint: $(READY) $(NODE)  ## ruff, mypy; eslint and types of the scripts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/npm --prefix book/_tools --silent run lint

unit: $(READY) $(NODE) $(OLD_WIDGETS)  ## unit, oracle, property and doctests
	@$(BATCH) $(PY) -m pytest -q -n $(WORKERS) -m "not site and not browser" \
		--doctest-modules companion tests

notebooks: $(READY)  ## run every chapter and compare the stored numbers
	@$(BATCH) $(PY) -m pytest -q -n $(WORKERS) --dist loadscope \
		--nbval-lax --nbval-current-env book/*.ipynb

site: $(READY) $(CHROMIUM) book  ## checks on the built site, in files and in a browser
	@BOOK_IS_BUILT=1 $(BATCH) $(PY) -m pytest -q -n $(WORKERS) --dist loadfile \
		-m "site or browser" tests

mutants: $(READY)  ## make known mistakes in the package; a test must catch each
	@$(BATCH) $(PY) tests/mutation/run_mutants.py

# Without a network the benchmarks run all the same, less what compares with other packages.
$(PEERS): pyproject.toml | $(READY)
	@if $(PY) -m pip install -qq --disable-pip-version-check -c requirements.lock -e ".[bench]"; \
		then touch $@; else echo "No other packages to compare with: going on without" >&2; fi

bench: $(READY) $(PEERS)  ## the benchmarks
	@for script in benchmarks/bench_*.py; do echo "$$script"; $(PY) "$$script"; done

# --- upkeep --------------------------------------------------------------------------------------

strip: $(READY)  ## remove the outputs that are not kept from the chapters
	@$(PY) book/_tools/notebooks.py strip book/*.ipynb

run-chapter: $(READY)  ## run a chapter in a fresh kernel and keep its checked outputs: CHAPTER=03_elbo
	@$(BATCH) $(PY) book/_tools/notebooks.py run book/$(CHAPTER).ipynb

repository: $(READY)  ## set the address of the repository everywhere: URL=https://github.com/OWNER/NAME
	@$(PY) book/_tools/set_repository.py "$(URL)"

# A local version such as +cpu is what this machine calls the wheel; no registry has it.
lock:  ## make requirements.lock from pyproject.toml
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install -qq --disable-pip-version-check "pip-tools>=7.4"
	@echo "torch==2.13.0" > .venv/constraints.txt
	@$(BIN)/pip-compile --quiet --extra book --extra scale --extra test --strip-extras \
		--allow-unsafe --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-options \
		--constraint .venv/constraints.txt --output-file .venv/requirements.txt pyproject.toml
	@{ echo "# Made by \`make lock\` from pyproject.toml."; \
		sed -e '/^#/d' -e '/^$$/d' -e 's/+[a-z0-9.]*$$//' .venv/requirements.txt; } > requirements.lock
	@echo "requirements.lock: $$(grep -c == requirements.lock) packages"

clean:  ## remove what the others made
	@rm -rf .venv _build book/_tools/node_modules book/_static/fonts *.egg-info \
		.pytest_cache .mypy_cache .ruff_cache
	@find companion tests book benchmarks -name __pycache__ -o -name .ipynb_checkpoints \
		| xargs -r rm -rf
