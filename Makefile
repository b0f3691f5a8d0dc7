# make run     install into .venv and start storehouse on its defaults (ARGS="--root DIR ..." for others)
# make test    install into .venv what tests need, then ruff, mypy and the tests
# make integration    the tests with real servers, clients and browsers, on the wheel, installed without a compiler
#              as requirements.lock says; "make test" runs them on the checkout
# make coverage    the tests, and what they do not reach; takes twice as long
# make soak    the long loops among the tests, for ten minutes (SECONDS=3600 for an hour; TESTS="tests.crash ..." for some)
# make lock    write requirements.lock anew: the newest releases that setup.py admits, with their hashes
# make web     build the scripts of the upload page anew from web/; needs Node and npm
# make clean   remove what these made

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TESTS  ?= tests
SECONDS ?= 600
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
WHEEL  := .wheel
PLUGIN_CACHE := $(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
NEEDS  := setup.py pyproject.toml $(wildcard native/*)

.PHONY: run test integration coverage soak lock web clean

run: $(VENV)/.installed
	$(BIN)/twistd -n storehouse $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/trial.py .test-summary \
		$(BIN)/python -b -W error::BytesWarning -m twisted.trial --jobs $(JOBS) $(TESTS)

integration: $(WHEEL)/.installed
	cd $(WHEEL) && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/python ../.ci/trial.py ../.test-summary \
		venv/bin/python -b -W error::BytesWarning -m twisted.trial --jobs $(JOBS) tests.integration

coverage: $(VENV)/.installed-test
	$(BIN)/coverage erase
	$(BIN)/python .ci/trial.py .test-summary \
		$(BIN)/python -b -W error::BytesWarning -m coverage run -m twisted.trial --jobs $(JOBS) $(TESTS); \
		status=$$?; $(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

soak: $(VENV)/.installed-test
	$(BIN)/python -b -m tests.soak --seconds $(SECONDS) --jobs $(JOBS) $(TESTS)

lock: $(VENV)/.made
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--custom-compile-command 'make lock' --output-file requirements.lock setup.py

web:
	cd web && npm ci --ignore-scripts && npm run check && npm test && npm run build

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "storehouse needs Python 3.11 or later; say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made $(NEEDS)
	$(PIP) --editable .
	$(PLUGIN_CACHE)
	touch $@

$(VENV)/.installed-test: $(VENV)/.made $(NEEDS)
	$(PIP) --editable '.[test]'
	$(PLUGIN_CACHE)
	touch $(VENV)/.installed $@

# The wheel in an environment of its own, where tools of tests are found in $(VENV), and all but the package beside it.
$(WHEEL)/.installed: $(VENV)/.installed-test requirements.lock $(shell find storehouse twisted native -type f -not -name '*.py[co]' -not -name '*.so')
	rm -rf $(WHEEL) build
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir $(WHEEL) .
	$(BIN)/python -m venv $(WHEEL)/venv
	PATH= $(WHEEL)/venv/bin/python -m pip --disable-pip-version-check install --quiet --only-binary :all: --require-hashes --requirement requirements.lock
	PATH= $(WHEEL)/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-index $(WHEEL)/*.whl
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' > "$$(echo $(WHEEL)/venv/lib/python*/site-packages)/tests.pth"
	cd $(WHEEL) && ln -s ../README.rst ../bench ../docs ../tac ../tests ../web .
	touch $@

clean:
	rm -rf web/node_modules $(VENV) $(WHEEL) build dist *.egg-info storehouse/*.so _trial_temp* .coverage .coverage.* .test-summary .mypy_cache .ruff_cache .hypothesis
	find storehouse tests bench twisted -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
