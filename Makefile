# make demo    a server on port 3888 with real data, ready to query
# make test    everything installed that the tests need, then all tests
# make mysql9  fetch MySQL 9 from Debian sid into the user's cache, so that tests use it too (48 MB; nothing installed)
# make check   format, lint, types, bandit, and the audit of dependencies where its database is reachable: before every commit
# make audit   whether a dependency has a known vulnerability; fails when that cannot be told
# make bench   the figures of docs/benchmarks.md
# make torture the long tests and experiments, hours: docs/torture.md, docs/results, docs/promises.md
# make soak    8.64 million mixed operations against one server: does it grow? some hours; docs/results/E24.json
# make faults  plant faults in a copy, one after the other, and see that the tests turn red: some minutes
# make bench-follow  following MySQL by outbox and binary log: copy, drain, latency, cost: docs/following-figures.md
# make bench-peers  TCSQL beside nginx, Redis and MariaDB: docs/performance.md
# make bench-sweep   is any list slow? every kind of query at every selectivity, for docs/performance.md
# make bench-guard   what the checks in front of each request cost: docs/guard-figures.md
# make loadtest      10,000 users by locust against a server of its own, see loadtest/README.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DATA ?= .demo

.PHONY: demo test check audit format bench bench-follow bench-guard bench-peers bench-stalls bench-sweep loadtest torture soak faults mysql9 docs clean

$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade --editable ".[demo,test,lint]"
	touch $@

# whoever wants to see it run needs neither the tests' tools nor the linters'
$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade --editable ".[demo]"
	touch $@

demo: $(VENV)/.demo
	$(BIN)/tcsql demo --data $(DEMO_DATA)

test: $(VENV)/.stamp
	sh tests/install-servers.sh
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

torture: $(VENV)/.stamp
	TCSQL_TEST_PROFILE=torture sh tests/install-servers.sh
	$(BIN)/python -m tests.replication.mysql9 || echo "MySQL 9 cannot be had here: its part is skipped"
	TCSQL_TEST_PROFILE=torture $(BIN)/python -m pytest -p tests.torture; status=$$?; \
	TCSQL_TEST_PROFILE=torture $(BIN)/python -m tests.faults.run || status=1; \
	$(BIN)/python -m docs.promises; exit $$status

soak: $(VENV)/.stamp
	$(BIN)/python -m tests.promises.soak
	$(BIN)/python -m docs.promises

faults: $(VENV)/.stamp
	$(BIN)/python -m tests.faults.run

mysql9: $(VENV)/.stamp
	$(BIN)/python -m tests.replication.mysql9

check: $(VENV)/.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --configfile pyproject.toml --quiet --recursive tcsql 2>/dev/null
	$(BIN)/python -m tests.audit --if-reachable

audit: $(VENV)/.stamp
	$(BIN)/python -m tests.audit

format: $(VENV)/.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.stamp
	$(BIN)/python -m benchmarks

bench-sweep: $(VENV)/.load
	$(BIN)/python -m benchmarks.sweep

loadtest: $(VENV)/.load
	$(BIN)/python -m loadtest.locust_run $(LOADTEST_OPTIONS)

$(VENV)/.load: $(VENV)/.stamp
	$(BIN)/pip install --quiet --editable ".[load]"
	touch $@

bench-follow: $(VENV)/.stamp
	sh loadtest/install-peers.sh
	$(BIN)/python -m benchmarks.follow
	$(BIN)/python -m benchmarks.follow_binlog

bench-stalls: $(VENV)/.stamp
	$(BIN)/python -m benchmarks.stalls

bench-guard: $(VENV)/.stamp
	$(BIN)/python -m benchmarks.guard --write

bench-peers: $(VENV)/.stamp
	sh loadtest/install-peers.sh
	$(BIN)/pip install --quiet --editable ".[bench,test]"
	$(BIN)/python -m loadtest.peers
	$(BIN)/python -m loadtest.report

docs: $(VENV)/.stamp
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.promises

clean:
	rm -rf $(VENV) $(DEMO_DATA) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
