# `make demo` installs lofit and runs the whole job; `make test` installs it and runs every check.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
OLD := "lofit needs Python 3.11 or newer and $(PYTHON) is older; add PYTHON=python3.12, or whichever you have"
IS_NEW := -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else $(OLD))'
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test
demo: $(INSTALLED)
	$(VENV)/bin/python scripts/demo.py

test: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	pytest -m 'not long' -n 2 --dist worksteal

$(INSTALLED): pyproject.toml scripts/constraints.txt
	@$(VENV)/bin/python $(IS_NEW) 2> /dev/null || { $(PYTHON) $(IS_NEW) && $(PYTHON) -m venv --clear $(VENV); }
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c scripts/constraints.txt -e '.[dev]'
	touch $@
