# `make demo`: sets up .venv from requirements.lock and runs the main job.  `make test`: everything checked.
# `make deb`: the Debian package.
# Needs Python 3.11 or later with its venv module, and nothing else.
#
#   make demo ARGS="--rounds 5"           arguments for `muster demo`
#   make demo PYTHON=python3.12           another interpreter
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu    torch without CUDA (a tenth of the size)

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=
TESTS ?=
VENV := .venv
BIN := $(VENV)/bin
# A changed lock, pyproject.toml or choice of torch is a new set-up; anything else is not.
DIGEST := $(shell (cat requirements.lock pyproject.toml; echo "$(TORCH_INDEX)") | cksum | tr ' ' '-')
STAMP := $(VENV)/.muster-$(DIGEST)
TOOLS := $(VENV)/.tools-$(shell cksum < requirements-tools.lock | tr ' ' '-')
TORCH := $(shell grep '^torch==' requirements.lock)
# Python compiles what is imported when it is; all of torch and its company would be half of the set-up.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile

.PHONY: demo test page setup deb clean

demo: page
	@echo "== muster demo $(ARGS)"
	@$(BIN)/muster demo $(ARGS)

test: page $(TOOLS)
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy
	@echo "== $(if $(TESTS),pytest $(TESTS),all tests in six lanes; their output: build/tests)"
	@$(BIN)/python $(if $(TESTS),-m pytest $(TESTS),scripts/test)

setup: page $(TOOLS)

deb: page
	@echo "== the Debian package, from what is in $(VENV)"
	@$(BIN)/python scripts/deb.py

page: $(STAMP)
	@$(BIN)/python hatch_build.py

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: Muster needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: this Python cannot make virtual environments; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "== set-up, once: packages go to $(VENV), nothing else is changed (some minutes, torch is large)"
	@test -x $(BIN)/python || { echo "-- $(PYTHON) -m venv $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@if [ -n "$(TORCH_INDEX)" ]; then echo "-- pip install $(TORCH) from $(TORCH_INDEX)"; \
	  $(PIP) --index-url "$(TORCH_INDEX)" "$(TORCH)"; fi
	@echo "-- pip install -r requirements.lock ($$(grep -c '==' requirements.lock) packages)"
	@$(PIP) -r requirements.lock
	@needs=$$($(BIN)/python hatch_build.py --requires); test -z "$$needs" || { \
	  echo "-- pip install $$needs (this machine has no Node that fits)"; $(PIP) $$needs; }
	@echo "-- pip install -e . (Muster itself, builds the page)"
	@$(PIP) --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.muster-*
	@touch $(STAMP)
	@echo "== set-up done"

$(TOOLS): $(STAMP) requirements-tools.lock
	@echo "-- pip install --no-deps -r requirements-tools.lock ($$(grep -c '==' requirements-tools.lock) packages, for their tests)"
	@$(PIP) --no-deps -r requirements-tools.lock
	@rm -f $(VENV)/.tools-*
	@touch $(TOOLS)

clean:
	rm -rf $(VENV) src/muster/dashboard/page src/muster/dashboard/web/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
