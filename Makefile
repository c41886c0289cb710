# The commands of this project. Each one sets up what it needs by itself, in .venv, and can be run
# first; ARGS goes to the program that it starts:  make test ARGS="-k sqlite -x"

VENV := .venv
PYTHON := $(VENV)/bin/python

export ONLY
# The programs find their packages in .venv alone.
unexport PYTHONHOME PYTHONPATH
# Nor do they look into the folder where they are started: in CI, .venv has the wheel, and leaderlock/
# of the checkout would hide it.
export PYTHONSAFEPATH := 1
# Where the tests' hundreds of processes may keep no bytecode, each one compiles the package again.
unexport PYTHONDONTWRITEBYTECODE
# mkdocs-material announces another program's next release at every build.
export NO_MKDOCS_2_WARNING := 1

.PHONY: help demo demo-all servers test matrix release check chaos bench fmt docs
# Two set-ups at once would write into the same .venv.
.NOTPARALLEL:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# By the environment: a URL may hold a password, and a process list shows arguments.
demo: export DEMO_URL := $(URL)
demo: $(VENV)/.ready-$(if $(URL),stores,demo) ## run the billing demo; on a store of yours: URL=etcd://...
	@$(PYTHON) -m examples.billing $(ARGS)

demo-all: $(VENV)/.ready-dev servers ## run it on every store, and compare
	@$(PYTHON) -m examples.billing.everywhere $(ARGS)

servers: ## unpack the real stores that the tests start; nothing is installed
	@scripts/servers

# Six workers, also on two cores: five sixths of the time the tests wait, for leases that run out.
test: $(VENV)/.ready-dev servers ## run the tests, on real stores
	$(PYTHON) -m pytest -n 6 --dist worksteal $(ARGS)

matrix: $(VENV)/.ready-dev servers ## the tests on every Python that is here, old and new versions; ONLY="3.13 oldest"
	@$(PYTHON) -m tests.packaging.matrix $(ARGS)

release: $(VENV)/.ready-dev ## check the version, and build what is published of it into dist/
	@$(PYTHON) scripts/release.py

check: $(VENV)/.ready-dev ## lint, formatting, types and the documentation, as CI checks them
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mkdocs build --strict

chaos: $(VENV)/.ready-dev servers ## hold elections under faults and check them; ARGS="--backend consul --seconds 600"
	@$(PYTHON) -m leaderlock.testing.chaos $(ARGS)

bench: $(VENV)/.ready-dev servers ## leaderlock beside its peers and each store's floor; ARGS="--stores redis --quick"
	@$(PYTHON) -m benchmarks $(ARGS)

fmt: $(VENV)/.ready-dev ## format the code and mend what the linter can mend
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: $(VENV)/.ready-dev ## build the documentation into site/
	$(PYTHON) -m mkdocs build --strict
	@echo "open site/index.html; or, with search, http://127.0.0.1:8000 of: $(PYTHON) -m http.server -b 127.0.0.1 -d site"

$(VENV)/.ready-%: pyproject.toml
	@scripts/bootstrap $*
