# `make demo` and `make test` do everything by themselves on Debian or Ubuntu with Python 3.11 or newer.
PYTHON ?= python3
export PYTHON
export TORCH
RUN := .venv/bin
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.PHONY: help demo test check models bench calibration reproduce study learning peers prepare prepare-dqn prepare-bench clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: prepare  ## run a whole site on this machine (DEMO="--experiment exp-b" passes options)
	@$(RUN)/tierwise demo $(DEMO)

test: prepare-dqn models  ## lint, types, import contracts and all tests
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check --quiet .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache | tail -n 3
	@$(RUN)/pytest $(PYTEST)

check: prepare-dqn  ## mend what can be mended, then lint, types and import contracts
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .
	@$(RUN)/mypy
	@$(RUN)/lint-imports --no-cache

models: prepare
	@$(RUN)/tierwise zoo ensure

bench: prepare-dqn models  ## the figures, each beside what it is compared with; JSON goes to results/benchmarks/
	@mkdir -p results/benchmarks
	@set -e; for script in benchmarks/*.py; do \
	  [ $$script != benchmarks/learning.py ] || continue; \
	  echo "== $$script"; $(RUN)/python $$script --json results/benchmarks/$$(basename $$script .py).json; done

learning: prepare-dqn  ## how fast the agent learns: thousands of runs, about an hour, goes on where it was stopped; to results/learning/
	@$(RUN)/python benchmarks/learning.py --scale

peers: prepare-bench  ## how many rounds PPO, DQN, Vowpal Wabbit and TPE need on the same sites: an hour; to results/learning/
	@$(RUN)/python benchmarks/peers/run.py --seeds 5 --json results/learning/peers.json

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

prepare-bench:  ## the tools that benchmarks/peers compares with (PPO, DQN, Vowpal Wabbit, Optuna), beside PyTorch
	@./scripts/prepare bench

clean:  ## remove what was made here (not the models in the cache)
	rm -rf .venv build dist run .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
