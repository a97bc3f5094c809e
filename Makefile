# `make demo` and `make test` do everything by themselves on Debian or Ubuntu with Python 3.11 or newer.
PYTHON ?= python3
export PYTHON
export TORCH
RUN := .venv/bin
# Many tests wait for processes, so one worker more than there are cores. A file stays with one worker.
WORKERS ?= $(shell expr $$(nproc) + 1)
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.PHONY: access help demo quick test-latest locks locks-check lint load malicious malicious-short soak soak-short test check models bench calibration reproduce study learning peers prepare prepare-dqn prepare-servers prepare-bench influx-proof clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: prepare  ## run a whole site on this machine (DEMO="--experiment exp-b" passes options)
	@$(RUN)/tierwise demo $(DEMO)

quick: prepare-dqn  ## lint, types and the tests that start nothing: about a minute
	@$(MAKE) --no-print-directory lint
	@$(RUN)/pytest -q $(PARALLEL) -m "not (mosquitto or models or influxdb or system or slow)" $(PYTEST)

test: prepare-dqn prepare-servers models  ## lint, types, import contracts and all tests, on the locked versions
	@$(MAKE) --no-print-directory lint
	@$(RUN)/pytest $(PARALLEL) $(PYTEST)

test-latest: prepare-servers models  ## the same on the newest versions that setup.cfg allows, in .venv-latest: before `make locks`
	@./scripts/prepare latest
	@$(MAKE) --no-print-directory lint RUN=.venv-latest/bin
	@.venv-latest/bin/pytest $(PARALLEL) $(PYTEST)

lint:
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check --quiet .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache | tail -n 3

locks:  ## renew the lock files (after `make test-latest`); uv comes into .venv-locks
	@test -x .venv-locks/bin/uv || { $(PYTHON) -m venv .venv-locks && .venv-locks/bin/pip install -q -U pip 'uv >= 0.9, < 1'; }
	@.venv-locks/bin/python scripts/locks.py renew --uv .venv-locks/bin/uv

locks-check: prepare  ## each locked wheel exists, for Python 3.11 to 3.14 on x86-64 and aarch64: minutes
	@$(RUN)/python scripts/locks.py check

check: prepare-dqn  ## mend what can be mended, then lint, types and import contracts
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache

models: prepare
	@$(RUN)/tierwise zoo ensure

bench: prepare-bench prepare-servers models  ## all figures beside what they are compared with, ten minutes: results/benchmarks.md
	@$(RUN)/python benchmarks/run_all.py

learning: prepare-dqn  ## how fast the agent learns: thousands of runs, about an hour, goes on where it was stopped; to results/learning/
	@$(RUN)/python benchmarks/learning.py --scale

peers: prepare-bench  ## how many rounds PPO, DQN, Vowpal Wabbit and TPE need on the same sites: an hour; to results/learning/
	@$(RUN)/python benchmarks/peers/run.py --seeds 5 --json results/learning/peers.json

access: prepare  ## who may do what, tried on a real broker: matrix, handshakes, takeover, revocation; to results/reliability/access.json
	@$(RUN)/python -m benchmarks.access_matrix.run

soak-short: prepare prepare-servers models  ## five minutes of faults on a whole site: no request lost, none doubled; to run/faults.json
	@$(RUN)/python -m testbed.faults --seed 7 --faults 140 --pace 2 --influxdb --json run/faults.json

faults: prepare prepare-servers models  ## 1,000 faults of 13 kinds, 100,000 requests, an hour; to results/reliability/faults.json
	@$(RUN)/python -m testbed.faults --seed 7 --faults 1000 --ids 100000 --pace 3 --influxdb --json results/reliability/faults.json
	@$(RUN)/python -m testbed.faults.page results/reliability/faults.json docs/reliability.md

disks: prepare prepare-servers  ## 500 kill -9 of the response log's writer, on good, full, failing and torn disks; to results/reliability/storage.json
	@$(RUN)/python -m testbed.storage --json results/reliability/storage.json

recovery: prepare models  ## 50 freezes, kills, and a site without its cloud: how soon it is known; to results/reliability/recovery.json
	@$(RUN)/python -m testbed.recovery --json results/reliability/recovery.json

bad-input: prepare models  ## a million bad inputs for every decoder, 10,000 to a running site; to results/reliability/bad-input.json
	@$(RUN)/python -m testbed.hostile --json results/reliability/bad-input.json

soak: faults disks recovery bad-input access load malicious influx-proof  ## all of results/reliability anew: two hours

load: prepare  ## 1,000 simulated devices on one orchestrator: 2,000 requests/s, 150 % of what it carries, a flood, a restart: 5 minutes
	@$(RUN)/python -m testbed.load all --json results/reliability/load.json

malicious-short: prepare models  ## a minute of attacks by devices with valid certificates on a secured site; to run/malicious.json
	@$(RUN)/python -m testbed.malicious --minutes 0.75 --segment 5 --quiet 20 --json run/malicious.json

malicious: prepare models  ## ten minutes of it, one to three malicious devices of ten; to results/reliability/malicious.json
	@$(RUN)/python -m testbed.malicious --json results/reliability/malicious.json

calibration: prepare  ## fit configs/calibrations/a1-paper.yaml to the paper's tables anew
	@$(RUN)/python -m tierwise.reproduce.paper_fit --write configs/calibrations/a1-paper.yaml

reproduce: prepare-dqn models  ## the paper's tables and figures beside ours, from the runs that are kept; to results/paper/
	@$(RUN)/tierwise reproduce all --kept

study: prepare-dqn  ## train all agents of Table 11 anew, up to 20 seeds: hours; goes on where it was stopped; to run/paper/
	@$(RUN)/tierwise reproduce table11 --seeds 20 --runs run/paper/table11-runs.jsonl --output run/paper

prepare:
	@./scripts/prepare

prepare-dqn:
	@./scripts/prepare dqn

prepare-servers:
	@./scripts/prepare servers

influx-proof: prepare-servers models  ## 500 rounds shipped to an InfluxDB that is killed in between, each row compared: minutes; to results/reliability/
	@$(RUN)/python benchmarks/reliability/influx_rounds.py --json results/reliability/influxdb.json

prepare-bench:  ## the tools that benchmarks/ compares with (gRPC, PPO, Vowpal Wabbit, Optuna), beside PyTorch
	@./scripts/prepare bench

clean:  ## remove what was made here (not the models in the cache)
	rm -rf .venv .venv-latest .venv-locks build dist run .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
