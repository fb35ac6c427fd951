# Set-up is part of every target: nothing needs to be installed by hand but Python 3.11 or later.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
COMPILED := build/compiled
LOWEST := build/lowest
TESTED_COMPILED := $(addprefix tests/gateway/,fairness learned wire workers clients endpoints proxy watch telemetry) \
  $(wildcard tests/gateway/replicas/test_whole_*.py tests/gateway/store/test_*.py)
# What leans on dependencies: files, HTTP on both sides, metrics, the command line.
TESTED_LOWEST := $(filter-out %/test_any_file.py,$(wildcard tests/gateway/config/test_*.py)) \
  $(addprefix tests/gateway/,clients endpoints ledger/test_fleet.py store watch telemetry test_cli.py test_cli_init.py test_serve.py) \
  $(addprefix tests/gateway/proxy/test_whole_,boundary.py clients.py connections.py outcomes.py) \
  $(wildcard tests/backend/test_engine_*.py)
FUZZED := tests/gateway/wire/test_any_stream.py tests/gateway/wire/test_any_request.py \
  tests/gateway/wire/test_any_credential.py tests/gateway/config/test_any_file.py
DRAWN_ANEW := $(addprefix tests/gateway/,fairness workers learned)
# The small tests of the pure packages, without the properties that take minutes.
MEASURED := $(addprefix tests/gateway/,learned workers wire) \
  $(patsubst %,tests/gateway/fairness/test_%.py,admission budgets cadence cheating holdings leased_limits lifts reckoning shared_time sharing short_way turns units)
MYPY_TESTS := $(BIN)/mypy --config-file tests/mypy.ini --cache-dir .mypy_cache/tests --no-error-summary
# Two at a time: the tests wait for real processes as much as they reckon.
SIDE_BY_SIDE := --numprocesses 2 --dist worksteal
SOURCES = $(shell find gateway evaluation tests -name '*.py' -o -name '*.json' -o -name '*.yaml' -o -name '*.css')

# Where the caller's shell keeps Python from storing compiled modules, each of the hundreds of processes that the tests
# start would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run run-vllm test test-compiled test-lowest test-replicas test-upgrades test-ledger test-replicas-live test-vllm test-clients coverage check format bench bench-datapath bench-processes bench-replicas bench-scheduler soak fuzz demo schema clean

run: $(VENV)/.run ## The gateway on port 8000 in front of two embedded workers
	@exec $(BIN)/vtc-gateway serve config.yaml --create-keys

run-vllm: $(VENV)/.run ## The gateway in front of real vLLM with a small language model
	@scripts/install-vllm
	@exec scripts/run-vllm

demo: $(VENV)/.run ## A flood and two modest tenants, live in the terminal
	@$(BIN)/vtc-gateway demo

test: $(VENV)/.dev ## The ordinary test suite
	@scripts/install-system
	@$(BIN)/pytest -m 'not vllm and not clients and not live' $(SIDE_BY_SIDE)

test-compiled: $(COMPILED)/.done ## The gateway's own tests once more, with the request's way compiled
	@cd $(COMPILED) && $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(TESTED_COMPILED)

test-lowest: $(VENV)/.dev ## The tests of what leans on dependencies, with the oldest allowed release of each
	@scripts/install-system
	@$(BIN)/python scripts/install-lowest $(LOWEST)
	@$(LOWEST)/bin/pytest -m 'not vllm and not clients and not live' $(SIDE_BY_SIDE) $(TESTED_LOWEST)

test-replicas: $(VENV)/.dev ## Replicas at length: the script on real stores, 100,000 random calls on each, and 10,000 random fleets
	@scripts/install-system
	@REPLICA_OPERATIONS=100000 REPLICA_PROGRAMMES=500 REPLICA_CASES=8500 $(BIN)/pytest $(SIDE_BY_SIDE) tests/gateway/replicas

# Shares of real processes in real time: a case that fails beside another one is played once more, alone.
test-replicas-live: $(VENV)/.dev ## Three gateways, their engines and a real store through every fault of the store and of a gateway, and replaced; limits of tenants
	@scripts/install-system
	@$(BIN)/pytest $(SIDE_BY_SIDE) -m live tests/gateway/store/live || \
	  $(BIN)/pytest -m live --last-failed --last-failed-no-failures none tests/gateway/store/live

test-upgrades: $(VENV)/.dev ## Twenty upgrades under load by take-over, and twenty by a replacement of replicas, none with a failed request
	@scripts/install-system
	@UPGRADES=20 $(BIN)/pytest -k under_load tests/gateway/processes/test_upgrades.py tests/gateway/store/live/test_replacements.py

test-ledger: $(VENV)/.dev ## The ledger of 200 processes that are killed under load, without a database and with one
	@scripts/install-system
	@LEDGER_KILLS=200 $(BIN)/pytest $(SIDE_BY_SIDE) tests/gateway/ledger/test_killed.py tests/gateway/ledger/test_fleet.py

test-vllm: $(VENV)/.dev ## The tests against real vLLM
	@scripts/install-vllm
	@$(BIN)/pytest tests/vllm

test-clients: $(VENV)/.dev ## The clients that people use, each against the gateway
	@scripts/install-clients
	@scripts/install-vllm
	@$(BIN)/pytest tests/real_clients

coverage: $(VENV)/.dev ## Lines and branches of the pure packages that their small tests leave out; each package has a floor
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -m 'not hypothesis' $(SIDE_BY_SIDE) $(MEASURED)
	@$(BIN)/coverage combine --quiet
	@for room in fairness learned wire workers; do $(BIN)/coverage report --include="gateway/$$room/*" || exit 1; done

check: $(VENV)/.dev ## Format, lint, types, import layers
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy --no-error-summary && $(MYPY_TESTS) && $(BIN)/lint-imports --no-logo >/dev/null

format: $(VENV)/.dev
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

bench: $(COMPILED)/.done ## Every bench, compiled, held to its targets; one that misses a target does not keep the others from running
	@scripts/install-bench --all
	@scripts/install-vllm
	@status=0; for bench in scheduler ledger blocking datapath processes 'fairness --engine vllm' 'isolation --engine vllm' \
	  'window --engine vllm' 'locality --engine vllm' 'locality --workers 4'; do \
	  (cd $(COMPILED) && $(BIN)/python -m gateway bench $$bench --check) || status=$$?; done; exit $$status

bench-datapath: $(COMPILED)/.done ## What a streamed chunk and a request cost, beside other proxies
	@scripts/install-bench --all
	@cd $(COMPILED) && $(BIN)/python -m gateway bench datapath --check

bench-replicas: $(COMPILED)/.done ## Shares, throughput and windows of three gateways with one account, a minute each
	@cd $(COMPILED) && $(BIN)/python -m gateway bench replicas --check

bench-processes: $(COMPILED)/.done ## What two processes with a store carry and cost, compared with one that has none
	@cd $(COMPILED) && $(BIN)/python -m gateway bench processes --check

bench-scheduler: $(COMPILED)/.done ## What a decision costs by tenants and queued requests
	@cd $(COMPILED) && $(BIN)/python -m gateway bench scheduler --check

soak: $(COMPILED)/.done ## A quarter of an hour of ordinary trouble: memory, descriptors, tasks and accounts come out as they were
	@cd $(COMPILED) && $(BIN)/python -m gateway bench soak --check

fuzz: $(VENV)/.dev ## Minutes of fresh examples: hostile bytes for whatever reads them, workloads for the pure packages
	@$(BIN)/pytest --hypothesis-profile=fresh -m hypothesis $(SIDE_BY_SIDE) $(DRAWN_ANEW)
	@$(BIN)/pytest --hypothesis-profile=fuzz $(SIDE_BY_SIDE) $(FUZZED)

schema: $(VENV)/.run ## What editors know of config.yaml, and the one here, which is the starter with a line for editors
	@$(BIN)/python -m gateway.config > docs/config.schema.json
	@{ printf '# yaml-language-server: $$schema=docs/config.schema.json\n#\n'; cat gateway/config/starter.yaml; } > config.yaml

clean:
	rm -rf $(VENV) .venv-vllm .clients .coverage .coverage.* build *.egg-info .*_cache

$(COMPILED)/.done: $(VENV)/.dev setup.py scripts/compile $(SOURCES)
	@scripts/compile $(COMPILED)

$(VENV)/.run: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or later is needed; name it with PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
