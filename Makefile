# From a bare machine to figures. Needs GNU make, bash and Python 3.11 or later; all else goes into .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

CORES ?= all
SNAKEMAKE_FLAGS ?=
PYTEST_FLAGS ?=

BIN := .venv/bin
# Rules and tests call installed commands. Not exported, or envs/build would find the Python it is about to replace.
WITH_BIN = PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help run test faults fuzz cluster cluster-long lint lock pictures atlas docs clean

help: ## show this
	@echo 'Usage: make TARGET [VARIABLE=value ...]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12
	@echo 'Variables:'
	@sed -n 's/^#   \([A-Z_][A-Z_]*\)  *\(.*\)/  \1\t\2/p; s/^# \{19,\}\(.*\)/\t\1/p' envs/build | expand -t 18
	@printf '  CORES\tcores a sweep may use; default: all\n  SNAKEMAKE_FLAGS, PYTEST_FLAGS   handed on as they are\n' | expand -t 18

run: ## run the configured studies, then show their claims, figures and pages
	@envs/build runtime
	@$(WITH_BIN) $(BIN)/snakemake --cores $(CORES) $(SNAKEMAKE_FLAGS)
	@$(BIN)/stepscape status

test: lint ## check everything: lint, then the tests
	$(WITH_BIN) $(BIN)/pytest $(PYTEST_FLAGS)

faults: ## damage, kill, fill disks, some hundred times; writes docs/faults.md; full disks need root
	@envs/build dev
	FAULTS=docs/faults.md $(WITH_BIN) $(BIN)/pytest tests/faults --override-ini timeout=3600 $(PYTEST_FLAGS)

fuzz: ## ten thousand broken studies, each of which must give a plan or a message
	@envs/build dev
	$(WITH_BIN) STEPSCAPE_MUTATIONS=10000 $(BIN)/pytest tests/property/test_mutations.py --timeout 3600 $(PYTEST_FLAGS)

cluster: ## the tests on a SLURM that they start themselves; needs root once, on Debian
	@envs/build dev
	$(WITH_BIN) $(BIN)/pytest tests/cluster $(PYTEST_FLAGS)

cluster-long: ## the same with a pack of ten minutes that is preempted twice
	@envs/build dev
	$(WITH_BIN) $(BIN)/pytest tests/cluster/preemption.py $(PYTEST_FLAGS)

lint: ## check style, types and rules only
	@envs/build dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(WITH_BIN) $(BIN)/snakemake --lint

lock: ## pin the newest versions that fit pyproject.toml, in envs/
	@envs/build lock

pictures: run ## put the figures of the quickstart into docs/pictures, where README.md shows them
	cp results/studies/quickstart/figures/*.png docs/pictures/

atlas: ## run all studies of the atlas, then write what they found into docs/atlas/
	@envs/build runtime
	@$(WITH_BIN) $(BIN)/snakemake --cores $(CORES) --configfile config/atlas.yaml $(SNAKEMAKE_FLAGS)
	@$(BIN)/stepscape atlas

docs: ## build the documentation into docs/_build/html; examples are executed, and a dead link is an error
	@envs/build dev
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --jobs auto --quiet --conf-dir docs \
	  --doctree-dir docs/_build/doctrees . docs/_build/html
	@echo 'Open docs/_build/html/index.html'

clean: ## remove .venv, .snakemake and caches; results/ stays
	rm -rf .venv .snakemake .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist docs/_build src/*.egg-info
	find . -name .git -prune -o -path ./results -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
