# Two to remember:
#   sudo make try     install, build a machine, boot it, look inside
#   sudo make test    install what the tests need, run all of them
# The rest: make install, lint, bench, soak, clean.

PYTHON ?= python3
PREFIX ?= /opt/machinespawn
BINDIR ?= /usr/local/bin
VENV   ?= .venv

# What builds and runs machines, and what pystemd, which comes as source, is compiled with.
PACKAGES = systemd-container debootstrap mmdebstrap gpgv xz-utils zstd uidmap distro-info-data \
           libsystemd-dev pkg-config gcc python3-dev python3-venv
# What the tests need besides: a mirror of their own with its key, a systemd host, a foreign architecture.
TEST_PACKAGES = $(PACKAGES) apt-utils gpg gpg-agent dbus iproute2 qemu-user-static

MACHINESPAWN = $(BINDIR)/machinespawn
SOURCES := pyproject.toml $(shell find machinespawn recipes units -type f ! -name '*.pyc' 2>/dev/null)

.PHONY: help install try test lint bench soak clean root packages python test-packages
.DELETE_ON_ERROR:

help:
	@sed -n '1,4s/^# \{0,1\}//p' Makefile

root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) is no Python 3.11 or newer; say which one is with PYTHON=…" >&2; exit 1; }

# The lists may be missing or old: they are only fetched when the installation fails without.
APT_INSTALL = DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends
define install_packages
@missing=$$(for package in $(1); do \
    [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || echo $$package; done); \
[ -z "$$missing" ] || { echo "installing Debian packages:" $$missing; \
    $(APT_INSTALL) $$missing >/dev/null 2>&1 || { apt-get -q update && $(APT_INSTALL) $$missing; }; }
endef

packages: root
	$(call install_packages,$(PACKAGES))

test-packages: root
	$(call install_packages,$(TEST_PACKAGES))

install: root packages python $(PREFIX)/.installed
	@mkdir -p $(BINDIR)
	@ln -sfn $(PREFIX)/bin/machinespawn $(MACHINESPAWN)

# pip builds a wheel and installs that: the checkout may be moved or removed afterwards.
$(PREFIX)/.installed: $(SOURCES) | root packages python
	@echo "installing machinespawn into $(PREFIX)"
	@$(PYTHON) -m venv $(PREFIX)
	@$(PREFIX)/bin/python -m pip install -q --disable-pip-version-check --no-input .
	@touch $@

try: install
	@if $(MACHINESPAWN) show bread >/dev/null 2>&1; then echo "bread is there already: going on with it"; \
	    else $(MACHINESPAWN) debian-bookworm bread; fi
	$(MACHINESPAWN) run -d bread
	$(MACHINESPAWN) exec bread -- cat /etc/os-release
	$(MACHINESPAWN) exec bread -- systemctl is-system-running --wait || true
	@echo; echo "bread is running. Go on with:"; printf '  %s\n' \
	    "sudo machinespawn shell bread           look around" \
	    "sudo machinespawn exec bread -- ls /    run one command" \
	    "sudo machinespawn logs bread            read its journal" \
	    "sudo machinespawn stop bread            shut it down; run bread boots it again" \
	    "sudo machinespawn remove bread          remove it" \
	    "machinespawn recipes                    what else can be built"

$(VENV)/.installed: pyproject.toml | root test-packages python
	@echo "installing the package and its development tools into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-input -e '.[dev]'
	@touch $@

test: root test-packages python $(VENV)/.installed
	$(VENV)/bin/python -m pytest tests/unit tests/integration

lint: root test-packages python $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: root test-packages python $(VENV)/.installed
	$(VENV)/bin/python -m tests.bench.build

soak: root test-packages python $(VENV)/.installed
	MACHINESPAWN_KILLS=50 $(VENV)/bin/python -m pytest -s --timeout 0 tests/integration/test_kill.py

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache
	find machinespawn tests -name __pycache__ -prune -exec rm -rf {} +
	find cache -mindepth 1 ! -name README.md ! -name CACHEDIR.TAG -delete
