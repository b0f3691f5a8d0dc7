# make run     install into .venv and start storehouse on its defaults (ARGS="--root DIR ..." for others)
# make test    install into .venv what tests need, then ruff, mypy and the tests that need Python alone (PYTHON=python3.13
#              for another one than python3; TESTS="tests.storage ..." for some)
# make integration    the tests with real servers, clients and browsers, on the wheel, installed without a compiler
#              as requirements.lock says; it says what the machine lacks
# make twisted    the tests of HTTP and TLS on the oldest Twisted that setup.py admits, and on the newest there is
# make coverage    the tests, and what they do not reach; takes twice as long
# make soak    the long loops among the tests, for ten minutes (SECONDS=3600 for an hour; TESTS="tests.crash ..." for some)
# make lock    write requirements.lock anew: the newest releases that setup.py admits, with their hashes; and that of the clients
#              of S3 that tests run
# make web     build the scripts of the upload page anew from web/; needs Node and npm
# make clean   remove what these made

PYTHON ?= python3
# Another Python has an environment of its own.
VENV   := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Those that take long come first, so that no job is left alone with them. Of tests.integration those that start processes of
# ours and no others.
LONG   := crash bench turns archive storage frontends
OURS   := backup command forked sfsp sfsp_server shares start
TESTS  ?= $(LONG:%=tests.%) $(OURS:%=tests.integration.test_%) $(filter-out $(LONG:%=tests.%) tests.integration,\
	$(subst /,.,$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)) $(patsubst %.py,%,$(wildcard tests/test_*.py))))
SECONDS ?= 600
# One more than there are processors: tests also wait, for the disk and for each other's processes.
JOBS   ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
WHEEL  := .wheel
TWISTED_TESTS := tests.core.fast tests.core.tls tests.core.test_turns tests.frontends.http tests.frontends.append tests.frontends.s3 tests.app \
	tests.integration.test_start
# Tests start Python many hundred times: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
PLUGIN_CACHE := $(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
NEEDS  := setup.py pyproject.toml $(wildcard native/*)

.PHONY: run test integration twisted coverage soak lock web clean

run: $(VENV)/.installed
	$(BIN)/twistd -n storehouse $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python .ci/trial.py .test-summary \
		$(BIN)/python -b -W error::BytesWarning -m twisted.trial --jobs $(JOBS) $(TESTS)

integration: $(WHEEL)/.installed
	@.ci/missing || echo "these Debian packages are missing, and tests that need them are skipped" >&2
	cd $(WHEEL) && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/python ../.ci/trial.py ../.test-summary \
		venv/bin/python -b -W error::BytesWarning -m twisted.trial --jobs $(JOBS) tests.integration

twisted: $(VENV)/.installed-test
	oldest=$$(sed -n 's/.*"Twisted\[tls\] >=\([0-9.]*\)".*/\1/p' setup.py); \
	for release in "==$$oldest" ""; do \
		rm -rf .venv-twisted && $(BIN)/python -m venv .venv-twisted && \
		.venv-twisted/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[test]' && \
		.venv-twisted/bin/python -m pip --disable-pip-version-check install --quiet --upgrade "Twisted[tls]$$release" && \
		$(BIN)/python .ci/trial.py .test-summary$$release \
			.venv-twisted/bin/python -b -W error::BytesWarning -m twisted.trial --jobs $(JOBS) $(TWISTED_TESTS) || exit; \
	done; rm -rf .venv-twisted

coverage: $(VENV)/.installed-test
	$(BIN)/coverage erase
	$(BIN)/python .ci/trial.py .test-summary \
		$(BIN)/python -b -W error::BytesWarning -m coverage run -m twisted.trial --jobs $(JOBS) $(TESTS); \
		status=$$?; $(BIN)/coverage combine --quiet; $(BIN)/coverage report; exit $$status

soak: $(VENV)/.installed-test
	$(BIN)/python -b -m tests.soak --seconds $(SECONDS) --jobs $(JOBS) $(TESTS) \
		$(if $(filter file,$(origin TESTS)),tests.integration.test_s3_boto3)

lock: $(VENV)/.made
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--custom-compile-command 'make lock' --output-file requirements.lock setup.py
	cd tests/integration/s3clients && $(CURDIR)/$(BIN)/uv pip compile --quiet --python-platform linux --python-version 3.11 \
		--generate-hashes --no-emit-index-url --upgrade --overrides overrides.in --custom-compile-command 'make lock' \
		--output-file requirements.lock requirements.in

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
	# The one that came with Python is older than what tests build wheels with.
	PATH= $(WHEEL)/venv/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes setuptools
	$(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' > "$$(echo $(WHEEL)/venv/lib/python*/site-packages)/tests.pth"
	cd $(WHEEL) && ln -s ../README.rst ../bench ../docs ../tac ../tests ../web .
	touch $@

clean:
	rm -rf web/node_modules .venv .venv-* .s3-clients $(WHEEL) build dist *.egg-info storehouse/*.so _trial_temp* .coverage .coverage.* .test-summary* .mypy_cache .ruff_cache .hypothesis
	find storehouse tests bench twisted -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
